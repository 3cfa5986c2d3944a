#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <optional>

#include "harness/compare/comparison.h"
#include "harness/run/run_one.h"
#include "kernels/mlp_grid.h"
#include "kernels/random.h"

namespace mlpwatt {
namespace {

constexpr int kProofSteps = 20;
constexpr int kShortProofSteps = 5;  ///< before rounding has grown in a chaotic network

/// Batches in the seeded order of training, over and over; each learner walks through them by itself.
class Batches {
 public:
  Batches(int batches, std::uint64_t seed) {
    constexpr std::size_t kLength = 4096;  // then it starts again
    BatchOrder order(batches, seed);
    while (order_.size() < kLength) {
      const std::vector<int>& epoch = order.next_epoch();
      order_.insert(order_.end(), epoch.begin(), epoch.end());
    }
  }
  std::vector<int> take(std::size_t& at, std::int64_t count) const {
    std::vector<int> taken;
    for (std::int64_t i = 0; i < count; ++i, ++at) taken.push_back(order_[at % order_.size()]);
    return taken;
  }

 private:
  std::vector<int> order_;
};

/// The last dataset loaded is kept: points come ordered by dataset.
std::shared_ptr<const Dataset> dataset(const std::string& name, const DatasetOptions& options) {
  static std::shared_ptr<const Dataset> last;
  if (!last || last->info.name != name) last = std::make_shared<const Dataset>(load_dataset(name, options));
  return last;
}

Lesson lesson_of(const Benchmark& benchmark, const RunOptions& options, const std::string& folder) {
  const auto& name = std::get<std::string>(benchmark.parameters.at("dataset"));
  Lesson lesson;
  lesson.network = network_of(benchmark).value();
  lesson.data = dataset(name, options.dataset);
  lesson.batch = options.batch;
  lesson.threads = options.threads;
  lesson.initial = reference::initial_parameters(lesson.network, options.seed);
  lesson.folder = folder;
  if (lesson.batches() < 1)
    throw std::invalid_argument(
        fmt::format("{} has {} training rows, fewer than one batch of {}: give a smaller --batch", name,
                    lesson.data->train_rows(), lesson.batch));
  return lesson;
}

/// A learner that has opened the lesson and shown what it makes of it.
struct Preparation {
  double before = 0, after = 0;  ///< losses around the proof
  double seconds = 0;
  std::map<std::string, std::string> facts;
  std::optional<Check> check;
  std::string error, status = "error";
};

Preparation prepare(Learner& learner, const Lesson& lesson, const std::vector<int>& proof, int evaluate,
                    Clock& clock) {
  Preparation made;
  const double start = clock.monotonic_s();
  try {
    learner.open(lesson);
    made.facts = learner.facts();
    made.check = learner.check();
    if (made.check) made.error = failure_of(*made.check);
    if (!made.error.empty()) made.status = "failed";
    made.before = learner.loss_after({}, evaluate);
    made.after = learner.loss_after(proof, evaluate);
  } catch (const UnsupportedProduct& error) {
    made.error = error.what(), made.status = "unavailable";
  } catch (const std::exception& error) {
    made.error = error.what();
  }
  made.seconds = clock.monotonic_s() - start;
  return made;
}

/// What ours makes of the same steps: with its own form of Adam, with the other, and from weights moved in
/// their last bits.
class OurProof {
 public:
  OurProof(Learner& ours, const Preparation& prepared, const std::vector<int>& proof, int evaluate)
      : ours_(ours), prepared_(prepared), proof_(proof), evaluate_(evaluate) {}

  double before() const { return prepared_.before; }
  /// Loss after the first `steps` of the proof; nothing where this engine has no such Adam.
  std::optional<double> after(int steps, bool epsilon_on_corrected_root) {
    if (!epsilon_on_corrected_root && steps == kProofSteps) return prepared_.after;
    auto& known = known_[{steps, epsilon_on_corrected_root}];
    if (known) return known;
    const std::vector<int> some(proof_.begin(), proof_.begin() + steps);
    try {
      known = epsilon_on_corrected_root ? ours_.loss_after_on_corrected_root(some, evaluate_)
                                        : ours_.loss_after(some, evaluate_);
    } catch (const std::exception&) {  // then it is held against the form there is
    }
    return known;
  }
  /// How far our own losses after the whole proof lie apart that differ by rounding alone.
  double spread() {
    if (spread_) return *spread_;
    double least = prepared_.after, most = prepared_.after;
    constexpr int kNudges = 3;
    for (std::uint64_t seed = 1; seed <= kNudges; ++seed) {
      const double loss = ours_.loss_after_nudged(proof_, evaluate_, seed);
      least = std::min(least, loss), most = std::max(most, loss);
    }
    spread_ = most - least;
    return *spread_;
  }

