#pragma once
// The options that several commands share, parsed once and turned into the contracts' own structs.

#include <cstdint>
#include <string>

#include "kernels/kernel.h"
#include "meters/power_session.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace mlpwatt {

/// Lets only whole numbers least .. most pass. (CLI11's own checks let NaN, overflow and the sign of an
/// unsigned number through.)
CLI::Option* whole_number(CLI::Option* option, std::int64_t least, std::int64_t most);
/// Lets only numbers least .. most pass.
CLI::Option* real_number(CLI::Option* option, double least, double most);
/// Seeds are recorded as int64.
inline constexpr std::int64_t kLargestSeed = INT64_MAX;

/// What a person may ask of every kernel alike.
struct KernelOptions {
  int threads = 0;
  std::string isa;
  std::string algorithm;
  int batch = 256;
  std::uint64_t seed = 1;
  std::string data_dir;
  std::string dataset_source = "file";
};

void add_batch_option(CLI::App& app, int& batch);
/// --threads --isa --algorithm --batch --seed --data-dir --dataset-source
void add_kernel_options(CLI::App& app, KernelOptions& options);
/// Errors: UsageError for an instruction set or dataset source that does not exist.
RunOptions to_run_options(const KernelOptions& options, const Hierarchy& hierarchy);

/// --meters and --meter-config (into `config_path`)
void add_meter_options(CLI::App& app, PowerOptions& power, std::string& config_path);

/// One configuration of the study's grid.
struct NetworkOptions {
  std::string dataset, shape;
  std::int64_t size = 0;
  int depth = 0;
};

/// --dataset --shape --size --depth, all required
void add_network_options(CLI::App& app, NetworkOptions& options);
/// Errors: std::invalid_argument naming the value and the nearest valid ones.
Network to_network(const NetworkOptions& options);

}  // namespace mlpwatt
