#include "harness/model/question.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>

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
  app.add_option(
      "--hierarchy", options.hierarchy_file,
      "a machine that is not here: JSON as mlpwatt info --json prints; default: the fitted machine");
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
  const Row& fitted = contents_.rows(machine_table()).at(static_cast<std::size_t>(model_->machine_row()));
  if (options.hierarchy_file.empty())
    machine_.hierarchy = hierarchy_of(fitted);
  else
    machine_ = read_hierarchy_file(options.hierarchy_file);
  if (options_.isa.empty()) options_.isa = machine_.isa;
  if (options_.isa.empty()) {
    const std::string& isas = fitted.text("isas");
    options_.isa = isas.substr(0, isas.find(' '));
  }
  const std::vector<Row>& runs = contents_.rows(runs_table());
  for (const Row& prediction : contents_.rows(model_predictions_table())) {  // has every run that was fitted
    if (prediction.integer("machine_row") != model_->machine_row() || prediction.text("backend") != "cpu")
      continue;
    const Row& run = runs.at(static_cast<std::size_t>(prediction.integer("run_row")));
    batches_.insert(batch_of(run));
    if (run.integer("threads") > 0) threads_.insert(static_cast<int>(run.integer("threads")));
    isas_.insert(run.text("isa"));
  }
  if (!options.hierarchy_file.empty()) {
    try {
      probed_ = rates_of(find_hierarchy(contents_, options.model_file, model_->machine_row()));
    } catch (const std::invalid_argument&) {  // no probes in the file: basis() says so
    }
  }
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
  c.dataset = dataset;
  c.shape = shape;
  c.size = size;
  c.depth = depth;
  c.batch = batch;
  c.dataset_rows = info.observations;
  c.isa = options_.isa;
  c.network = make_network(parse_shape(shape), size, depth, info.features, info.outputs, info.task);
  EngineOptions engine;
  engine.isa = parse_isa(options_.isa);
  engine.threads = options_.threads;
  engine.algorithm = options_.algorithm;
  engine.batch = batch;
  engine.hierarchy = machine_.hierarchy;
  const EngineChoice choice =
      choose_engine(c.network, info.observations - test_split_rows(info.observations), engine);
  c.algorithm = choice.algorithm;
  c.threads = choice.threads;
  return c;
}

// A rate is no price: most of a byte's seconds pass while something else is computed, and the fit charges
// what is left. Where the file's own probes tell the fitted machine's rate, the fitted price changes as the
// rates do; one that was wholly hidden (0) grows by what the other machine takes longer.
OtherMachine Question::other_machine(const std::string& algorithm, Target target) const {
  OtherMachine other = machine_.rates;
  if (!probed_) return other;
  const auto adjust = [&](Prices& prices, const Prices& probed, Target of) {
    for (auto& [term, price] : prices) {
      const auto here = probed.find(term);
      const double fitted = model_->fitted_price("cpu", algorithm, of, term);
      if (here == probed.end() || std::isnan(fitted)) continue;
      price = fitted > 0 ? fitted * price / here->second : std::max(0.0, price - here->second);
    }
  };
  adjust(other.time, probed_->time, Target::kTime);
  if (target != Target::kTime) adjust(other.energy, probed_->energy, target);
  return other;
}

Estimate Question::estimate(const Configuration& configuration, Target target) const {
  if (options_.hierarchy_file.empty()) return model_->predict(configuration, machine_.hierarchy, target);
  const OtherMachine other = other_machine(configuration.algorithm, target);
  return model_->predict(configuration, machine_.hierarchy, target, &other);
}

Target Question::best_target(const std::string& algorithm) const {
  const std::vector<Target> targets = model_->targets("cpu", algorithm);
  return targets.empty() ? Target::kTime : targets.front();
}

std::string Question::basis() const {
  const Row& fitted = contents_.rows(machine_table()).at(static_cast<std::size_t>(model_->machine_row()));
  std::string text = fmt::format("modelled: fitted to runs on {} ({}) in {}", fitted.text("host"),
                                 fitted.text("processor"), options_.model_file);
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
                     probed_ ? "fitted prices changed as the rates differ from this file's probes"
                             : "taken for prices: this file has no probes of the fitted machine to compare "
                               "them with (mlpwatt run --suite --filter '^cpu/(fma|stream|chase)/')");
}

double rows_per_step(const Configuration& c) {
  const std::int64_t train_rows = c.dataset_rows - test_split_rows(c.dataset_rows);
  const std::int64_t batch = std::min<std::int64_t>(c.batch, train_rows);
  const std::int64_t steps = (train_rows + batch - 1) / batch;
  return static_cast<double>(train_rows) / static_cast<double>(steps);
}

}  // namespace mlpwatt::model