 private:
  Learner& ours_;
  const Preparation& prepared_;
  const std::vector<int>& proof_;
  int evaluate_;
  std::map<std::pair<int, bool>, std::optional<double>> known_;
  std::optional<double> spread_;
};

/// The loss after the proof must be ours. Where our own from the same weights but for their last bits is not
/// either, the network is chaotic: then after the first few steps it must be, and after all of them as near
/// as rounding leaves ours.
LossAgreement agreement_of(Learner& learner, const Preparation& mine, OurProof& ours,
                           const std::vector<int>& proof, int evaluate) {
  const bool corrected = learner.epsilon_on_corrected_root();
  const auto held = [&](double after, int steps, double spread) {
    const double ours_before = ours.before(), ours_plain = *ours.after(steps, false);
    return losses_agree(mine.before, after, ours_before, ours.after(steps, corrected).value_or(ours_plain),
                        steps, spread);
  };
  const LossAgreement first = held(mine.after, kProofSteps, 0);
  if (first.agrees || !held(mine.after, kProofSteps, ours.spread()).agrees) return first;
  const std::vector<int> some(proof.begin(), proof.begin() + kShortProofSteps);
  LossAgreement early;
  try {
    early = held(learner.loss_after(some, evaluate), kShortProofSteps, 0);
  } catch (const std::exception& error) {
    return {false, first.error, first.bound, error.what()};
  }
  return early.agrees ? held(mine.after, kProofSteps, ours.spread()) : early;
}

}  // namespace

Comparison compare_training(const Benchmark& original, CompareSettings& settings,
                            const std::vector<Learner*>& learners, const std::string& folder, Clock& clock) {
  const RunOptions& options = settings.run.kernel;
  const Lesson lesson = lesson_of(original, options, folder);
  Benchmark benchmark = original;
  benchmark.parameters["parameters"] = lesson.network.parameters();
  benchmark.parameters["batch"] = std::int64_t{lesson.batch};
  write_lesson(lesson);
  const Batches batches(lesson.batches(), options.seed);
  std::size_t at = 0;
  const std::vector<int> proof = batches.take(at, kProofSteps);
  const int evaluate = batches.take(at, 1)[0];

  std::vector<Preparation> prepared(learners.size());
  std::vector<std::future<Preparation>> apart(learners.size());
  // Compilers run now: drivers prepare themselves side by side, we and whoever shares our process afterwards.
  for (std::size_t i = 0; i < learners.size(); ++i)
    if (learners[i]->apart())
      apart[i] = std::async(std::launch::async,
                            [&, i] { return prepare(*learners[i], lesson, proof, evaluate, clock); });
  for (std::size_t i = 0; i < learners.size(); ++i)
    prepared[i] = apart[i].valid() ? apart[i].get() : prepare(*learners[i], lesson, proof, evaluate, clock);

  OurProof our_proof(*learners[0], prepared[0], proof, evaluate);
  std::vector<Entrant> entrants;
  for (std::size_t i = 0; i < learners.size(); ++i) {
    Learner* learner = learners[i];
    const Preparation &mine = prepared[i], &ours = prepared[0];
    Entrant entrant{begin_standing(learner->name(), benchmark, settings, clock), {}};
    Row& row = entrant.standing.record.run;
    set_facts(row, mine.facts);
    set_facts(row, {{"dataset_source", lesson.data->source}, {"dataset_checksum", lesson.data->checksum}});
    row.set("set_up_s", mine.seconds);
    if (mine.check) set_check(row, *mine.check);
    if (!mine.error.empty()) {
      refuse(entrant.standing, mine.status, mine.error);
    } else if (!ours.error.empty()) {
      refuse(entrant.standing, "error", "there is no loss of ours to compare with");
    } else {
      const LossAgreement agreement = i == 0 ? losses_agree(mine.before, mine.after, mine.before, mine.after,
                                                            kProofSteps)  // finite, that is
                                             : agreement_of(*learner, mine, our_proof, proof, evaluate);
      if (i > 0) row.set("check_error", agreement.error), row.set("check_bound", agreement.bound);
      if (!agreement.agrees)
        refuse(entrant.standing, "failed",
               agreement.detail + (learner->epsilon_on_corrected_root() && !our_proof.after(kProofSteps, true)
                                       ? "; ours has no Adam with epsilon beside the corrected root here"
                                       : ""));
      if (agreement.agrees)
        entrant.run_s = [learner, &batches, next = std::size_t{0}](std::int64_t warm,
                                                                   std::int64_t steps) mutable {
          return learner->run_s(batches.take(next, warm + steps), warm);
        };
    }
    entrants.push_back(std::move(entrant));
  }
  const Cost cost = mlp_train_cost(lesson.network, lesson.batch, lesson.data->rows);
  Comparison comparison = run_comparison(benchmark, std::move(entrants), cost,
                                         footprint_bytes(benchmark.family, cost), settings, clock);
  for (Learner* learner : learners) {
    try {
      learner->close();
    } catch (const std::exception&) {  // it has its row; what it cannot give back ends with its process
    }
  }
  return comparison;
}

}  // namespace mlpwatt
