// Drivers over the pipe, and the whole command with drivers that are right, wrong, absent or dying.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "harness/build_facts.h"
#include "harness/compare/comparison.h"
#include "harness/compare/driver.h"
#include "harness/compare/learner.h"
#include "harness/compare/tables.h"
#include "harness/record/record_file.h"
#include "kernels/dataset_parts.h"
#include "tests/harness/program.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const char* const kPython = "/usr/bin/python3";

/// A folder of copies of the fake driver: what each does wrong, its name says.
class DriverFolder {
 public:
  explicit DriverFolder(const std::vector<std::string>& names) {
    for (const std::string& name : names)
      std::filesystem::copy_file(build_facts().source_dir + "/tests/harness/compare/fake_driver.py",
                                 folder_.path(name + ".py"));
    std::ofstream(folder_.path("_helper.py")) << "raise SystemExit\n";
  }
  const std::string& path() const { return folder_.path(); }
  std::string log() const { return folder_.path("log"); }
  std::unique_ptr<Driver> start(const std::string& name) const {
    return std::make_unique<Driver>(std::vector<std::string>{kPython, folder_.path(name + ".py")},
                                    std::vector<std::string>{}, log());
  }

 private:
  TemporaryFolder folder_;
};

const nlohmann::json kHello{{"do", "hello"}, {"threads", 1}, {"device", "cpu"}};

TEST(Drivers, AnswerOrSayWhyNot) {
  const DriverFolder folder(
      {"honest", "not_installed", "cannot_open", "talks", "dies_in_its_turn", "sleeps"});
  EXPECT_THAT(driver_names(folder.path()), ::testing::ElementsAre("cannot_open", "dies_in_its_turn", "honest",
                                                                  "not_installed", "sleeps", "talks"));
  EXPECT_EQ(folder.start("honest")->ask(kHello, 20)["library"], "plain Python");
  EXPECT_THROW(folder.start("not_installed")->ask(kHello, 20), PeerAbsent);
  const auto complaint = [&](const std::string& name, const nlohmann::json& request, double limit_s) {
    try {
      folder.start(name)->ask(request, limit_s);
      return std::string("no complaint");
    } catch (const std::exception& error) {
      return std::string(error.what());
    }
  };
  EXPECT_THAT(complaint("cannot_open", {{"do", "open"}}, 20), HasSubstr("no such layer"));
  EXPECT_THAT(complaint("talks", kHello, 20), HasSubstr("Welcome"));
  EXPECT_THAT(complaint("sleeps", kHello, 0.2), HasSubstr("0.2 s"));
  EXPECT_THAT(complaint("dies_in_its_turn", {{"do", "run"}}, 20), HasSubstr("the last words of a driver"));
  EXPECT_THROW(Driver({"/no/such/python", "x.py"}, {}, folder.log()), std::runtime_error);
}

TEST(Drivers, OneThatDiedIsAnErrorAndNotASignal) {
  const DriverFolder folder({"dies_in_its_turn"});
  const auto driver = folder.start("dies_in_its_turn");
  EXPECT_THROW(driver->ask({{"do", "run"}}, 20), std::runtime_error);
  EXPECT_THROW(driver->ask(kHello, 20), std::runtime_error);
  EXPECT_THROW(driver->ask(kHello, 20), std::runtime_error);
}

std::vector<std::string> compare_args(const std::string& drivers, const std::string& out) {
  return {"compare-peers",  "--only",
          "training",       "--grid",
          "--filter",       "/wine_quality_white/rectangle/256/2$",
          "--drivers",      drivers,
          "--python",       kPython,
          "--out",          out,
          "--batch",        "8",
          "--rounds",       "11",
          "--turn-s",       "0.002",
          "--peaks-s",      "0",
          "--threads",      "1",
          "--peers-folder", "/no/such/folder"};
}

