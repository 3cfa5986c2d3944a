#pragma once
// The options that several commands share, parsed once and turned into the contracts' own structs.

#include <cstdint>
#include <string>

#include "kernels/kernel.h"

namespace CLI {
class App;
}

namespace mlpwatt {

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

/// --threads --isa --algorithm --batch --seed --data-dir --dataset-source
void add_kernel_options(CLI::App& app, KernelOptions& options);
/// Errors: UsageError for an instruction set or dataset source that does not exist.
RunOptions to_run_options(const KernelOptions& options, const Hierarchy& hierarchy);

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
