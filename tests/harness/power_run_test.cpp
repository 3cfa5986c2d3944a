// mlpwatt run with instruments that play: measured values, flags and reasons arrive in the file, and without
// an instrument the model's do, marked as such.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <fstream>
#include <mutex>
#include <thread>

#include "harness/record/reader.h"
#include "harness/record/record_file.h"
#include "harness/run/square_load.h"
#include "meters/counters/child_process.h"
#include "tests/harness/fakes.h"
#include "tests/harness/program.h"
#include "tests/meters/trees.h"
#include "tests/support/http_server.h"
#include "tests/support/nvml_fixture.h"

namespace mlpwatt::testing {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::function<void()> during_a_metered_run;

const FamilyRegistration metered{
    fake_family("test/metered", {fake_benchmark("test/metered/a", {.step_s = 1e-3, .during_run = [] {
                                                                     if (during_a_metered_run)
                                                                       during_a_metered_run();
                                                                   }})})};

class MeteredRun : public ::testing::Test {
 protected:
  ~MeteredRun() override { during_a_metered_run = nullptr; }
  std::string file() const { return folder_.path("out.h5"); }

  Outcome measure(const std::string& meters, const nlohmann::json& config,
                  const std::vector<std::string>& more) {
    const std::string path = folder_.path("meters.json");
    std::ofstream(path) << config.dump();
    std::vector<std::string> args{
        "run",       "--filter", "test/metered/a", "--out", file(),           "--counters", "none",
        "--peaks-s", "0",        "--meters",       meters,  "--meter-config", path};
    args.insert(args.end(), more.begin(), more.end());
    return run(args);
  }
  /// What package and dram of a played RAPL tree drew in the row's window.
  static double truth_j(const Row& row, const Waveform& curve, const FileInstrument& powercap) {
    const double begin_s =
        1e-9 * static_cast<double>(row.integer("start_monotonic_ns")) - powercap.player->start_s();
    return 1.1 * curve.joules(begin_s, begin_s + row.real("duration_s"));
  }
  Row row() const { return read_file(file()).rows(runs_table()).at(0); }