TEST(ComparePeers, RecordsWhoIsRightAndRefusesWhoIsNot) {
  const DriverFolder folder(
      {"honest", "learns_too_fast", "does_not_learn", "is_not_finite", "not_installed", "dies_in_its_turn"});
  TemporaryFolder results;
  const std::string out = results.path("compare.h5");
  const Outcome outcome = run(compare_args(folder.path(), out));
  EXPECT_EQ(outcome.status, 1) << "refused peers are a failure: " << outcome.err;
  EXPECT_THAT(outcome.err, AllOf(HasSubstr("absent: not_installed"), HasSubstr("found: honest")));
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("honest"), HasSubstr("refused")));

  std::map<std::string, Row> by_backend;
  const Contents contents = read_file(out);
  for (const Row& row : contents.rows(runs_table())) by_backend.emplace(row.text("backend"), row);
  ASSERT_TRUE(by_backend.contains("cpu"));
  ASSERT_TRUE(by_backend.contains("peer/honest"));
  EXPECT_FALSE(by_backend.contains("peer/not_installed"));
  const Row &ours = by_backend.at("cpu"), &honest = by_backend.at("peer/honest");
  EXPECT_EQ(ours.text("name"), "cpu/mlp_train/wine_quality_white/rectangle/256/2");
  EXPECT_EQ(honest.text("name"), "peer/honest/mlp_train/wine_quality_white/rectangle/256/2");
  EXPECT_EQ(honest.text("family"), "peer/honest");
  EXPECT_EQ(honest.text("status"), "ok") << honest.text("reason");
  EXPECT_EQ(honest.text("algorithm"), "plain Python: three loops");
  EXPECT_EQ(honest.integer("batch"), 8);
  EXPECT_EQ(honest.integer("parameters"), ours.integer("parameters"));
  EXPECT_EQ(honest.integer("blocks"), 11);
  EXPECT_LE(honest.real("check_error"), honest.real("check_bound"));
  EXPECT_LE(ours.real("check_error"), ours.real("check_bound")) << "ours against the reference";
  EXPECT_EQ(honest.text("comparison"), ours.text("comparison"));
  EXPECT_NE(ours.text("comparison"), "");
  EXPECT_DOUBLE_EQ(ours.real("ratio_to_ours"), 1);
  EXPECT_DOUBLE_EQ(honest.real("ratio_to_ours"), honest.real("step_s") / ours.real("step_s"));
  EXPECT_LE(honest.real("ratio_low95"), honest.real("ratio_to_ours"));
  EXPECT_GE(honest.real("ratio_high95"), honest.real("ratio_to_ours"));
  EXPECT_TRUE(std::isnan(honest.real("floor_s"))) << "no peaks were measured";
  for (const char* wrong : {"peer/learns_too_fast", "peer/does_not_learn"}) {
    ASSERT_TRUE(by_backend.contains(wrong));
    const Row& row = by_backend.at(wrong);
    EXPECT_EQ(row.text("status"), "failed");
    EXPECT_THAT(row.text("reason"), HasSubstr("loss after 20 steps"));
    EXPECT_TRUE(std::isnan(row.real("step_s"))) << "a fast wrong answer is no answer";
    EXPECT_TRUE(std::isnan(row.real("ratio_to_ours")));
  }
  EXPECT_NE(by_backend.at("peer/is_not_finite").text("status"), "ok");
  EXPECT_EQ(by_backend.at("peer/dies_in_its_turn").text("status"), "error");
  EXPECT_THAT(by_backend.at("peer/dies_in_its_turn").text("reason"), HasSubstr("last words"));
}

/// Output of a command of the shell, its errors included; the status is thrown away.
std::string said_by(const std::string& command) {
  std::string text;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  for (char buffer[1024]; fgets(buffer, sizeof buffer, pipe) != nullptr;) text += buffer;
  pclose(pipe);
  return text;
}

