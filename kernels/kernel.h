#pragma once
// The contract between what is computed (a Kernel) and who times it (the harness), and the catalogue
// in which each kernel file registers itself. The harness sees nothing else of a kernel.
//
// Adding a kernel: write one file in cpu/ or gpu/ that ends in
//     const FamilyRegistration registration{{.name = "cpu/fma", ...}};
// Objects are linked directly (no archive), so the registration always runs.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "kernels/cost.h"
#include "kernels/dataset.h"
#include "kernels/hierarchy.h"

namespace mlpwatt {

/// What a run asks of every kernel alike.
struct RunOptions {
  int threads = 0;        ///< 0 = the kernel chooses (at most hierarchy.cores)
  std::string isa;        ///< "" = the best the machine has; else forced: avx512 avx2 avx2_nofma generic
  std::string algorithm;  ///< "" = the kernel chooses; else forced, e.g. an mlp_train engine
  int batch = 256;        ///< rows of a training batch
  std::uint64_t seed = 1;
  DatasetOptions dataset;
  Hierarchy hierarchy;  ///< of the machine that runs
};

/// The verdict of Kernel::check. A kernel whose result is not proven is never timed.
struct Check {
  bool passed = false;
  std::string detail;  ///< on failure: where, both values and the bound
  double error = 0;    ///< largest error seen, in units of the bound's quantity
  double bound = 0;
};

/// What is wrong, "" when it passed: whatever the kernel concludes, an error that is not within its bound (or
/// is NaN) is none that passed.
std::string failure_of(const Check& check);

/// `!(error <= bound)` fails, so a NaN fails.
Check check_within(double error, double bound, const std::string& what);

/// One timed unit of work with a known Cost. Used by one caller thread; it may run its own threads.
/// Errors: any member may throw std::exception; what() is one line naming the thing and the remedy.
class Kernel {
 public:
  virtual ~Kernel() = default;
  /// Allocates and fills everything `run` needs. Not timed. Called once, before all others.
  virtual void set_up() = 0;
  /// Computes a known case with the very code `run` times and compares it with kernels/reference.
  /// Leaves the state as set_up left it.
  virtual Check check() = 0;
  /// Runs `steps` >= 1 units back to back and returns when the last has finished (blocking, on every
  /// device). Allocates nothing.
  virtual void run(std::int64_t steps) = 0;
  /// Of one step, averaged over an epoch where steps differ (partial last batch).
  virtual Cost cost() const = 0;
  /// What really ran, for the record: at least "isa" and "threads"; also "algorithm", "dataset_source",
  /// "dataset_checksum" where they apply. Valid after set_up.
  virtual std::map<std::string, std::string> facts() const = 0;
};

/// Of a fact "algorithm", "graph 18 kernels a step": its name, "graph". What follows is how it was tuned.
std::string algorithm_name(const std::string& fact);

using ParameterValue = std::variant<std::int64_t, double, std::string>;

/// One entry of the catalogue: a named benchmark that can make its kernel.
struct Benchmark {
  std::string name;    ///< "cpu/gemm/nn/512x512x512"; what --benchmark_filter sees
  std::string family;  ///< "cpu/gemm"
  std::map<std::string, ParameterValue> parameters;  ///< become columns of the record
  bool quick = false;                                ///< part of the quick suite
  std::string unavailable;                           ///< reason it cannot run here; empty = it can
  std::function<std::unique_ptr<Kernel>(const RunOptions&)> make;
};

/// All benchmarks of one kernel file.
struct Family {
  std::string name;     ///< "cpu/mlp_train"
  std::string backend;  ///< "cpu" or "gpu"
  std::string summary;  ///< one line for `mlpwatt list`
  /// Calls `visit` for each benchmark, cheaply (no data is loaded), in a fixed order.
  std::function<void(const RunOptions&, const std::function<void(const Benchmark&)>& visit)> enumerate;
};

/// Every registered family, ordered by name.
const std::vector<Family>& catalogue();

struct FamilyRegistration {
  explicit FamilyRegistration(Family family);
};

}  // namespace mlpwatt
