#include "harness/model/question.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <tuple>
#include <utility>

#include "cpu/mlp/engine.h"
#include "cpu/mlp/traffic.h"
#include "harness/compare/floor.h"
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
  app.add_option("--algorithm", options.algorithm,
                 "force an algorithm: fused, blocked, a twin; of a GPU resident, cooperative, graph, "
                 "graph_tf32, graph_bf16");
  app.add_option("--isa", options.isa,
                 "instruction set of the processor's kernels: avx512, avx2, avx2_nofma, generic");
  app.add_option("--threads", options.threads, "threads of the processor; 0 = the program's own choice")
      ->check(CLI::Range(0, 65536));
}

Question::Question(const QuestionOptions& options, std::shared_ptr<const Contents> contents)
    : options_(options), contents_(std::move(contents)) {
  if (!std::filesystem::exists(options.model_file))
    throw UsageError(fmt::format("no file {}; a model is made by: mlpwatt fit FILE", options.model_file));
  if (!contents_) contents_ = std::make_shared<const Contents>(read_file(options.model_file));
  model_ = std::make_unique<Model>(*contents_, options.model_file, options.machine);
  if (!options.hierarchy_file.empty()) machine_ = read_hierarchy_file(options.hierarchy_file);
  choose_backend();
  read_fitted_runs();
  choose_hierarchy();
  if (engines_are_ours_ && options_.isa.empty()) {
    const std::string& isas = fitted_machine().text("isas");
    options_.isa = machine_.isa.empty() ? isas.substr(0, isas.find(' ')) : machine_.isa;
  }
}

void Question::choose_backend() {
  const std::vector<std::string> backends = model_->backends();
  if (options_.backend.empty()) options_.backend = machine_.backend;
  if (options_.backend.empty()) options_.backend = backends.empty() ? "cpu" : backends.front();
  if (!machine_.backend.empty() && machine_.backend != options_.backend)
    throw UsageError(fmt::format("{} describes a machine for --backend {}, not {}", options_.hierarchy_file,
                                 machine_.backend, options_.backend));
  if (!backends.empty() && std::find(backends.begin(), backends.end(), options_.backend) == backends.end())
    throw UsageError(fmt::format(
        "{}: nothing was fitted for backend {} on machine {}; it has: {}{}", options_.model_file,
        options_.backend, fitted_machine().text("host"), fmt::join(backends, ", "),
        model_->machines().size() < 2 ? ""
                                      : fmt::format("; --machine chooses another of the file's: {}",
                                                    fmt::join(model_->machines(), ", "))));
  const std::vector<std::string> algorithms = model_->algorithms(options_.backend);
  const std::vector<std::string>& ours = mlp_traffic_algorithms();
  engines_are_ours_ =
      on_processor() && std::any_of(algorithms.begin(), algorithms.end(), [&](const std::string& name) {
        return std::find(ours.begin(), ours.end(), name) != ours.end();
      });
  if (!engines_are_ours_ && !backends.empty() && (options_.threads > 0 || !options_.isa.empty()))
    throw UsageError(
        "--threads and --isa are of this program's engines on a processor; others are predicted as they ran");
}

void Question::choose_hierarchy() {
  if (options_.hierarchy_file.empty()) {
    if (!knows_fitted_hierarchy())
      throw UsageError(options_.model_file +
                       ": its GPU runs do not describe their device; say what it is by --hierarchy FILE "
                       "(mlpwatt info --backend gpu --json prints one), or record them again");
    machine_.hierarchy = fitted_hierarchy_ ? *fitted_hierarchy_ : hierarchy_of(fitted_machine());
    return;
  }
  try {
    probed_ =
        rates_of(find_hierarchy(*contents_, options_.model_file, model_->machine_row(), options_.backend));
  } catch (const std::invalid_argument&) {  // no probes in the file: basis() says so
  }
}

const Row& Question::fitted_machine() const {
  return contents_->rows(machine_table()).at(static_cast<std::size_t>(model_->machine_row()));
}