  const TemporaryFolder folder_;
};

TEST_F(MeteredRun, ACounterAndItsPartsGiveMeasuredEnergyOfTheWindow) {
  const Waveform curve = Waveform::random(3, 80, 240, 0.3, 60);
  FileInstrument powercap = play_powercap(curve, 0.005);
  const Outcome outcome =
      measure("powercap", {{"powercap", powercap.config}}, {"--window-s", "1", "--idle-s", "0.4"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(Reader(file()).problems().empty());
  const Contents contents = read_file(file());
  const Row& row = contents.rows(runs_table())[0];
  const double truth = truth_j(row, curve, powercap);
  EXPECT_NEAR(row.real("energy_j_measured"), truth, 0.05 * truth);
  EXPECT_NEAR(row.real("step_energy_j_measured"),
              row.real("energy_j_measured") / static_cast<double>(row.integer("steps")), 1e-12);
  EXPECT_GT(row.real("energy_uncertainty_j_measured"), 0);
  EXPECT_GT(row.real("idle_power_w_measured"), 80);
  EXPECT_DOUBLE_EQ(row.real("idle_s"), 0.4);
  EXPECT_EQ(row.text("energy_domains"), "package0+dram0");
  EXPECT_EQ(row.text("energy_meters"), "powercap");
  EXPECT_GE(row.integer("energy_updates"), 10);
  EXPECT_GT(row.real("sampler_cpu_share"), 0);
  EXPECT_TRUE(std::isnan(row.real("energy_j_modelled"))) << "no model beside an instrument";
  ASSERT_EQ(contents.rows(energies_table()).size(), 2u);
  for (const Row& energy : contents.rows(energies_table())) {
    EXPECT_EQ(energy.text("provenance"), "measured");
    EXPECT_EQ(energy.integer("summed"), 1);
  }
  EXPECT_GE(contents.rows(samples_table()).size(), 20u) << "the raw series";
}

TEST_F(MeteredRun, TheNodeIncludesItsPartsAndTheRowCountsItOnce) {
  FileInstrument cray = play_pm_counters(Waveform::random(3, 200, 400, 0.5, 60));
  const Outcome outcome =
      measure("pm_counters", {{"pm_counters", cray.config}}, {"--window-s", "1.2", "--idle-s", "0"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(row().text("energy_domains"), "node");
  const Contents contents = read_file(file());
  for (const Row& meter : contents.rows(meters_table()))
    if (meter.text("domain") == "node") {
      EXPECT_THAT(meter.text("includes"), AllOf(HasSubstr("cpu"), HasSubstr("accel0")));
    } else {
      EXPECT_EQ(meter.text("includes"), "") << meter.text("domain");
    }
}

TEST_F(MeteredRun, ATrainingHasTheEnergyOfItsWindowAndOfItsSteps) {
  const Waveform curve = Waveform::random(5, 80, 240, 0.3, 60);
  FileInstrument powercap = play_powercap(curve, 0.005);
  const std::string config = folder_.path("meters.json");
  std::ofstream(config) << nlohmann::json{{"powercap", powercap.config}};
  const Outcome outcome = mlpwatt::testing::run({"train",
                                                 "--dataset",
                                                 "wine_quality_white",
                                                 "--shape",
                                                 "trapezoid",
                                                 "--size",
                                                 "4096",
                                                 "--depth",
                                                 "4",
                                                 "--epochs",
                                                 "120",
                                                 "--meters",
                                                 "powercap",
                                                 "--meter-config",
                                                 config,
                                                 "--idle-s",
                                                 "0.4",
                                                 "--out",
                                                 file(),
                                                 "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(Reader(file()).problems().empty());
  const Contents contents = read_file(file());
  const Row& row = contents.rows(runs_table())[0];
  const double truth = truth_j(row, curve, powercap);
  const double training_s = contents.rows(curves_table()).back().real("total_seconds");
  EXPECT_NEAR(row.real("energy_j_measured"), truth, 0.05 * truth);
  EXPECT_LT(training_s, row.real("duration_s")) << "the window holds the evaluations";
  EXPECT_NEAR(row.real("step_mean_s") * static_cast<double>(row.integer("steps")), training_s, 1e-9);
  EXPECT_NEAR(row.real("step_energy_j_measured"), row.real("power_w_measured") * row.real("step_mean_s"),
              0.01 * row.real("step_energy_j_measured"));
  EXPECT_GT(row.real("idle_power_w_measured"), 80);
  EXPECT_DOUBLE_EQ(row.real("idle_s"), 0.4);
  EXPECT_GE(contents.rows(samples_table()).size(), 20u) << "the raw series";
}

TEST_F(MeteredRun, AWindowLastsUntilTheSlowestMeterHasBeenReadTenTimes) {
  FileInstrument hwmon = play_hwmon(Waveform::random(4, 200, 400, 0.5, 60), 0.1);
  const nlohmann::json config{{"hwmon", hwmon.config}};
  ASSERT_EQ(
      measure("hwmon", config, {"--window-s", "0.05", "--idle-s", "0", "--energy-target", "0.9"}).status, 0);
  EXPECT_GE(row().real("duration_s"), 0.9);
  EXPECT_GE(row().integer("energy_updates"), 10);
  EXPECT_THAT(row().text("energy_quality"), ::testing::Not(HasSubstr("under_sampled")));
  std::filesystem::remove(file());
  // a cap of the user's holds, and the row says what that costs
  ASSERT_EQ(measure("hwmon", config, {"--window-s", "0.05", "--idle-s", "0", "--max-window-s", "0.3"}).status,
            0);
  EXPECT_LT(row().real("duration_s"), 0.9);
  EXPECT_THAT(row().text("energy_quality"), HasSubstr("under_sampled"));
  EXPECT_FALSE(std::isnan(row().real("energy_j_measured"))) << "stored with its flag";
}

TEST_F(MeteredRun, GoogleBenchmarksFormatShowsNoFlaggedEnergy) {
  const Tree tree;
  tree.write("sys/class/hwmon/hwmon0/name", "power_meter");
  tree.write("sys/class/hwmon/hwmon0/power1_input", "100000000");
  const auto shown = [&](const std::string& meters) {
    const Outcome outcome = measure(meters, {{"hwmon", {{"root", tree.root()}, {"poll_s", 0.1}}}},
                                    {"--window-s", "0.3", "--max-window-s", "0.5", "--idle-s", "0",
                                     "--benchmark_format=json", "--benchmark_repetitions=2"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.json()["benchmarks"];
  };
  const auto flagged = shown("hwmon");
  EXPECT_THAT(row().text("energy_quality"), HasSubstr("under_sampled"));
  EXPECT_GT(row().real("step_energy_j_measured"), 0) << "stored";
  for (const auto& entry : flagged)
    for (const auto& [key, value] : entry.items()) {
      EXPECT_THAT(key, ::testing::Not(HasSubstr("energy_j"))) << entry["name"];
      EXPECT_THAT(key, ::testing::Not(HasSubstr("power_w"))) << entry["name"];
    }
  EXPECT_THAT(flagged.at(0)["label"].get<std::string>(), HasSubstr("energy:under_sampled"));
  const auto others = shown("estimate");
  const Contents contents = read_file(file());
  for (std::size_t i = 0; i < 2; ++i)
    EXPECT_EQ(others.at(i).contains("step_energy_j_modelled"),
              contents.rows(runs_table()).at(2 + i).text("energy_quality") == "ok")
        << "unflagged ones are shown";
}

TEST_F(MeteredRun, SensorsOfUnknownChipsAreStoredAndNotSummed) {
  const Tree tree;
  tree.write("sys/class/hwmon/hwmon0/name", "pfe1100");
  for (const auto& [sensor, label, microwatts] :
       {std::tuple{"power1", "pin", "300000000"}, {"power2", "pout1", "270000000"}}) {
    tree.write(std::string("sys/class/hwmon/hwmon0/") + sensor + "_input", microwatts);
    tree.write(std::string("sys/class/hwmon/hwmon0/") + sensor + "_label", label);
  }
  const Outcome outcome = measure("hwmon", {{"hwmon", {{"root", tree.root()}, {"poll_s", 0.02}}}},
                                  {"--window-s", "0.3", "--idle-s", "0", "--max-window-s", "20"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(std::isnan(row().real("energy_j_measured")));
  const Contents contents = read_file(file());
  ASSERT_EQ(contents.rows(energies_table()).size(), 2u);
  for (const Row& energy : contents.rows(energies_table())) {
    EXPECT_EQ(energy.integer("summed"), 0);
    EXPECT_GT(energy.real("energy_j"), 0);
  }
  for (const Row& meter : contents.rows(meters_table())) EXPECT_EQ(meter.integer("summable"), 0);
  EXPECT_LT(row().real("duration_s"), 10) << "no window grows in wait of a total";
}

/// Of a machine without an instrument, whatever this one has.
nlohmann::json no_instruments(const Tree& empty) {
  const nlohmann::json nothing{{"root", empty.root()}};
  return {{"powercap", nothing},
          {"hwmon", nothing},
          {"pm_counters", nothing},
          {"battery", nothing},
          {"slurm", {{"command", {"/bin/false"}}}},
          {"ipmi", {{"device", empty.path("ipmi0")}}},
          {"nvml", {{"library", empty.path("libnvidia-ml.so.1")}}}};
}

TEST_F(MeteredRun, AGpusIdlingIsNoEnergyOfAProcessorsRun) {
  const Tree empty;
  nlohmann::json config = no_instruments(empty);
  NvmlFixture nvml;
  nvml.add("GPU-aa", 200);
  config["nvml"]["library"] = nvml.path;
  ASSERT_EQ(measure("auto", config, {"--window-s", "0.2", "--max-window-s", "0.5", "--idle-s", "0"}).status,
            0);
  EXPECT_TRUE(std::isnan(row().real("energy_j_measured"))) << "a headline of another device";
  EXPECT_GT(row().real("energy_j_modelled"), 0) << "the model stands in for the processor";
  EXPECT_EQ(row().text("energy_meters"), "estimate");
  const Contents contents = read_file(file());
  const auto& energies = contents.rows(energies_table());
  EXPECT_TRUE(std::any_of(energies.begin(), energies.end(), [](const Row& energy) {
    return energy.text("domain") == "gpu:GPU-aa" && energy.text("provenance") == "measured" &&
           energy.integer("summed") == 0;
  })) << "what the GPU drew is kept";
}

TEST_F(MeteredRun, WithoutAnInstrumentTheModelSaysSo) {
  const Tree empty;
  ASSERT_EQ(measure("auto", no_instruments(empty), {"--window-s", "0.2"}).status, 0);
  const Contents contents = read_file(file());
  const Row& row = contents.rows(runs_table())[0];
  EXPECT_GT(row.real("energy_j_modelled"), 0);
  EXPECT_GT(row.real("step_energy_uncertainty_j_modelled"), 0);
  EXPECT_TRUE(std::isnan(row.real("energy_j_measured")));
  EXPECT_EQ(row.text("energy_meters"), "estimate");
  EXPECT_EQ(contents.rows(meters_table())[0].text("provenance"), "modelled");
  EXPECT_EQ(contents.rows(energies_table())[0].text("provenance"), "modelled");
}

struct RunFault {
  const char* name;
  std::function<void(const Tree&)> spoil;
  const char* flag;
};

TEST_F(MeteredRun, FaultsInMidRunEndInARowWithFlagAndReason) {
  const std::string power = "sys/class/hwmon/hwmon3/power1_average";
  const std::vector<RunFault> faults{
      {"gone", [&](const Tree& tree) { tree.remove("sys/class/hwmon/hwmon3"); }, "lost"},
      {"garbage", [&](const Tree& tree) { tree.write(power, "nan"); }, "dropout"},
      {"negative", [&](const Tree& tree) { tree.write(power, "-250000000"); }, "out_of_range"},
      {"spike", [&](const Tree& tree) { tree.write(power, "90000000000"); }, "out_of_range"},
      {"no reading", [&](const Tree& tree) { tree.write(power, "4294967295000"); }, "dropout"},
      {"truncated", [&](const Tree& tree) { tree.write(power, ""); }, "dropout"},
  };
  for (const RunFault& fault : faults) {
    SCOPED_TRACE(fault.name);
    std::filesystem::remove(file());
    Tree tree;
    tree.write("sys/class/hwmon/hwmon3/name", "power_meter");
    tree.write("sys/class/hwmon/hwmon3/power1_average_interval", "20");
    tree.write("sys/class/hwmon/hwmon3/power1_cap_max", "500000000");
    const auto show = [&](int n) { tree.write(power, std::to_string((200 + 7 * n % 40) * 1'000'000LL)); };
    show(0);
    int calls = 0;
    const double begin_s = monotonic_now_s();
    during_a_metered_run = [&] {
      const double t = monotonic_now_s() - begin_s;
      if (t < 1.1)
        show(++calls);
      else
        fault.spoil(tree);
    };
    const Outcome outcome = measure("hwmon", {{"hwmon", {{"root", tree.root()}}}},
                                    {"--window-s", "1.5", "--idle-s", "0", "--energy-target", "0"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(row().text("status"), "ok") << "the time of the run is not the meter's business";
    EXPECT_THAT(row().text("energy_quality"), HasSubstr(fault.flag));
    EXPECT_THAT(row().text("energy_reason"), StartsWith("hwmon:power_meter: "));
    EXPECT_THAT(outcome.err, HasSubstr("hwmon:power_meter")) << "and the person is told";
  }
}

#ifdef MLPWATT_HAVE_CURL
TEST_F(MeteredRun, AServerThatHangsForTenSecondsHoldsUpNobody) {
  std::atomic<bool> hang{false};
  std::atomic<int> answers{0};
  HttpServer server([&](const HttpRequest&) {
    HttpReply reply;
    reply.body = fmt::format(R"({{"power": {}}})", 200 + 7 * ++answers % 40);
    if (hang) reply.delay_s = 10;
    return reply;
  });
  const nlohmann::json config{{"http_json",
                               {{"name", "plug"},
                                {"url", server.url()},
                                {"pointer", "/power"},
                                {"poll_s", 0.05},
                                {"update_period_s", 0.05}}}};
  int calls = 0;
  during_a_metered_run = [&] { hang = ++calls > 20; };
  const double begin_s = monotonic_now_s();
  const Outcome outcome =
      measure("http_json", config, {"--window-s", "1", "--idle-s", "0", "--energy-target", "0"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_LT(monotonic_now_s() - begin_s, 9) << "waited for the server";
  EXPECT_EQ(row().text("status"), "ok");
  EXPECT_NE(row().text("energy_quality"), "ok");
  EXPECT_THAT(row().text("energy_reason"), StartsWith("http_json:plug: "));
}
#endif

TEST_F(MeteredRun, ACalibrationIsUsedAndRecorded) {
  const std::string store = folder_.path("calibration.json");
  // The meter counts everybody's processor time: where others keep all cores busy there is no step to see.
  Outcome found;
  for (int attempt = 0; attempt < 4; ++attempt) {
    found = run({"calibrate", "estimate", "--seconds", "3", "--hold-s", "0.1", "--poll-s", "0.004", "--store",
                 store, "--json"});
    if (found.status == 0) break;
  }
  ASSERT_EQ(found.status, 0) << found.err << found.out;
  const nlohmann::json timing = found.json()["calibrations"][0];
  // processor time is exact at any moment: later than it happened by nothing but the load's own start
  EXPECT_NEAR(timing["lag_s"].get<double>(), 0, 0.05);
  EXPECT_TRUE(timing["update_period_is_upper_bound"].get<bool>());
  EXPECT_GT(timing["load_w"].get<double>(), timing["idle_w"].get<double>());
  ASSERT_TRUE(std::filesystem::exists(store));
  ASSERT_EQ(measure("estimate", {{"calibration", store}}, {"--window-s", "0.2"}).status, 0);
  const Row meter = read_file(file()).rows(meters_table()).at(0);
  EXPECT_NE(meter.text("calibrated_utc"), "");
  EXPECT_NEAR(meter.real("lag_s"), std::max(0.0, timing["lag_s"].get<double>()), 1e-12);
  std::filesystem::remove(file());
  ASSERT_EQ(measure("estimate", {{"calibration", folder_.path("none.json")}}, {"--window-s", "0.2"}).status,
            0);
  EXPECT_EQ(read_file(file()).rows(meters_table()).at(0).text("calibrated_utc"), "");

  std::ofstream(store) << "{";
  const Outcome broken = measure("estimate", {{"calibration", store}}, {});
  EXPECT_EQ(broken.status, 2);
  EXPECT_THAT(broken.err, HasSubstr(store));
}

TEST(CalibrateCommand, NamesWhatItCannotDo) {
  const Outcome unknown = run({"calibrate", "wattmeter"});
  EXPECT_EQ(unknown.status, 2);
  EXPECT_THAT(unknown.err, HasSubstr("'wattmeter' is no meter; known: powercap"));
  const Outcome nowhere = run({"calibrate", "http_json"});
  EXPECT_EQ(nowhere.status, 1);
  EXPECT_THAT(nowhere.err, HasSubstr("--meter-config"));
}

TEST(CalibrateCommand, SaysWhatTheLoadIs) {
  const TemporaryFolder folder;
  NvmlFixture nvml;
  nvml.add("GPU-aa", 200);
  const std::string path = folder.path("meters.json");
  std::ofstream(path) << nlohmann::json{{"nvml", {{"library", nvml.path}}}};
  const auto said = [&](const std::vector<std::string>& more) {
    std::vector<std::string> args{"calibrate", "--meter-config", path,        "--seconds",
                                  "1",         "--dry-run",      "--threads", "1"};
    args.insert(args.end(), more.begin(), more.end());
    return run(args);
  };
  EXPECT_THAT(said({"estimate"}).err, StartsWith("estimate: multiply-adds on 1 core(s) go on and off"));
  EXPECT_THAT(said({"estimate", "--load", "cpu/fma/generic"}).err,
              StartsWith("estimate: cpu/fma/generic goes on and off"));
  // a GPU sees no work of the processor; without nvcc the program has none for it
  EXPECT_THAT(said({"nvml:energy"}).err, AnyOf(StartsWith("nvml:energy: gpu/fma/fp32 goes on and off"),
                                               HasSubstr("measures GPUs only (gpu:GPU-aa"),
                                               HasSubstr("gpu/fma/fp32 cannot run here: ")));
  const Outcome unknown = said({"estimate", "--load", "cpu/fma/none"});
  EXPECT_EQ(unknown.status, 2) << unknown.out;
  EXPECT_THAT(unknown.err, HasSubstr("no benchmark matches"));
}

TEST(SquareLoad, AKernelsStepsFollowTheWave) {
  std::mutex mutex;
  std::vector<double> ran_s;
  const auto kernel = std::make_shared<FakeKernel>(FakeScript{.step_s = 1e-3, .during_run = [&] {
                                                                const std::lock_guard lock(mutex);
                                                                ran_s.push_back(monotonic_now_s());
                                                              }});
  const SquareLoad load = kernel_load(kernel);
  ran_s.clear();
  const double now_s = monotonic_now_s();
  const SquareWave wave({now_s + 0.05, now_s + 0.1, now_s + 0.2, now_s + 0.25});
  const std::shared_ptr<void> running = load(wave);
  std::this_thread::sleep_for(std::chrono::milliseconds(320));
  const std::lock_guard lock(mutex);
  int first = 0, second = 0;
  for (const double t : ran_s) {
    // begun within the wave; a loaded machine may look at the clock late
    EXPECT_GE(t, now_s + 0.05);
    EXPECT_FALSE(t > now_s + 0.15 && t < now_s + 0.2) << t - now_s;
    ++(t < now_s + 0.2 ? first : second);
  }
  EXPECT_GT(first, 0);
  EXPECT_GT(second, 0);
}

TEST(CalibrateCommand, MeasuresWhatTheSamplerCosts) {
  const Outcome outcome = run({"calibrate", "estimate", "--sampler-cost", "--pairs", "6", "--turn-s", "0.02",
                               "--step", "cpu/fma/generic", "--threads", "1", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const nlohmann::json cost = outcome.json();
  EXPECT_GT(cost["core_share"].get<double>(), 0);
  EXPECT_GT(cost["reads_per_s"].get<double>(), 0);
  EXPECT_LE(cost["slow_down_low95"].get<double>(), cost["slow_down"].get<double>());
  EXPECT_GE(cost["slow_down_high95"].get<double>(), cost["slow_down"].get<double>());
  EXPECT_EQ(cost["meters"], nlohmann::json({"estimate"}));
  EXPECT_EQ(run({"calibrate", "none", "--sampler-cost"}).status, 2);
}

}  // namespace
}  // namespace mlpwatt::testing
