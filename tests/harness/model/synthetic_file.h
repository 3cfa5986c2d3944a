#pragma once
// A results file whose times and energies follow known coefficients: what a fit must give back.

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "cpu/mlp/engine.h"
#include "harness/model/forms.h"
#include "harness/record/record_file.h"
#include "kernels/dataset.h"
#include "kernels/random.h"

namespace mlpwatt::testing {

inline Row plain_machine(const std::string& host = "pretend") {
  Row row(machine_table());
  row.set("host", host);
  row.set("processor", "Pretend Processor");
  row.set("isas", "avx2 generic");
  row.set("cores", 4);
  row.set("hardware_threads", 4);
  row.set("l1_bytes", std::int64_t{32} << 10);
  row.set("l1_shared_by", 1);
  row.set("l2_bytes", std::int64_t{512} << 10);
  row.set("l2_shared_by", 1);
  row.set("l3_bytes", std::int64_t{16} << 20);
  row.set("l3_shared_by", 4);
  row.set("line_bytes", 64);
  row.set("memory_bytes", std::int64_t{8} << 30);
  row.set("hierarchy_source", "assumed");
  return row;
}

/// One training step of the grid as a row, without its time.
inline Row training_row(const std::string& dataset, const std::string& shape, std::int64_t size, int depth,
                        const std::string& algorithm, int threads) {
  Row row(runs_table());
  row.set("name", "cpu/mlp_train/" + dataset + "/" + shape + "/" + std::to_string(size) + "/" +
                      std::to_string(depth));
  row.set("family", "cpu/mlp_train");
  row.set("backend", "cpu");
  row.set("dataset", dataset);
  row.set("shape", shape);
  row.set("size", size);
  row.set("depth", depth);
  row.set("batch", 256);
  row.set("isa", "avx2");
  row.set("threads", threads);
  row.set("algorithm", algorithm);
  row.set("status", "ok");
  row.set("host", "pretend");
  return row;
}

/// Prices by term; a missing term costs nothing.
using TruePrices = std::map<std::string, double>;

/// Seconds of a step whose terms of `form` cost `prices`.
inline double true_step_s(const model::TrainingRun& run, const std::string& form, const TruePrices& prices) {
  const model::Form& chosen = model::form(form);
  const Eigen::VectorXd amounts = chosen.row(run, model::Target::kTime);
  const auto terms = model::terms_of(chosen, model::Target::kTime);
  double time_s = 0;
  for (std::size_t j = 0; j < terms.size(); ++j)
    if (const auto price = prices.find(terms[j].name); price != prices.end())
      time_s += price->second * amounts(static_cast<Eigen::Index>(j));
  return time_s;
}

/// 1, give or take `deviation`.
inline double noisy_one(RandomStream& random, double deviation) {
  const double normal =
      std::sqrt(-2 * std::log(1 - uniform_unit(random))) * std::cos(6.283185307179586 * uniform_unit(random));
  return std::max(0.1, 1 + deviation * normal);
}

/// Draws networks of the grid, both algorithms; step_s follows `form` with `prices`, times 1 + noise *
/// normal.
/// @param repetitions rows of each configuration
inline Contents synthetic_contents(const std::string& form, const TruePrices& prices, int configurations,
                                   double noise, int repetitions = 1, std::uint64_t seed = 1) {
  RandomStream random(seed);
  Contents contents;
  const auto pick = [&](const auto& from) { return from[uniform_below(random, from.size())]; };
  int made = 0;
  while (made < configurations) {
    const DatasetInfo& info = pick(all_datasets());
    const int depth = pick(all_depths());
    const Shape shape = canonical_shape(pick(all_shapes()), depth);
    const std::int64_t size = std::int64_t{1} << (6 + uniform_below(random, 19));
    Record record;
    record.machine = plain_machine();
    record.run = training_row(info.name, shape_name(shape), size, depth, "", 2);
    model::TrainingRun run;
    try {
      run.configuration = model::configuration_of(record.run);
    } catch (const InfeasibleNetwork&) {
      continue;
    }
    run.configuration.algorithm = made % 2 == 0 ? "fused" : "blocked";
    run.configuration.threads = 1 + made % 4;
    record.run.set("algorithm", run.configuration.algorithm);
    record.run.set("threads", run.configuration.threads);
    run.work = model::step_work(run.configuration, model::hierarchy_of(record.machine));
    const double time_s = true_step_s(run, form, prices);
    for (int r = 0; r < repetitions; ++r) {
      Record one = record;
      one.run.set("repetition", r);
      one.run.set("step_s", time_s * noisy_one(random, noise));
      contents.add(std::move(one));
    }
    ++made;
  }
  return contents;
}

/// Describes a pretended GPU in a row that it ran.
inline void set_pretended_device(Row& run) {
  run.set("backend", "gpu");
  run.set("isa", "sm_90");
  run.set("device", "Pretend GPU");
  run.set("device_multiprocessors", 132);
  run.set("device_l1_bytes", std::int64_t{256} << 10);
  run.set("device_l2_bytes", std::int64_t{50} << 20);
  run.set("device_memory_bytes", std::int64_t{80} << 30);
}

/// The same of a pretended GPU, each network as the quickest of the engines that can hold it ran it:
/// "resident" holds 8192 parameters. Times follow the form "placement".
/// @param prices of each engine
inline Contents synthetic_device_contents(const std::map<std::string, TruePrices>& prices, int configurations,
                                          double noise) {
  constexpr std::int64_t kMostResident = 8192;
  const std::map<std::string, int> threads{{"resident", 2048}, {"cooperative", 33792}, {"graph", 33792}};
  RandomStream random(1);
  Contents contents;
  const auto pick = [&](const auto& from) { return from[uniform_below(random, from.size())]; };
  for (int made = 0; made < configurations;) {
    const DatasetInfo& info = pick(all_datasets());
    const int depth = pick(all_depths());
    const Shape shape = canonical_shape(pick(all_shapes()), depth);
    const std::int64_t size = std::int64_t{1} << (6 + uniform_below(random, 21));
    Record record;
    record.machine = plain_machine();
    record.run = training_row(info.name, shape_name(shape), size, depth, "", 1);
    record.run.set("name", "gpu" + record.run.text("name").substr(3));
    record.run.set("family", "gpu/mlp_train");
    set_pretended_device(record.run);
    model::TrainingRun run;
    try {
      run.configuration = model::configuration_of(record.run);
    } catch (const InfeasibleNetwork&) {
      continue;
    }
    double step_s = 0;
    for (const auto& [algorithm, its] : prices) {
      if (algorithm == "resident" && run.configuration.network.parameters() > kMostResident) continue;
      run.configuration.algorithm = algorithm;
      run.configuration.threads = threads.at(algorithm);
      run.work = model::step_work(run.configuration, model::hierarchy_of(record.machine, record.run));
      const double time_s = true_step_s(run, "placement", its);
      if (step_s > 0 && time_s >= step_s) continue;
      step_s = time_s;
      // how it was tuned differs from network to network
      record.run.set("algorithm", algorithm + " tuned for " + std::to_string(made));
      record.run.set("threads", run.configuration.threads);
    }
    record.run.set("step_s", step_s * noisy_one(random, noise));
    contents.add(std::move(record));
    ++made;
  }
  return contents;
}

}  // namespace mlpwatt::testing
