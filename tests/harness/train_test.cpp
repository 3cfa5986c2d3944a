// mlpwatt train: the curve follows the double reference, stops where it should, and is in the file.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "harness/record/record_file.h"
#include "harness/run/training.h"
#include "tests/harness/program.h"
#include "tests/kernels/reference_engine.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> train_args(const std::string& out, const std::vector<std::string>& more) {
  std::vector<std::string> args{
      "train", "--dataset", "wine_quality_white", "--shape", "trapezoid", "--size", "1024", "--depth", "4",
      "--out", out};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

std::vector<nlohmann::json> lines(const std::string& text) {
  std::vector<nlohmann::json> points;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) points.push_back(nlohmann::json::parse(line));
  return points;
}

/// Loses a little each epoch; then what the script says.
class FakeTrainee : public Trainee {
 public:
  explicit FakeTrainee(std::vector<double> losses) : losses_(std::move(losses)) {}
  int train_batches() const override { return 3; }
  std::unique_ptr<Epochs> epochs(std::uint64_t seed) override {
    return std::make_unique<HostEpochs>(train_batches(), seed, [this](const std::vector<int>& batches) {
      orders.push_back(batches);
      ++epoch_;
      return losses_.at(static_cast<std::size_t>(epoch_));
    });
  }
  reference::Evaluation evaluate_train() override { return evaluate_test(); }
  reference::Evaluation evaluate_test() override {
    return {losses_.at(static_cast<std::size_t>(epoch_)), 0.5};
  }
  std::optional<Check> check() override { return std::nullopt; }
  std::map<std::string, std::string> facts() const override { return {}; }
  std::vector<std::vector<int>> orders;

 private:
  std::vector<double> losses_;
  int epoch_ = 0;
};

TEST(Training, EndsWhereItShould) {
  const auto end_of = [](std::vector<double> losses, std::optional<double> target, int stop_after) {
    FakeTrainee trainee(std::move(losses));
    int seen = 0;
    double now = 0;
    const TrainingEnd end = train(
        trainee, {.epochs = 3, .target_test_loss = target}, [&] { return now += 0.5; },
        [&](const Epoch& point) {
          EXPECT_EQ(point.epoch, seen);
          EXPECT_DOUBLE_EQ(point.total_seconds, 0.5 * seen);
          return seen++ != stop_after;
        });
    return std::pair(end, seen - 1);
  };
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(end_of({4, 3, 2, 1}, {}, -1), std::pair(TrainingEnd::kEpochs, 3));
  EXPECT_EQ(end_of({4, 3, 2, 1}, 2.0, -1), std::pair(TrainingEnd::kTarget, 2));
  EXPECT_EQ(end_of({4, 3, 2, 1}, 0.5, -1), std::pair(TrainingEnd::kEpochs, 3));
  EXPECT_EQ(end_of({4, nan, 2, 1}, 5.0, -1), std::pair(TrainingEnd::kDiverged, 1));
  EXPECT_EQ(end_of({4, 3, infinity, 1}, {}, -1), std::pair(TrainingEnd::kDiverged, 2));
  EXPECT_EQ(end_of({4, 3, 2, 1}, {}, 1), std::pair(TrainingEnd::kStopped, 1));
  EXPECT_EQ(end_of({4, 3, 2, 1}, {}, 0), std::pair(TrainingEnd::kStopped, 0));
}

TEST(Training, EveryEpochHasEveryBatchOnceInASeededOrder) {
  const auto orders = [](std::uint64_t seed) {
    FakeTrainee trainee(std::vector<double>(21, 1.0));
    train(
        trainee, {.epochs = 20, .target_test_loss = {}, .seed = seed}, [] { return 0.0; },
        [](const Epoch&) { return true; });
    return trainee.orders;
  };
  for (const std::vector<int>& order : orders(1))
    EXPECT_THAT(order, ::testing::UnorderedElementsAre(0, 1, 2));
  EXPECT_EQ(orders(1), orders(1));
  EXPECT_NE(orders(1), orders(2));
}

/// The reference with epochs of its own, as an engine has that draws them elsewhere: always the first batch.
class FirstBatchEngine : public ReferenceEngine {
 public:
  using ReferenceEngine::ReferenceEngine;
  std::unique_ptr<Epochs> epochs(std::uint64_t) override {
    struct Own : Epochs {
      explicit Own(MlpEngine& e) : engine(e) {}
      void draw() override { batches.assign(static_cast<std::size_t>(engine.train_batches()), 0); }
      double train() override {
        return engine.train(batches.data(), static_cast<std::int64_t>(batches.size()));
      }
      MlpEngine& engine;
      std::vector<int> batches;
    };
    return std::make_unique<Own>(*this);
  }
};

