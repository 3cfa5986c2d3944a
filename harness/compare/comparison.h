#pragma once
// One comparison: contestants that have proven the same result take turns at one piece of work, and every one
// leaves a row with its times, its floor and its ratio to ours.

#include <functional>
#include <string>
#include <vector>

#include "harness/compare/floor.h"
#include "harness/compare/learner.h"
#include "harness/compare/turns.h"
#include "harness/run/run_one.h"

namespace mlpwatt {

/// What is the same for all comparisons of a sitting on so many threads.
struct CompareSettings {
  RunSettings run;  ///< run.kernel.threads: how many threads everybody may use
  TurnOptions turns;
  Peaks peaks;
  std::int64_t order_index = 0;  ///< of the next row
};

struct Standing {
  std::string name;  ///< "ours", "openblas", "torch_eager"
  Record record;     ///< status ok, failed (refused: its result was wrong) or error
  std::vector<double> step_s;
};

/// The rows of one piece of work: ours first.
struct Comparison {
  Benchmark benchmark;
  std::vector<Standing> standings;

  const Standing& ours() const { return standings.front(); }
  /// The quickest peer with a time, or nullptr.
  const Standing* best_peer() const;
};

/// @param benchmark one of cpu/gemm. Ours is compared with kernels/reference on a spread of rows, each BLAS
/// with ours in every element: small integers, whose sums are exact.
Comparison compare_gemm(const Benchmark& benchmark, CompareSettings& settings, BlasLibraries& libraries,
                        Clock& clock);

/// @param benchmark one of cpu/mlp_train @param learners ours first; they are opened and closed here
/// @param folder for the lesson's files
Comparison compare_training(const Benchmark& benchmark, CompareSettings& settings,
                            const std::vector<Learner*>& learners, const std::string& folder, Clock& clock);

/// How a peer's row is called: peer/<name> and what follows the backend in ours.
std::string peer_row_name(const std::string& peer, const std::string& our_name);

/// Lets those of `standings` whose contestant is there take turns, and completes every row. Where meters look
/// on (settings.run.power), ours and the quickest peer then have a window each for their joules, by the
/// protocol of `run`: a turn is too short for most meters. duration_s, steps, step_mean_s and start are that
/// window's then, in which each turn's call counts as well; the other times stay those of the turns.
/// @param footprint_bytes tells the memory level of the floor
struct Entrant {
  Standing standing;
  std::function<double(std::int64_t, std::int64_t)> run_s;  ///< empty: takes no part, its status is set
};
Comparison run_comparison(const Benchmark& benchmark, std::vector<Entrant> entrants, const Cost& cost,
                          std::int64_t footprint_bytes, CompareSettings& settings, Clock& clock);
/// A row as begin_record makes it, named after its contestant.
Standing begin_standing(const std::string& name, const Benchmark& benchmark, CompareSettings& settings,
                        Clock& clock);
/// The row's status, "failed", "error" or "unavailable", with the reason.
void refuse(Standing& standing, const std::string& status, const std::string& reason);

}  // namespace mlpwatt
