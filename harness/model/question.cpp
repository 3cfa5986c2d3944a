#include "harness/model/question.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "cpu/mlp/engine.h"
#include "harness/program.h"
#include "kernels/dataset.h"
#include "kernels/dataset_parts.h"

namespace mlpwatt::model {

void add_question_options(CLI::App& app, QuestionOptions& options) {
  app.add_option("--model", options.model_file, "results file that mlpwatt fit wrote a model into")
      ->required();
  app.add_option("--machine", options.machine,
                 "of several machines in that file: a host's name, or a row of /machine; default: the first");
  app.add_option("--backend", options.backend,
                 "cpu or gpu: whose fitted runs predict; default: the processor's where the file has them");
  app.add_option(
      "--hierarchy", options.hierarchy_file,
      "a machine (or, with --backend gpu, a device) that is not here: JSON as mlpwatt info --json prints; "
      "default: the fitted machine");
  app.add_option("--algorithm", options.algorithm, "force an algorithm, e.g. fused or blocked");
  app.add_option("--isa", options.isa, "instruction set of the kernels: avx512, avx2, avx2_nofma, generic");
  app.add_option("--threads", options.threads, "threads; 0 = the program's own choice")
      ->check(CLI::Range(0, 65536));
}

Question::Question(const QuestionOptions& options) : options_(options) {
  if (!std::filesystem::exists(options.model_file))
    throw UsageError(fmt::format("no file {}; a model is made by: mlpwatt fit FILE", options.model_file));
  contents_ = read_file(options.model_file);
  model_ = std::make_unique<Model>(contents_, options.model_file, options.machine);
  const std::vector<std::string> backends = model_->backends();
  if (options_.backend.empty()) options_.backend = backends.front();
  if (std::find(backends.begin(), backends.end(), options_.backend) == backends.end())
    throw UsageError(fmt::format("{}: nothing was fitted for backend {} on this machine; it has: {}",
                                 options.model_file, options_.backend, fmt::join(backends, ", ")));
  if (!on_processor() && options_.threads > 0)
    throw UsageError("--threads is of the processor; a device's engine chooses its own");
  read_fitted_runs();
  if (!options.hierarchy_file.empty())
    machine_ = read_hierarchy_file(options.hierarchy_file);
  else
    machine_.hierarchy = device_hierarchy_ ? *device_hierarchy_ : hierarchy_of(fitted_machine());
  if (on_processor() && options_.isa.empty()) {
    const std::string& isas = fitted_machine().text("isas");
    options_.isa = machine_.isa.empty() ? isas.substr(0, isas.find(' ')) : machine_.isa;
  }
  if (!options.hierarchy_file.empty()) {
    try {
      probed_ =
          rates_of(find_hierarchy(contents_, options.model_file, model_->machine_row(), options_.backend));
    } catch (const std::invalid_argument&) {  // no probes in the file: basis() says so
    }
  }
}

const Row& Question::fitted_machine() const {
  return contents_.rows(machine_table()).at(static_cast<std::size_t>(model_->machine_row()));
}

void Question::read_fitted_runs() {
  std::set<std::int64_t> fitted;
  for (const Row& prediction : contents_.rows(model_predictions_table()))  // has every run that was fitted
    if (prediction.integer("machine_row") == model_->machine_row() &&
        prediction.text("backend") == options_.backend)
      fitted.insert(prediction.integer("run_row"));
  for (const std::int64_t at : fitted) {
    const Row& run = contents_.rows(runs_table()).at(static_cast<std::size_t>(at));
    batches_.insert(batch_of(run));
    if (run.integer("threads") > 0) threads_.insert(static_cast<int>(run.integer("threads")));
    isas_.insert(run.text("isa"));
    if (on_processor()) continue;
    device_runs_.push_back(configuration_of(run));
    if (describes_device(run) && !device_hierarchy_) device_hierarchy_ = hierarchy_of(fitted_machine(), run);
    if (device_.empty()) device_ = run.text("device");
  }
}

const std::string& Question::computes() const {
  return device_.empty() ? fitted_machine().text("processor") : device_;
}

bool Question::extrapolates(const Configuration& c) const {
  const auto outside = [](const std::set<int>& seen, int value) {
    return !seen.empty() && (value < *seen.begin() || value > *seen.rbegin());
  };
  return outside(batches_, c.batch) || outside(threads_, c.threads) ||
         (!isas_.empty() && !isas_.contains(c.isa));
}

std::string Question::fitted_runs() const {
  const auto range = [](const std::set<int>& seen) {
    if (seen.empty()) return std::string("unknown");
    return *seen.begin() == *seen.rbegin() ? fmt::format("{}", *seen.begin())
                                           : fmt::format("{} to {}", *seen.begin(), *seen.rbegin());
  };
  const bool one = !threads_.empty() && *threads_.rbegin() == 1;
  return fmt::format("batches of {}, {} thread{}, {}", range(batches_), range(threads_), one ? "" : "s",
                     fmt::join(isas_, ", "));
}

Configuration Question::configuration(const std::string& dataset, const std::string& shape, std::int64_t size,
                                      int depth, int batch) const {
  const DatasetInfo& info = dataset_info(dataset);
  Configuration c;
  c.backend = options_.backend;
  c.dataset = dataset;
  c.shape = shape;
  c.size = size;
  c.depth = depth;
  c.batch = batch;
  c.dataset_rows = info.observations;
  c.network = make_network(parse_shape(shape), size, depth, info.features, info.outputs, info.task);
  on_processor() ? choose_on_processor(c) : choose_on_device(c);
  return c;
}

void Question::choose_on_processor(Configuration& c) const {
  c.isa = options_.isa;
  EngineOptions engine;
  engine.isa = parse_isa(options_.isa);
  engine.threads = options_.threads;
  engine.algorithm = options_.algorithm;
  engine.batch = c.batch;
  engine.hierarchy = machine_.hierarchy;
  const EngineChoice choice =
      choose_engine(c.network, c.dataset_rows - test_split_rows(c.dataset_rows), engine);
  c.algorithm = choice.algorithm;
  c.threads = choice.threads;
}

std::optional<Configuration> Question::on_device(Configuration c, const std::string& algorithm) const {
  // octaves of each, and less than one for what moves a step's time less
  const auto distance = [&](const Configuration& run) {
    const auto octaves = [](double a, double b) { return std::abs(std::log2(a / b)); };
    return octaves(static_cast<double>(c.network.parameters()),
                   static_cast<double>(run.network.parameters())) +
           octaves(c.depth, run.depth) + octaves(c.batch, run.batch) + (c.dataset != run.dataset ? 0.5 : 0) +
           (c.shape != run.shape ? 0.5 : 0);
  };
  const Configuration* nearest = nullptr;
  for (const Configuration& run : device_runs_)
    if (run.algorithm == algorithm && (nearest == nullptr || distance(run) < distance(*nearest)))
      nearest = &run;
  if (nearest == nullptr) return std::nullopt;
  c.algorithm = algorithm;
  c.threads = nearest->threads;
  c.isa = options_.isa.empty() ? nearest->isa : options_.isa;
  return c;
}

void Question::choose_on_device(Configuration& c) const {
  if (!options_.algorithm.empty()) {
    const std::optional<Configuration> forced = on_device(c, options_.algorithm);
    c.algorithm = options_.algorithm;  // where nothing was fitted for it, the estimate says so
    if (forced) c = *forced;
    return;
  }
  // An engine that keeps a network on the chip refuses larger ones: none is chosen for a network beyond an
  // octave more than any that was recorded in it, unless that is so of all of them.
  const auto octaves_beyond = [&](const std::string& algorithm) {
    std::int64_t largest = 1;
    for (const Configuration& run : device_runs_)
      if (run.algorithm == algorithm) largest = std::max(largest, run.network.parameters());
    return std::max(1.0,
                    std::log2(static_cast<double>(c.network.parameters()) / static_cast<double>(largest)));
  };
  // reduced precision is another result: it is asked for by name
  const auto is_reduced = [](const std::string& algorithm) {
    return algorithm.ends_with("_tf32") || algorithm.ends_with("_bf16");
  };
  std::optional<Configuration> best;
  std::pair<double, double> best_cost;
  for (const std::string& algorithm : model_->algorithms(c.backend)) {
    const std::vector<Target> possible = model_->targets(c.backend, algorithm);
    const std::optional<Configuration> way = on_device(c, algorithm);
    if (!way || is_reduced(algorithm) ||
        std::find(possible.begin(), possible.end(), Target::kTime) == possible.end())
      continue;
    const std::pair cost{octaves_beyond(algorithm), estimate(*way, Target::kTime).value};
    if (!best || cost < best_cost) best = way, best_cost = cost;
  }
  if (best) c = *best;
}

// A rate is no price: most of a byte's seconds pass while something else is computed, and the fit charges
// what is left. Where the file's own probes tell the fitted machine's rate, the fitted price changes as the
// rates do; one that was wholly hidden (0), or is not known, grows by what the other machine takes longer.
OtherMachine Question::other_machine(const Configuration& c, Target target) const {
  OtherMachine other = machine_.rates;
  // Time is priced by the work of one thread. A processor's rates are of one, a device's of all of them.
  const double sharers = on_processor() ? 1 : c.threads;
  for (auto& [term, price] : other.time) price *= sharers;
  if (!probed_) return other;
  const auto adjusted = [&](const Prices& rates, const Prices& probed, Target of) {
    Prices prices;
    for (const auto& [term, rate] : rates) {
      const auto found = probed.find(term);
      const double fitted = model_->fitted_price(c.backend, c.algorithm, of, term);
      const double here = found == probed.end() ? 0 : found->second * (of == Target::kTime ? sharers : 1);
      const double price = here > 0 && fitted > 0 ? fitted * rate / here : std::max(0.0, rate - here);
      if (price > 0 || fitted == 0) prices[term] = price;  // else as unknown there as it is here
    }
    return prices;
  };
  other.time = adjusted(other.time, probed_->time, Target::kTime);
  if (target != Target::kTime) other.energy = adjusted(other.energy, probed_->energy, target);
  return other;
}

Estimate Question::estimate(const Configuration& configuration, Target target) const {
  if (options_.hierarchy_file.empty()) return model_->predict(configuration, machine_.hierarchy, target);
  const OtherMachine other = other_machine(configuration, target);
  return model_->predict(configuration, machine_.hierarchy, target, &other);
}

Target Question::best_target(const std::string& algorithm) const {
  const std::vector<Target> targets = model_->targets(options_.backend, algorithm);
  return targets.empty() ? Target::kTime : targets.front();
}

std::string Question::basis() const {
  std::string text = fmt::format("modelled: fitted to runs on {} ({}) in {}", fitted_machine().text("host"),
                                 computes(), options_.model_file);
  if (model_->machines().size() > 1 && options_.machine.empty())
    text += fmt::format("; --machine chooses another of the file's: {}", fmt::join(model_->machines(), ", "));
  if (options_.hierarchy_file.empty()) return text;
  text += fmt::format("; asked for the machine of {}", options_.hierarchy_file);
  const auto names = [](const Prices& prices) {
    std::string list;
    for (const auto& [term, price] : prices) list += (list.empty() ? "" : ", ") + term;
    return list.empty() ? std::string("none") : list;
  };
  return text +
         fmt::format("; rates from that file: time {}, energy {}, {}; the others as fitted",
                     names(machine_.rates.time), names(machine_.rates.energy),
                     probed_
                         ? std::string("fitted prices changed as the rates differ from this file's probes")
                         : fmt::format("taken for prices: this file has no probes of the fitted machine to "
                                       "compare them with (mlpwatt run --suite --filter "
                                       "'^{}/(fma|stream|chase)/')",
                                       options_.backend));
}

double rows_per_step(const Configuration& c) {
  const std::int64_t train_rows = c.dataset_rows - test_split_rows(c.dataset_rows);
  const std::int64_t batch = std::min<std::int64_t>(c.batch, train_rows);
  const std::int64_t steps = (train_rows + batch - 1) / batch;
  return static_cast<double>(train_rows) / static_cast<double>(steps);
}

}  // namespace mlpwatt::model