template <class Engine>
const BackendRegistration reference_backend(const char* name) {
  return BackendRegistration{{name,
                              [] { return std::string(); },
                              {},
                              [](const Network& network, const Dataset& data, const RunOptions& options,
                                 const reference::Adam& adam) {
                                Backend::Trainer trainer =
                                    reference_trainer(network, data, options.batch, adam, 1);
                                trainer.engine =
                                    std::make_unique<Engine>(network, data, options.batch, adam, 1);
                                return trainer;
                              }}};
}
const BackendRegistration first_batch = reference_backend<FirstBatchEngine>("first_batch"),
                          shuffled = reference_backend<ReferenceEngine>("shuffled");

TEST(Training, AnEngineMayDrawItsEpochsItself) {
  const DatasetInfo& info = dataset_info("banana");
  const Network network = make_network(Shape::kRectangle, 32, 2, info.features, info.outputs, info.task);
  DatasetOptions synthetic;
  synthetic.source = DatasetSource::kSynthetic;
  const Dataset data = load_dataset(info.name, synthetic);
  const auto loss_of = [&](const char* backend) {
    const auto trainee = make_trainee(backend, network, data, {}, {});
    double loss = 0;
    train(
        *trainee, {.epochs = 1}, [] { return 0.0; },
        [&](const Epoch& point) {
          loss = point.train_loss;
          return true;
        });
    return loss;
  };
  ReferenceEngine engine(network, data, RunOptions{}.batch, {}, 1);
  engine.set_parameters(reference::initial_parameters(network, RunOptions{}.seed));
  const std::vector<int> batches(static_cast<std::size_t>(engine.train_batches()), 0);
  EXPECT_EQ(loss_of("first_batch"), engine.train(batches.data(), engine.train_batches()));
  EXPECT_NE(loss_of("shuffled"), loss_of("first_batch"));
}

TEST(TrainCommand, FollowsTheDoubleReferenceAndIsRecorded) {
  const TemporaryFolder folder;
  const std::string file = folder.path("curves.h5");
  const Outcome fast = run(train_args(file, {"--epochs", "8", "--json", "--seed", "3"}));
  const Outcome slow =
      run(train_args(file, {"--epochs", "8", "--json", "--seed", "3", "--backend", "reference"}));
  ASSERT_EQ(fast.status, 0) << fast.err;
  ASSERT_EQ(slow.status, 0) << slow.err;
  const auto ours = lines(fast.out), theirs = lines(slow.out);
  ASSERT_EQ(ours.size(), 9u);
  ASSERT_EQ(theirs.size(), 9u);
  // float32 against double: the step sizes of Adam hide rounding until gradients are small, 0.1 % is far
  // above it and far below one epoch's progress.
  for (std::size_t i = 0; i < ours.size(); ++i)
    for (const char* name : {"train_loss", "test_loss"}) {
      const double got = ours[i].at(name), want = theirs[i].at(name);
      EXPECT_TRUE(std::abs(got - want) <= 1e-3 * want)
          << name << " of epoch " << i << ": " << got << ", " << want;
    }
  EXPECT_LT(ours.back().at("test_loss").get<double>(), 0.98 * ours.front().at("test_loss").get<double>());
  EXPECT_GT(ours.back().at("seconds").get<double>(), 0);
  const Contents contents = read_file(file);
  ASSERT_EQ(contents.rows(runs_table()).size(), 2u);
  const Row& row = contents.rows(runs_table()).front();
  EXPECT_EQ(row.text("name"), "cpu/train/wine_quality_white/trapezoid/1024/4");
  EXPECT_EQ(row.text("status"), "ok");
  EXPECT_EQ(row.text("dataset_source"), "file");
  EXPECT_EQ(row.integer("steps"), 8 * 16);  // 3918 training rows in batches of 256
  EXPECT_GT(row.real("step_s"), 0);
  EXPECT_GT(row.real("floor_ratio"), 0);
  EXPECT_LE(row.real("check_error"), row.real("check_bound"));
  EXPECT_EQ(contents.rows(runs_table()).back().text("isa"), "double");
  ASSERT_EQ(contents.rows(curves_table()).size(), 18u);
  EXPECT_DOUBLE_EQ(contents.rows(curves_table())[8].real("test_loss"), ours[8].at("test_loss").get<double>());
  EXPECT_EQ(contents.rows(curves_table())[17].integer("run_row"), 1);
}

const BackendRegistration half_blind{
    {"half_blind",
     [] { return std::string(); },
     {},
     [](const Network& network, const Dataset& data, const RunOptions& options, const reference::Adam& adam) {
       return reference_trainer(network, data, options.batch, adam, 0.5);
     }}};

