// Whatever BLAS this machine has, each through its own file and right; and the plain trainer on a BLAS of
// three loops.

#include "harness/compare/blas.h"

#include <gtest/gtest.h>

#include <set>

#include "harness/compare/learner.h"
#include "kernels/dataset_parts.h"
#include "kernels/random.h"
#include "kernels/reference.h"

namespace mlpwatt::testing {
namespace {

void reference_product(const GemmProblem& p, const float* a, const float* b, float* c) {
  const bool ta = p.layout == GemmLayout::kTN, tb = p.layout == GemmLayout::kNT;
  std::vector<double> out(static_cast<std::size_t>(p.m * p.n));
  const int m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
  reference::gemm(ta, tb, m, n, k, 1.0, a, ta ? m : k, b, tb ? k : n, 0.0, out.data(), n);
  std::copy(out.begin(), out.end(), c);
}

class ThreeLoops : public Blas {
 public:
  explicit ThreeLoops(const std::string& name) { name_ = library_ = name; }
  void gemm(const GemmProblem& p, const float* a, const float* b, float* c) override {
    reference_product(p, a, b, c);
    if (name_ == "wrong") c[0] += 1;
  }
  void use_threads(int) override {}
};

TEST(BlasLibraries, EachIsRightAndNoneStandsInForAnother) {
  BlasLibraries& libraries = blas_libraries("/no/such/folder");
  for (const auto& [name, reason] : libraries.absent) EXPECT_NE(reason, "") << name;
  EXPECT_EQ(libraries.found.size() + libraries.absent.size(), 5u);
  if (libraries.found.empty()) GTEST_SKIP() << "no BLAS on this machine";
  std::set<std::string> files;
  RandomStream stream(3);
  for (const auto& blas : libraries.found) {
    EXPECT_TRUE(files.insert(blas->path()).second) << blas->path();
    EXPECT_NE(blas->library(), "");
    for (const int threads : {1, 2}) {
      blas->use_threads(threads);
      for (const GemmLayout layout : {GemmLayout::kNN, GemmLayout::kNT, GemmLayout::kTN})
        for (const auto& [m, n, k] :
             {std::tuple{1, 1, 1}, {3, 5, 7}, {17, 13, 33}, {64, 48, 96}, {130, 70, 65}}) {
          const GemmProblem problem{layout, m, n, k};
          std::vector<float> a(static_cast<std::size_t>(m * k)), b(static_cast<std::size_t>(k * n));
          for (auto* values : {&a, &b})
            for (float& value : *values) value = static_cast<float>(uniform_below(stream, 9)) - 4;
          std::vector<float> want(static_cast<std::size_t>(m * n)), got(want.size(), -99.0f);
          reference_product(problem, a.data(), b.data(), want.data());
          try {
            blas->gemm(problem, a.data(), b.data(), got.data());
          } catch (const UnsupportedProduct&) {
            continue;
          }
          EXPECT_EQ(got, want) << blas->library() << " layout " << static_cast<int>(layout) << " " << m << "x"
                               << n << "x" << k << ", " << threads << " thread(s)";
        }
    }
  }
}

Lesson lesson(const std::string& dataset, bool residual, const Dataset& data) {
  Lesson lesson;
  const DatasetInfo& info = dataset_info(dataset);
  lesson.network = {info.features, {9, 9, 9, info.outputs}, residual, info.task};
  lesson.data = std::make_shared<const Dataset>(data);
  lesson.batch = 32;
  lesson.initial = reference::initial_parameters(lesson.network, 5);
  return lesson;
}

/// Both losses of a proof of ten steps, by the double-precision reference.
std::pair<double, double> reference_losses(const Lesson& lesson, const std::vector<int>& batches,
                                           int evaluate) {
  reference::Trainer trainer(lesson.network, lesson.initial, lesson.adam);
  const auto x = [&](int b) { return lesson.data->x.data() + b * lesson.batch * lesson.network.inputs; };
  const auto y = [&](int b) { return lesson.data->y.data() + b * lesson.batch * lesson.network.outputs(); };
  const double before = trainer.evaluate(x(evaluate), y(evaluate), lesson.batch).loss;
  for (const int b : batches) trainer.step(x(b), y(b), lesson.batch);
  return {before, trainer.evaluate(x(evaluate), y(evaluate), lesson.batch).loss};
}

TEST(Learners, OursAndThePlainTrainerLearnWhatTheReferenceLearns) {
  BlasLibraries loops, wrong;
  loops.found.push_back(std::make_unique<ThreeLoops>("three loops"));
  wrong.found.push_back(std::make_unique<ThreeLoops>("wrong"));
  const std::vector<int> batches{4, 0, 2, 1, 3, 4, 0, 2, 1, 3};
  for (const char* name : {"wine_quality_white", "adult", "505_tecator"})
    for (const bool residual : {false, true}) {
      const Lesson task = lesson(name, residual, synthetic_dataset(dataset_info(name), 7));
      RunOptions options;
      options.hierarchy = {.source = "assumed", .cores = 2, .hardware_threads = 2};
      const int evaluate = task.batches() - 1;
      const std::vector<int> order = [&] {
        std::vector<int> wrapped = batches;
        for (int& b : wrapped) b %= task.batches();
        return wrapped;
      }();
      const auto [before, after] = reference_losses(task, order, evaluate);
      EXPECT_NE(after, before);
      for (BlasLibraries* libraries : {static_cast<BlasLibraries*>(nullptr), &loops, &wrong}) {
        const auto learner =
            libraries != nullptr ? make_blas_learner(*libraries) : make_our_learner("cpu", options);
        learner->open(task);
        const double got_before = learner->loss_after({}, evaluate),
                     got_after = learner->loss_after(order, evaluate);
        const LossAgreement agreement = losses_agree(got_before, got_after, before, after, 10);
        EXPECT_EQ(agreement.agrees, libraries != &wrong)
            << learner->name() << " " << name << " residual " << residual << ": " << agreement.detail;
        EXPECT_GT(learner->run_s(order, 2), 0);
        EXPECT_EQ(learner->loss_after({}, evaluate), got_before) << "the proof starts anew";
        EXPECT_EQ(learner->facts().count("threads"), 1u);
        if (libraries ==
            nullptr) {  // weights moved in their last bits train the same, as nearly as rounding lets them
          const double nudged = learner->loss_after_nudged(order, evaluate, 1);
          EXPECT_TRUE(losses_agree(got_before, nudged, before, after, 10).agrees) << nudged << " " << after;
          EXPECT_EQ(learner->loss_after(order, evaluate), got_after)
              << "the next proof starts from what was given";
        } else {
          EXPECT_THROW(learner->loss_after_nudged(order, evaluate, 1), std::logic_error);
        }
        learner->close();
      }
    }
}

TEST(Learners, LossesAgreeOnlyWithinRoundingAndAShareOfWhatWasLearnt) {
  EXPECT_TRUE(losses_agree(1.0, 0.9, 1.0, 0.9, 20).agrees);
  EXPECT_TRUE(losses_agree(1.0 + 1e-5, 0.9 + 1e-3, 1.0, 0.9, 20).agrees);
  EXPECT_FALSE(losses_agree(1.0 + 1e-4, 0.9, 1.0, 0.9, 20).agrees) << "other weights or other data";
  EXPECT_FALSE(losses_agree(1.0, 0.905, 1.0, 0.9, 20).agrees) << "another optimiser";
  EXPECT_FALSE(losses_agree(1.0, 1.0, 1.0, 0.999, 20).agrees)
      << "learnt nothing where there was little to learn";
  // a chaotic network: rounding alone moves ours by 0.02, and others round more often
  EXPECT_TRUE(losses_agree(1.0, 0.85, 1.0, 0.9, 20, 0.02).agrees);
  EXPECT_FALSE(losses_agree(1.0, 0.8, 1.0, 0.9, 20, 0.02).agrees);
  EXPECT_FALSE(losses_agree(1.0 + 1e-4, 0.9, 1.0, 0.9, 20, 0.02).agrees) << "nothing excuses other data";
  EXPECT_FALSE(losses_agree(1.0, std::nan(""), 1.0, 0.9, 20).agrees);
  EXPECT_FALSE(losses_agree(std::nan(""), 0.9, 1.0, 0.9, 20).agrees);
}

}  // namespace
}  // namespace mlpwatt::testing
