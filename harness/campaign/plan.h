#pragma once
// A plan: what a campaign runs, as plain text that can be read, edited and compared line by line.
//
//   mlpwatt plan 1
//   # comments and empty lines mean nothing
//   seed 1
//   window_s 0.5
//   run cpu/mlp_train/adult/rectangle/1024/3 batch=256 threads=0 isa=any algorithm=any predicted_s=0.81
//
// Settings first, each once; then one line a configuration.

#include <cstdint>
#include <iosfwd>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "harness/protocol/window.h"

namespace mlpwatt {

/// One configuration.
struct PlanEntry {
  std::string benchmark;  ///< its name in the catalogue
  int batch = 256;
  int threads = 0;        ///< 0 = the kernel chooses
  std::string isa;        ///< "" = the best the machine has ("any" in the file)
  std::string algorithm;  ///< "" = the kernel chooses ("any" in the file)
  /// Of one repetition, everything included; NaN = unknown. What shards are balanced by; no part of identity.
  double predicted_s = std::numeric_limits<double>::quiet_NaN();
  int line = 0;  ///< of the file it was read from; 0 = of none. No part of identity either.

  bool same_configuration(const PlanEntry& other) const {
    return benchmark == other.benchmark && batch == other.batch && threads == other.threads &&
           isa == other.isa && algorithm == other.algorithm;
  }
  std::string text() const;  ///< one line of the file
};

struct Plan {
  std::uint64_t seed = 1;        ///< of weights, splits and synthetic values
  std::uint64_t order_seed = 1;  ///< of the shuffle of runs
  std::string dataset_source = "file";
  int repetitions = 1;
  ProtocolOptions protocol{.window_s = 0.5, .maximum_window_s = 5, .precision = 0.02};
  /// Windows also go on until the energy's relative standard uncertainty is below this; 0 = never.
  double energy_target = 0.02;
  std::vector<std::string> comments;  ///< written after the first line; not read back
  std::vector<PlanEntry> entries;

  std::int64_t runs() const { return static_cast<std::int64_t>(entries.size()) * repetitions; }
  /// 16 hexadecimal digits over all that decides which runs there are and how they are made: comments and
  /// predictions are left out.
  std::string campaign() const;
};

/// A malformed plan: "PLAN:12: what is wrong".
struct PlanError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// Errors: PlanError naming line and fault; std::runtime_error when the file cannot be read.
Plan read_plan(const std::string& path);
/// @param name what errors call it
Plan parse_plan(std::istream& in, const std::string& name);
std::string plan_text(const Plan& plan);

}  // namespace mlpwatt