void Question::read_fitted_runs() {
  std::set<std::int64_t> fitted;
  for (const Row& prediction : contents_->rows(model_predictions_table()))  // has every run that was fitted
    if (prediction.integer("machine_row") == model_->machine_row() &&
        prediction.text("backend") == options_.backend)
      fitted.insert(prediction.integer("run_row"));
  for (const std::int64_t at : fitted) {
    const Row& run = contents_->rows(runs_table()).at(static_cast<std::size_t>(at));
    batches_.insert(batch_of(run));
    if (run.integer("threads") > 0) threads_.insert(static_cast<int>(run.integer("threads")));
    isas_.insert(run.text("isa"));
    if (engines_are_ours_) continue;
    Configuration c = configuration_of(run);
    const auto parameters = static_cast<double>(c.network.parameters());
    double& largest = largest_[c.algorithm];
    largest = std::max(largest, parameters);
    device_ = c.device;  // one device's runs are fitted at a time
    if (!fitted_hierarchy_ && knows_hierarchy(fitted_machine(), run))
      fitted_hierarchy_ = hierarchy_of(fitted_machine(), run);
    recorded_.push_back({std::move(c), parameters});
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
         (!isas_.empty() && !isas_.contains(c.isa)) || octaves_beyond(c, c.algorithm) > 1;
}

double Question::octaves_beyond(const Configuration& c, const std::string& algorithm) const {
  const auto found = largest_.find(algorithm);
  return found == largest_.end() ? 0 : std::log2(static_cast<double>(c.network.parameters()) / found->second);
}

std::string Question::fitted_runs() const {
  const auto range = [](const std::set<int>& seen) {
    if (seen.empty()) return std::string("unknown");
    return *seen.begin() == *seen.rbegin() ? fmt::format("{}", *seen.begin())
                                           : fmt::format("{} to {}", *seen.begin(), *seen.rbegin());
  };
  const bool one = !threads_.empty() && *threads_.rbegin() == 1;
  std::string text = fmt::format("batches of {}, {} thread{}, {}", range(batches_), range(threads_),
                                 one ? "" : "s", fmt::join(isas_, ", "));
  for (const auto& [algorithm, parameters] : largest_)
    text += fmt::format(", {} to {:.0f} parameters", algorithm, parameters);
  return text;
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
  engines_are_ours_ ? choose_engine_here(c) : choose_as_recorded(c);
  return c;
}

void Question::choose_engine_here(Configuration& c) const {
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

std::optional<Configuration> Question::as_recorded(Configuration c, const std::string& algorithm) const {
  const auto parameters = static_cast<double>(c.network.parameters());
  // octaves of each, and less than one for what moves a step's time less
  const auto distance = [&](const RecordedRun& run) {
    const Configuration& of = run.configuration;
    const auto octaves = [](double a, double b) { return std::abs(std::log2(a / b)); };
    return octaves(parameters, run.parameters) + octaves(c.depth, of.depth) + octaves(c.batch, of.batch) +
           (c.dataset != of.dataset ? 0.5 : 0) + (c.shape != of.shape ? 0.5 : 0);
  };
  const RecordedRun* nearest = nullptr;
  double least = 0;
  for (const RecordedRun& run : recorded_) {
    if (run.configuration.algorithm != algorithm) continue;
    if (const double d = distance(run); nearest == nullptr || d < least) nearest = &run, least = d;
  }
  if (nearest == nullptr) return std::nullopt;
  c.algorithm = algorithm;
  c.threads = nearest->configuration.threads;
  c.isa = nearest->configuration.isa;
  c.device = device_;
  return c;
}

void Question::choose_as_recorded(Configuration& c) const {
  if (!options_.algorithm.empty()) {
    const std::optional<Configuration> forced = as_recorded(c, options_.algorithm);
    c.algorithm = options_.algorithm;  // where nothing was fitted for it, the estimate says so
    if (forced) c = *forced;
    return;
  }
  // An engine that keeps a network on the chip refuses larger ones: none is chosen for a network beyond an
  // octave more than any that was recorded in it, unless that is so of all of them. Nor one that would win by
  // what nobody has priced.
  std::optional<Configuration> best;
  std::tuple<double, bool, double> best_cost;
  const std::vector<std::string> algorithms = model_->algorithms(c.backend);
  for (const std::string& algorithm : algorithms) {
    const std::vector<Target> possible = model_->targets(c.backend, algorithm);
    const std::optional<Configuration> way = as_recorded(c, algorithm);
    // reduced precision is another result: it is asked for by name
    if (!way || precision_of("", algorithm) != "fp32" ||
        std::find(possible.begin(), possible.end(), Target::kTime) == possible.end())
      continue;
    const Estimate time = estimate(*way, Target::kTime);
    const std::tuple cost{std::max(1.0, octaves_beyond(c, algorithm)), !time.unpriced.empty(), time.value};
    if (!best || cost < best_cost) best = way, best_cost = cost;
  }
  if (!best)
    throw UsageError(
        fmt::format("{}: no fp32 engine was fitted for backend {}; --algorithm asks for one of: {}",
                    options_.model_file, c.backend, fmt::join(algorithms, ", ")));
  c = *best;
}

// A rate is no price: most of a byte's seconds pass while something else is computed, and the fit charges
// what is left. Where the file's own probes tell the fitted machine's rate, the fitted price changes as the
// rates do; one that was wholly hidden (0), or is in another term's, grows by what the other machine takes
// longer. Of a term that no run touched the rate is all that is known. A device's rates are those of all its
// multiprocessors, and an engine may run on few of them: there only the change of a fitted price is known.
OtherMachine Question::other_machine(const Configuration& c, Target target) const {
  const auto changed = [&](const Prices& rates, const Prices* probed, Target of) {
    Prices prices;
    for (const auto& [term, rate] : rates) {
      const bool of_another_unit = term == "flop" && precision_of("", c.algorithm) != "fp32";
      const double fitted = model_->fitted_price(c.backend, c.algorithm, of, term);
      const double here = probed == nullptr || !probed->contains(term) ? 0 : probed->at(term);
      if (here > 0 && fitted > 0 && !of_another_unit)
        prices[term] = fitted * rate / here;
      else if (on_processor())
        prices[term] =
            model_->was_never_touched(c.backend, c.algorithm, of, term) ? rate : std::max(0.0, rate - here);
    }
    return prices;
  };
  OtherMachine other;
  other.time = changed(machine_.rates.time, probed_ ? &probed_->time : nullptr, Target::kTime);
  if (target == Target::kTime) return other;
  other.energy = changed(machine_.rates.energy, probed_ ? &probed_->energy : nullptr, target);
  // idle power takes the place of the static term, whatever was fitted
  if (const auto idle = machine_.rates.energy.find("static"); idle != machine_.rates.energy.end())
    other.energy.insert(*idle);
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
         fmt::format(
             "; rates from that file: time {}, energy {}, {}; the others as fitted",
             names(machine_.rates.time), names(machine_.rates.energy),
             probed_ ? std::string("fitted prices changed as the rates differ from this file's probes")
                     : fmt::format("{}: this file has no probes of the fitted machine to compare them "
                                   "with (mlpwatt run --suite --filter '^{}/(fma|stream|chase)/')",
                                   on_processor() ? "taken for prices" : "without effect", options_.backend));
}

double rows_per_step(const Configuration& c) {
  const std::int64_t train_rows = c.dataset_rows - test_split_rows(c.dataset_rows);
  const std::int64_t batch = std::min<std::int64_t>(c.batch, train_rows);
  const std::int64_t steps = (train_rows + batch - 1) / batch;
  return static_cast<double>(train_rows) / static_cast<double>(steps);
}

}  // namespace mlpwatt::model
