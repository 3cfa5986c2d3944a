#include "harness/options.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <charconv>
#include <climits>

#include "cpu/isa.h"
#include "harness/program.h"
#include "kernels/nearest.h"

namespace mlpwatt {

namespace {

template <class T>
CLI::Option* number(CLI::Option* option, T least, T most, const char* kind) {
  return option->check([=](const std::string& text) -> std::string {
    T value{};
    const char* const end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc() && stopped == end && value >= least && value <= most) return "";
    // limits nobody can have meant are named only to who went beyond them
    if (error == std::errc::invalid_argument || (error == std::errc() && stopped != end))
      if (least <= T{INT_MIN} && most >= T{INT_MAX}) return fmt::format("'{}' is not a {}", text, kind);
    return fmt::format("'{}' is not a {} from {} to {}", text, kind, least, most);
  });
}

}  // namespace

CLI::Option* whole_number(CLI::Option* option, std::int64_t least, std::int64_t most) {
  return number(option, least, most, "whole number");
}

CLI::Option* real_number(CLI::Option* option, double least, double most) {
  return number(option, least, most, "number");
}

void add_batch_option(CLI::App& app, int& batch) {
  whole_number(app.add_option("--batch", batch, "rows of a training batch")->capture_default_str(), 1,
               1 << 24);
}

void add_kernel_options(CLI::App& app, KernelOptions& options) {
  whole_number(app.add_option("--threads", options.threads, "threads of the kernel; 0 = the kernel chooses"),
               0, 65536);
  app.add_option("--isa", options.isa,
                 fmt::format("force an instruction set: {}", fmt::join(isa_names(), ", ")));
  app.add_option("--algorithm", options.algorithm, "force an algorithm of the kernel");
  add_batch_option(app, options.batch);
  whole_number(app.add_option("--seed", options.seed, "of initial weights, splits and synthetic values")
                   ->capture_default_str(),
               0, kLargestSeed);
  app.add_option("--data-dir", options.data_dir, "where dataset files are looked for first");
  app.add_option("--dataset-source", options.dataset_source,
                 "file, synthetic (a seeded stand-in), or auto (the file when there is one)")
      ->capture_default_str();
}

RunOptions to_run_options(const KernelOptions& options, const Hierarchy& hierarchy) {
  const std::vector<std::string> isas = isa_names();
  if (!options.isa.empty() && std::find(isas.begin(), isas.end(), options.isa) == isas.end())
    throw UsageError(unknown_name("instruction set (--isa)", options.isa, isas));
  RunOptions run;
  run.threads = options.threads;
  run.isa = options.isa;
  run.algorithm = options.algorithm;
  run.batch = options.batch;
  run.seed = options.seed;
  run.dataset = {parse_dataset_source(options.dataset_source), options.data_dir, options.seed};
  run.hierarchy = hierarchy;
  return run;
}

void add_meter_options(CLI::App& app, PowerOptions& power, std::string& config_path) {
  app.add_option("--meters", power.meters,
                 "auto (every meter found, else the estimate), none, or names (mlpwatt info)")
      ->capture_default_str();
  app.add_option("--meter-config", config_path,
                 "JSON file of meter addresses and options (default $MLPWATT_METERS)");
}

void add_network_options(CLI::App& app, NetworkOptions& options) {
  app.add_option("--dataset", options.dataset, "one of the study's 13 tasks")->required();
  app.add_option("--shape", options.shape, "rectangle, trapezoid, exponential, wide_first_2x ...")
      ->required();
  constexpr std::int64_t any = INT64_MAX;  // what a network can have, make_network says best
  whole_number(app.add_option("--size", options.size, "target number of trainable parameters")->required(),
               -any, any);
  whole_number(
      app.add_option("--depth", options.depth, "dense layers, the output layer included")->required(),
      INT_MIN, INT_MAX);
}

Network to_network(const NetworkOptions& options) {
  const DatasetInfo& dataset = dataset_info(options.dataset);
  return make_network(parse_shape(options.shape), options.size, options.depth, dataset.features,
                      dataset.outputs, dataset.task);
}

}  // namespace mlpwatt