TEST(TrainCommand, AnEngineThatComputesAnotherThingIsNotTrained) {
  const TemporaryFolder folder;
  const std::string file = folder.path("x.h5");
  const Outcome outcome = run(train_args(file, {"--epochs", "1", "--backend", "half_blind"}));
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("not trained, the check before it failed: "));
  const Row row = read_file(file).rows(runs_table()).at(0);
  EXPECT_EQ(row.text("status"), "failed");
  EXPECT_NE(row.text("reason"), "");
  EXPECT_FALSE(row.real("check_error") <= row.real("check_bound"));
  EXPECT_TRUE(std::isnan(row.real("step_s"))) << "nothing was timed";
}

TEST(TrainCommand, AsLongAsItTakesToTheTargetOrSoManyEpochs) {
  const TemporaryFolder folder;
  const std::string file = folder.path("x.h5");
  const Outcome reached = run(train_args(file, {"--target-test-loss", "5"}));
  EXPECT_EQ(reached.status, 0) << reached.err;
  const Outcome neither = run(train_args(file, {}));
  EXPECT_EQ(neither.status, 2);
  EXPECT_THAT(neither.err, HasSubstr("--target-test-loss"));
}

TEST(TrainCommand, TheSameSeedGivesTheSameBits) {
  const TemporaryFolder folder;
  const auto losses = [&](const char* seed) {
    std::vector<double> values;
    for (const auto& point : lines(run(train_args(folder.path("x.h5"), {"--epochs", "3", "--json",
                                                                        "--threads", "2", "--seed", seed}))
                                       .out))
      values.push_back(point.at("test_loss"));
    return values;
  };
  EXPECT_EQ(losses("1"), losses("1"));
  EXPECT_NE(losses("1"), losses("2"));
}

TEST(TrainCommand, TargetReachedOrMissedOrDiverged) {
  const TemporaryFolder folder;
  const std::string file = folder.path("x.h5");
  const Outcome reached =
      run(train_args(file, {"--epochs", "500", "--target-test-loss", "1.9", "--learning-rate", "0.001"}));
  EXPECT_EQ(reached.status, 0) << reached.err;
  const std::size_t points = read_file(file).rows(curves_table()).size();
  EXPECT_LT(points, 501u);
  const Outcome missed = run(train_args(file, {"--epochs", "2", "--target-test-loss", "0.01"}));
  EXPECT_EQ(missed.status, 1);
  EXPECT_EQ(missed.error_lines(), 1u);
  EXPECT_THAT(missed.err, HasSubstr("--epochs"));
  const Outcome wild = run(train_args(file, {"--epochs", "3", "--learning-rate", "1e38"}));
  EXPECT_EQ(wild.status, 1);
  EXPECT_EQ(wild.error_lines(), 1u);
  EXPECT_THAT(wild.err, HasSubstr("--learning-rate"));
  EXPECT_EQ(read_file(file).rows(runs_table()).back().text("status"), "failed");
}

TEST(TrainCommand, ABackendDoesNotRunUnderAnothersName) {
  const TemporaryFolder folder;
  const std::vector<std::string> reference{"train",     "--dataset", "wine_quality_white",
                                           "--shape",   "rectangle", "--size",
                                           "256",       "--depth",   "2",
                                           "--epochs",  "1",         "--backend",
                                           "reference", "--out",     folder.path("x.h5")};
  for (const auto& [option, value] :
       {std::pair{"--isa", "generic"}, {"--algorithm", "fused"}, {"--threads", "2"}}) {
    std::vector<std::string> args = reference;
    args.insert(args.end(), {option, value});
    const Outcome outcome = run(args);
    EXPECT_EQ(outcome.status, 2) << option;
    EXPECT_THAT(outcome.err, ::testing::HasSubstr(std::string(option) + " " + value + " was asked for"));
    EXPECT_FALSE(std::filesystem::exists(folder.path("x.h5")));
  }
  EXPECT_EQ(run(reference).status, 0);
}

TEST(TrainCommand, WrongWordsEndInOneLine) {
  const TemporaryFolder folder;
  for (const auto& [more, said] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--epochs", "1", "--backend", "refrence"}, "reference"},
           {{"--epochs", "1", "--algorithm", "fusd"}, "fused"},
           {{"--epochs", "0"}, "--epochs"},
           {{"--epochs", "1", "--learning-rate", "-1"}, "--learning-rate"},
           {{"--epohs", "1"}, "--epochs"},
           {{}, "--epochs"}}) {
    const Outcome outcome = run(train_args(folder.path("x.h5"), more));
    EXPECT_EQ(outcome.status, 2) << outcome.err;
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(said));
  }
  EXPECT_FALSE(std::filesystem::exists(folder.path("x.h5")));
}

}  // namespace
}  // namespace mlpwatt::testing