TEST(ComparePeers, FileBecomesATableInADocumentAndAFigure) {
  const DriverFolder folder({"honest", "learns_too_fast"});
  TemporaryFolder results;
  const std::string out = results.path("compare.h5"), scripts = build_facts().source_dir + "/results/";
  ASSERT_EQ(run(compare_args(folder.path(), out)).status, 1) << "one is refused";
  const std::string document = results.path("README.md");
  const auto read = [&](const std::string& path) {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  std::ofstream(document) << "before\n<!-- peers -->\nold\n<!-- /peers -->\nafter\n";
  EXPECT_EQ(said_by("/usr/bin/python3 " + scripts + "peers_table.py " + out + " --within " + document), "");
  EXPECT_THAT(read(document),
              AllOf(HasSubstr("before\n<!-- peers -->\n"), HasSubstr("<!-- /peers -->\nafter\n"),
                    HasSubstr("| wine_quality_white/rectangle/256/2 | 1 |"),
                    HasSubstr("| honest | learns_too_fast |"), HasSubstr("| refused |"),
                    HasSubstr("with `make compare`"), ::testing::Not(HasSubstr("old"))));
  std::ofstream(document) << "no markers\n";
  EXPECT_THAT(said_by("/usr/bin/python3 " + scripts + "peers_table.py " + out + " --within " + document),
              HasSubstr("no <!-- peers -->"));
  EXPECT_EQ(read(document), "no markers\n");
  EXPECT_THAT(
      said_by("/usr/bin/python3 " + scripts + "figures/peers.py " + out + " " + results.path("figure.svg")),
      HasSubstr("1 networks"));
  EXPECT_GT(std::filesystem::file_size(results.path("figure.svg")), 1000u);
}

TEST(ComparePeers, WithoutAnyPeerListsThemAndSucceeds) {
  const DriverFolder folder({"honest"});
  TemporaryFolder results;
  std::vector<std::string> args = compare_args(folder.path(), results.path("compare.h5"));
  args[std::find(args.begin(), args.end(), kPython) - args.begin()] = "/no/such/python";
  args.insert(args.end(), {"--peers", "honest"});
  const Outcome outcome = run(args);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("absent: honest (no /no/such/python; make peers installs it)"));
  EXPECT_EQ(read_file(results.path("compare.h5")).rows(runs_table()).size(), 1u);
}

TEST(ComparePeers, GemmHasARowForEveryBlas) {
  TemporaryFolder results;
  const std::string out = results.path("compare.h5");
  const Outcome outcome = run({"compare-peers", "--only", "gemm", "--filter", "/(nn|tn)/(64x64x64|13x5x256)$",
                               "--out", out, "--threads", "1", "--rounds", "11", "--turn-s", "0.001",
                               "--peaks-s", "0", "--peers-folder", "/no/such/folder"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  const Contents contents = read_file(out);
  const std::vector<Row>& rows = contents.rows(runs_table());
  ASSERT_EQ(rows.size(), 2 * (1 + blas_libraries("").found.size()));
  for (const Row& row : rows)
    if (row.text("status") != "unavailable") {
      EXPECT_EQ(row.text("status"), "ok") << row.text("reason");
      EXPECT_GT(row.real("step_s"), 0);
      EXPECT_GT(row.real("ratio_to_ours"), 0);
    }
}

TEST(ComparePeers, EveryRowHasItsFloorAndItsRatio) {
  CompareSettings settings;
  settings.run.machine.host = "here";
  settings.turns = {.turn_s = 1, .rounds = 11, .pause_s = 0};
  settings.peaks = {100, {{"L1", 1000, 50}, {"memory", 1 << 20, 10}}};
  Benchmark benchmark;
  benchmark.name = "cpu/gemm/nn/1x1x1", benchmark.family = "cpu/gemm";
  Cost cost;
  cost.multiplies = cost.adds = 50;
  cost.compulsory_read_bytes = 200;
  std::vector<Entrant> entrants;
  for (const auto& [name, step_s] : {std::pair{"ours", 8.0}, {"quick", 4.0}, {"slow", 16.0}})
    entrants.push_back(
        {begin_standing(name, benchmark, settings, system_clock()),
         [s = step_s](std::int64_t, std::int64_t steps) { return s * static_cast<double>(steps); }});
  entrants.push_back({begin_standing("wrong", benchmark, settings, system_clock()), {}});
  refuse(entrants.back().standing, "failed", "one is not two");
  const Comparison comparison =
      run_comparison(benchmark, std::move(entrants), cost, 500, settings, system_clock());
  ASSERT_EQ(comparison.standings.size(), 4u);
  const auto row = [&](int i) { return comparison.standings[static_cast<std::size_t>(i)].record.run; };
  EXPECT_DOUBLE_EQ(row(0).real("floor_s"), 4);  // 200 bytes at 50 a second; 100 FLOPs take 1 s
  EXPECT_DOUBLE_EQ(row(0).real("floor_ratio"), 2);
  EXPECT_DOUBLE_EQ(row(1).real("ratio_to_ours"), 0.5);
  EXPECT_DOUBLE_EQ(row(2).real("ratio_to_ours"), 2);
  EXPECT_EQ(row(1).text("backend"), "peer/quick");
  EXPECT_EQ(row(3).text("status"), "failed");
  EXPECT_TRUE(std::isnan(row(3).real("floor_ratio")));
  EXPECT_EQ(comparison.best_peer(), &comparison.standings[1]);
  for (int i = 1; i < 4; ++i) EXPECT_EQ(row(i).text("comparison"), row(0).text("comparison"));
  EXPECT_THAT(comparison_troubles({comparison}), AllOf(HasSubstr("refused"), HasSubstr("one is not two")));
  EXPECT_THAT(gemm_comparison_table({comparison}, settings.peaks), HasSubstr("quick      0.50 [0.50, 0.50]"));
}

TEST(ComparePeers, RefusesWhatCannotBeCompared) {
  struct Wrong {
    std::vector<std::string> more;
    std::string said;
  };
  for (const Wrong& wrong : {Wrong{{"--only", "energy"}, "'energy'"}, Wrong{{"--quick", "--grid"}, "exclude"},
                             Wrong{{"--filter", "no_such_benchmark"}, "no_such_benchmark"},
                             Wrong{{"--quick", "--filter", "mnist/trapezoid/65536/7$"}, "--grid"},
                             Wrong{{"--threads", "60000"}, "60000"}}) {
    std::vector<std::string> args{"compare-peers"};
    args.insert(args.end(), wrong.more.begin(), wrong.more.end());
    const Outcome outcome = run(args);
    EXPECT_EQ(outcome.status, 2) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(wrong.said));
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
  }
  setenv("OMP_PROC_BIND", "close", 1);
  const Outcome bound = run({"compare-peers", "--quick"});
  unsetenv("OMP_PROC_BIND");
  EXPECT_EQ(bound.status, 2);
  EXPECT_THAT(bound.err, HasSubstr("OMP_PROC_BIND=close"));
}

Lesson lesson_on(const DatasetInfo& info, const std::vector<int>& widths, bool residual, std::string folder) {
  Lesson lesson;
  lesson.network = {info.features, widths, residual, info.task};
  lesson.data = std::make_shared<const Dataset>(synthetic_dataset(info, 2));
  lesson.threads = 2;
  lesson.initial = reference::initial_parameters(lesson.network, 3);
  lesson.folder = std::move(folder);
  return lesson;
}

RunOptions two_cores() {
  RunOptions options;
  options.hierarchy = {.source = "assumed", .cores = 2, .hardware_threads = 2};
  return options;
}

TEST(Learners, OursProvesTheOtherFormOfAdamToo) {
  Lesson lesson = lesson_on(dataset_info("wine_quality_white"), {20, 20, 7}, false, "");
  lesson.adam.epsilon = 0.003;  // where it is added then shows
  lesson.adam.learning_rate = 0.01;
  const auto ours = make_our_learner("cpu", two_cores());
  ours->open(lesson);
  const std::vector<int> batches{0, 1, 2, 3, 4};
  const auto of_reference = [&](bool on_corrected_root) {
    reference::Adam adam = lesson.adam;
    adam.epsilon_on_corrected_root = on_corrected_root;
    reference::Trainer trainer(lesson.network, lesson.initial, adam);
    const auto at = [&](const std::vector<float>& values, std::int64_t width, int batch) {
      return values.data() + std::int64_t{batch} * lesson.batch * width;
    };
    double loss = 0;
    for (const int b : {0, 1, 2, 3, 4, 5})  // the last one's loss is of before it
      loss = trainer.step(at(lesson.data->x, lesson.network.inputs, b),
                          at(lesson.data->y, lesson.network.outputs(), b), lesson.batch);
    return loss;
  };
  const double usual = of_reference(false), other = of_reference(true);
  EXPECT_GT(std::abs(usual - other), 1e-3) << "this test sees no difference";
  EXPECT_NEAR(ours->loss_after(batches, 5), usual, 1e-5);
  EXPECT_NEAR(ours->loss_after_on_corrected_root(batches, 5), other, 1e-5);
  EXPECT_FALSE(ours->epsilon_on_corrected_root());
  const DriverFolder folder({"kingma_and_ba", "honest"});
  const DriverSetting setting{kPython, folder.path(), "cpu", folder.path()};
  EXPECT_TRUE(make_driver_learner("kingma_and_ba", setting, 1)->epsilon_on_corrected_root());
  EXPECT_FALSE(make_driver_learner("honest", setting, 1)->epsilon_on_corrected_root());
}

/// A fake driver with a small lesson to learn.
struct TaughtDriver {
  TaughtDriver(const std::string& name, double limit_s) : folder({name}) {
    lesson.batch = 8;
    write_lesson(lesson);
    learner = make_driver_learner(name, {kPython, folder.path(), "cpu", scratch.path(), limit_s}, 1);
  }
  DriverFolder folder;
  TemporaryFolder scratch;
  Lesson lesson = lesson_on(dataset_info("wine_quality_white"), {3, 7}, false, scratch.path());
  std::unique_ptr<Learner> learner;
};

TEST(Learners, ADriverThatDiedIsBackForTheNextNetwork) {
  const TaughtDriver taught("dies_in_its_turn", 20);
  Learner* const learner = taught.learner.get();
  for (int network = 0; network < 2; ++network) {
    learner->open(taught.lesson);
    EXPECT_GT(learner->loss_after({0}, 1), 0);
    EXPECT_THROW(learner->run_s({0, 1}, 1), std::runtime_error);
    EXPECT_THROW(learner->loss_after({0}, 1), std::runtime_error) << "it has no network now";
  }
}

TEST(Learners, ALateAnswerIsNobodyElses) {
  const TaughtDriver taught("is_late", 4);
  Learner* const learner = taught.learner.get();
  learner->open(taught.lesson);
  EXPECT_THROW(learner->loss_after({0}, 1), std::runtime_error) << "it takes 6 s, 4 are allowed";
  learner->close();
  learner->open(taught.lesson);
  EXPECT_GT(learner->loss_after({}, 1), 0) << "of this request";
  EXPECT_GT(learner->run_s({0, 1}, 1), 0);
}

/// The real drivers, where `make peers` has been run: each learns what ours learns, on every task.
TEST(SoakPeers, RealDriversAgreeWithOurs) {
  const char *given = std::getenv("MLPWATT_PEERS"), *home = std::getenv("HOME");
  const std::string folder = given != nullptr ? given : std::string(home) + "/.cache/mlpwatt/peers";
  if (!std::filesystem::exists(folder + "/bin/python")) GTEST_SKIP() << "make peers has not been run";
  TemporaryFolder scratch;
  const DriverSetting setting{folder + "/bin/python", build_facts().source_dir + "/results/peers", "cpu",
                              scratch.path()};
  for (const std::string& name : driver_names(setting.scripts)) {
    if (name == "torch_graph") continue;  // runs on a GPU only
    const auto theirs = make_driver_learner(name, setting, 2);
    struct Case {
      const char* dataset;
      int width;
      bool residual;
    };
    // a wide one: its first steps are large, and where Adam adds its epsilon shows
    for (const auto& [dataset, width, residual] :
         {Case{"wine_quality_white", 20, false}, Case{"wine_quality_white", 20, true},
          Case{"adult", 20, false}, Case{"adult", 20, true}, Case{"529_pollen", 20, false},
          Case{"529_pollen", 20, true}, Case{"529_pollen", 1500, false}}) {
      const DatasetInfo& info = dataset_info(dataset);
      const Lesson lesson = lesson_on(info, {width, width, width, info.outputs}, residual, scratch.path());
      write_lesson(lesson);
      const auto ours = make_our_learner("cpu", two_cores());
      std::vector<int> batches;
      for (int i = 0; i < 20; ++i) batches.push_back(i % lesson.batches());
      ours->open(lesson), theirs->open(lesson);
      const double our_before = ours->loss_after({}, 1), before = theirs->loss_after({}, 1);
      const double our_after = theirs->epsilon_on_corrected_root()
                                   ? ours->loss_after_on_corrected_root(batches, 1)
                                   : ours->loss_after(batches, 1);
      const LossAgreement agreement =
          losses_agree(before, theirs->loss_after(batches, 1), our_before, our_after, 20);
      EXPECT_TRUE(agreement.agrees) << name << " " << dataset << " width " << width << " residual "
                                    << residual << ": " << agreement.detail;
      batches.resize(5);
      EXPECT_GT(theirs->run_s(batches, 1), 0);
      theirs->close();
    }
  }
}

}  // namespace
}  // namespace mlpwatt::testing
