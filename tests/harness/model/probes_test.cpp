// Steps of sweeps whose capacities are known.

#include "harness/model/probes.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "harness/model/hierarchy_file.h"
#include "kernels/random.h"
#include "tests/harness/model/synthetic_file.h"
#include "tests/harness/program.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::model {
namespace {

using mlpwatt::testing::run;

/// Quarter octaves from 4 KiB to 64 MiB; values step at the capacities, with noise.
std::vector<SweepPoint> sweep(const std::vector<double>& capacities, const std::vector<double>& plateaus,
                              double noise) {
  RandomStream random(5);
  std::vector<SweepPoint> points;
  for (double octave = 4096; octave <= 64 << 20; octave *= 2)
    for (int quarter = 0; quarter < 4; ++quarter) {
      const double bytes = octave * (1 + quarter / 4.0);
      std::size_t level = 0;
      while (level < capacities.size() && bytes > capacities[level]) ++level;
      points.push_back({bytes, plateaus[level] * (1 + noise * (uniform_unit(random) - 0.5))});
    }
  return points;
}

TEST(Probes, FindsStepsWithinTheSweepsResolution) {
  const std::vector<double> capacities{48 << 10, 1280 << 10, 24 << 20};
  for (const double noise : {0.0, 0.2}) {
    const std::vector<Step> steps = find_steps(sweep(capacities, {1, 4, 14, 90}, noise), 3);
    ASSERT_EQ(steps.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(steps[i].last_before_bytes, capacities[i]);
      EXPECT_TRUE(steps[i].agrees_with(capacities[i]));
      EXPECT_TRUE(steps[i].agrees_with(capacities[i] * 1.08));
      EXPECT_FALSE(steps[i].agrees_with(capacities[i] * 1.5));
      EXPECT_FALSE(steps[i].agrees_with(capacities[i] / 1.25));
    }
  }
}

TEST(Probes, FindsTheCapacityInARamp) {
  // Randomly placed pages: a cache loses lines before it is full; two fifths of the accesses miss when it is.
  const auto missing = [](double bytes, double capacity) {
    const double octave = std::log2(bytes / capacity);
    return octave <= -1 ? 0.0 : octave >= 1.5 ? 1.0 : octave < 0 ? 0.4 * (octave + 1) : 0.4 + 0.4 * octave;
  };
  RandomStream random(3);
  std::vector<SweepPoint> points = sweep({}, {1}, 0);
  for (SweepPoint& point : points)
    point.value = (1 + 3 * missing(point.bytes, 32 << 10) + 14 * missing(point.bytes, 512 << 10) +
                   80 * missing(point.bytes, 8 << 20)) *
                  (1 + 0.1 * uniform_unit(random));
  const std::vector<Step> steps = find_steps(points, 3);
  ASSERT_EQ(steps.size(), 3u);
  for (const auto& [step, capacity] :
       {std::pair{0, 32 << 10}, std::pair{1, 512 << 10}, std::pair{2, 8 << 20}}) {
    EXPECT_TRUE(steps[step].agrees_with(capacity))
        << capacity << ": " << steps[step].last_before_bytes << " to " << steps[step].first_after_bytes;
    EXPECT_LE(steps[step].first_after_bytes / steps[step].last_before_bytes, 1.34);  // the sweep's resolution
  }
}

TEST(Probes, InventsNoStepInAFlatSweep) {
  EXPECT_TRUE(find_steps(sweep({}, {5}, 0.05), 3).empty());
  EXPECT_EQ(find_steps(sweep({1 << 20}, {5, 50}, 0.05), 3).size(), 1u);
  EXPECT_TRUE(find_steps({{4096, 1}, {8192, 2}}, 1).empty());
}

Contents probed(double l2_bytes, bool energy,
                const std::vector<double>& plateaus = {1e-11, 2e-11, 5e-11, 2e-10},
                double largest_bytes = 128 << 20) {
  const std::vector<double> capacities{32 << 10, l2_bytes, 16 << 20};
  Contents contents;
  const auto add = [&](const std::string& name, const std::string& family, double bytes, double step_s,
                       double read) {
    Record record;
    record.machine = mlpwatt::testing::plain_machine();
    record.run = Row(runs_table());
    record.run.set("name", name);
    record.run.set("family", family);
    record.run.set("status", "ok");
    record.run.set("threads", 1);
    record.run.set("step_s", step_s);
    record.run.set("compulsory_read_bytes", static_cast<std::int64_t>(read));
    record.run.set("flops", static_cast<std::int64_t>(family == "cpu/fma" ? 1000000 : 0));
    record.run.set("other_parameters", "{\"loads_per_step\":100,\"working_set_bytes\":" +
                                           std::to_string(static_cast<long>(bytes)) + "}");
    if (energy) record.run.set("step_energy_j_measured", 10 * step_s);
    contents.add(std::move(record));
  };
  for (const SweepPoint& p : sweep(capacities, plateaus, 0.05)) {
    if (p.bytes > largest_bytes) break;
    const std::string size = std::to_string(static_cast<long>(p.bytes));
    add("cpu/stream/read/" + size, "cpu/stream", p.bytes, p.value * p.bytes, p.bytes);
    add("cpu/chase/" + size, "cpu/chase", p.bytes, p.value * 1e4, 800);
  }
  add("cpu/fma/avx2", "cpu/fma", 0, 1e-5, 0);
  return contents;
}

TEST(Probes, TellsWhatEachLevelDeliversAndWhereHwlocDisagrees) {
  const ProbeFindings good = find_hierarchy(probed(512 << 10, false), "memory");
  ASSERT_EQ(good.levels.size(), 4u);
  for (const LevelFinding& level : good.levels) EXPECT_EQ(level.disagreement, "") << level.level;
  EXPECT_NEAR(good.levels[1].bandwidth_bytes_per_s.value, 5e10, 3e9);
  EXPECT_NEAR(good.levels[3].bandwidth_bytes_per_s.value, 5e9, 3e8);
  EXPECT_NEAR(good.levels[0].latency_s.value, 1e-9, 1e-10);
  EXPECT_LE(good.levels[1].bandwidth_bytes_per_s.low95, good.levels[1].bandwidth_bytes_per_s.value);
  EXPECT_TRUE(std::isnan(good.levels[1].j_per_byte.value));
  EXPECT_NEAR(good.flops_per_s.value, 1e11, 1);
  EXPECT_TRUE(std::isnan(good.flops_per_s.low95));
  Contents windowed = probed(512 << 10, false);
  windowed.rows(runs_table()).back().set("step_low95_s", 0.8e-5);
  windowed.rows(runs_table()).back().set("step_high95_s", 1.25e-5);
  const ProbeFindings one_run = find_hierarchy(windowed, "memory");
  EXPECT_NEAR(one_run.flops_per_s.low95, 0.8e11, 1e3) << "of one run its window's interval";
  EXPECT_NEAR(one_run.flops_per_s.high95, 1.25e11, 1e3);
  // hwloc says 512 KiB, the probes find 256
  const ProbeFindings bad = find_hierarchy(probed(256 << 10, false), "memory");
  EXPECT_NE(bad.levels[1].disagreement.find("256 KiB"), std::string::npos) << bad.levels[1].disagreement;
  EXPECT_EQ(bad.levels[0].disagreement, "");
  ASSERT_TRUE(runs_table().has("step_energy_j_measured"));
  const ProbeFindings joules = find_hierarchy(probed(512 << 10, true), "memory");
  EXPECT_NEAR(joules.levels[1].j_per_byte.value, 2e-10, 2e-11);
  EXPECT_NEAR(joules.j_per_flop.value, 1e-10, 1e-15);
  EXPECT_EQ(joules.energy_provenance, "measured");
}

TEST(Probes, JoulesOfAByteAreThoseAboveIdle) {
  Contents contents = probed(512 << 10, true);
  const ProbeFindings whole = find_hierarchy(contents, "memory");
  EXPECT_FALSE(whole.energy_above_idle);
  for (Row& row : contents.rows(runs_table())) {
    row.set("step_energy_above_idle_j_measured", 4 * row.real("step_s"));
    row.set("energy_above_idle_quality", "ok");
    row.set("idle_power_w_measured", 6.0);
  }
  const ProbeFindings above = find_hierarchy(contents, "memory");
  EXPECT_TRUE(above.energy_above_idle);
  EXPECT_NEAR(above.levels[1].j_per_byte.value, 0.4 * whole.levels[1].j_per_byte.value, 1e-15);
  EXPECT_NEAR(above.idle_power_w.value, 6, 1e-12);
  // idle times that were flagged leave no energy above idle, though the gross one is good
  Contents flagged = contents;
  for (Row& row : flagged.rows(runs_table())) row.set("energy_above_idle_quality", "under_sampled");
  const ProbeFindings without = find_hierarchy(flagged, "memory");
  EXPECT_FALSE(without.energy_above_idle);
  EXPECT_TRUE(std::isnan(without.idle_power_w.value));
  // in a machine's description only such joules, with the idle power that takes the static term's place
  const mlpwatt::testing::TemporaryFolder folder;
  const auto described = [&](const Contents& some) {
    std::filesystem::remove(folder.path("p.h5"));
    write_file(folder.path("p.h5"), some);
    std::ofstream(folder.path("h.json")) << run({"probes", folder.path("p.h5"), "--hierarchy"}).out;
    return read_hierarchy_file(folder.path("h.json")).rates.energy;
  };
  EXPECT_DOUBLE_EQ(described(contents).at("static"), 6);
  EXPECT_GT(described(contents).at("L2"), 0);
  EXPECT_TRUE(described(probed(512 << 10, true)).empty()) << "the whole machine's power would count twice";
}

TEST(Probes, AHandfulOfSizesIsNeitherAStepNorADisagreement) {
  Contents contents = probed(512 << 10, false);
  int kept = 0;
  std::erase_if(contents.rows(runs_table()),
                [&](const Row& row) { return row.text("family") != "cpu/fma" && kept++ % 16 != 0; });
  const ProbeFindings few = find_hierarchy(contents, "memory");
  for (const LevelFinding& level : few.levels) EXPECT_EQ(level.disagreement, "") << level.level;
  EXPECT_TRUE(std::isnan(few.flops_per_s.low95)) << "one value has no interval";
  EXPECT_GT(few.flops_per_s.value, 0);
}

/// The same probes with a ring that goes page by page, whose L2 ends at `l2_bytes`.
Contents with_local_ring(Contents contents, double l2_bytes) {
  const Contents other = probed(l2_bytes, false);
  for (Row row : other.rows(runs_table()))
    if (row.text("family") == "cpu/chase") {
      row.set("name", row.text("name") + "/local");
      contents.rows(runs_table()).push_back(std::move(row));
    }
  return contents;
}

TEST(Probes, ARingThatSparesTheTlbTellsWhoseStepItIs) {
  const auto said = [](double l2_bytes, double local_l2_bytes) {
    return find_hierarchy(with_local_ring(probed(l2_bytes, false), local_l2_bytes), "memory")
        .levels[1]
        .disagreement;
  };
  EXPECT_EQ(said(512 << 10, 512 << 10), "");
  EXPECT_NE(said(256 << 10, 256 << 10).find("page by page it steps there too"), std::string::npos);
  EXPECT_NE(said(160 << 10, 512 << 10).find("the TLB's part"), std::string::npos)
      << said(160 << 10, 512 << 10);
}

TEST(Probes, ACapacityWithoutAStepIsADisagreement) {
  // hwloc says 512 KiB of L2, but nothing changes between L1 and L3
  const ProbeFindings none = find_hierarchy(probed(512 << 10, false, {1e-11, 2e-11, 2e-11, 2e-10}), "memory");
  EXPECT_NE(none.levels[1].disagreement.find("no step in latency"), std::string::npos)
      << none.levels[1].disagreement;
  EXPECT_EQ(none.levels[0].disagreement, "");
  EXPECT_EQ(none.levels[2].disagreement, "") << "the step at L3's capacity is L3's";
  EXPECT_TRUE(none.levels[1].by_latency.empty());
  // a sweep that ends before L3 does says nothing of it
  const ProbeFindings shorter =
      find_hierarchy(probed(512 << 10, false, {1e-11, 2e-11, 5e-11, 2e-10}, 16 << 20), "memory");
  for (const LevelFinding& level : shorter.levels) EXPECT_EQ(level.disagreement, "") << level.level;
}

TEST(Probes, FlaggedEnergiesStayOut) {
  Contents contents = probed(512 << 10, true);
  std::vector<Row>& runs = contents.rows(runs_table());
  for (std::size_t i = 0; i < runs.size(); i += 3) {
    runs[i].set("step_energy_j_measured", 1e6);
    runs[i].set("energy_quality", "stuck");
  }
  const ProbeFindings some = find_hierarchy(contents, "memory");
  EXPECT_EQ(some.energy_provenance, "measured");
  EXPECT_NEAR(some.levels[1].j_per_byte.value, 2e-10, 2e-11);
  EXPECT_NEAR(some.levels[1].j_per_byte.high95, 2e-10, 4e-11);
  for (Row& row : runs) row.set("energy_quality", "stuck");
  const ProbeFindings none = find_hierarchy(contents, "memory");
  EXPECT_EQ(none.energy_provenance, "");
  EXPECT_TRUE(std::isnan(none.levels[1].j_per_byte.value));
}

TEST(Probes, OtherMachinesRowsAreNotItsJoules) {
  // a training of the same machine has measured joules, its probes modelled ones
  Contents contents = probed(512 << 10, false);
  for (Row& row : contents.rows(runs_table())) row.set("step_energy_j_modelled", 10 * row.real("step_s"));
  Row training = mlpwatt::testing::training_row("mnist", "rectangle", 4096, 3, "fused", 1);
  training.set("machine_row", std::int64_t{0});
  training.set("step_s", 1e-5);
  training.set("step_energy_j_measured", 1e-4);
  contents.rows(runs_table()).push_back(training);
  const ProbeFindings findings = find_hierarchy(contents, "memory");
  EXPECT_EQ(findings.energy_provenance, "modelled");
  EXPECT_NEAR(findings.levels[1].j_per_byte.value, 2e-10, 2e-11);
}

TEST(Probes, AMachineDescribedByItsOwnProbesIsNoOtherMachine) {
  const mlpwatt::testing::TemporaryFolder folder;
  Contents contents = mlpwatt::testing::synthetic_contents(
      "traffic",
      {{"step", 2e-6}, {"layer", 5e-7}, {"flop", 3e-11}, {"L2", 2e-11}, {"L3", 6e-11}, {"memory", 3e-10}},
      160, 0.02);
  Contents probes = probed(512 << 10, false);
  for (Row& row : probes.rows(runs_table())) {
    row.set("machine_row", std::int64_t{0});
    contents.rows(runs_table()).push_back(std::move(row));
  }
  const std::string file = folder.path("both.h5");
  write_file(file, contents);
  ASSERT_EQ(run({"fit", file, "--resamples", "20"}).status, 0);
  auto described = run({"probes", file, "--hierarchy"}).json();
  const auto against_here = [&] {
    std::ofstream(folder.path("h.json")) << described;
    const auto outcome =
        run({"predict", "--model", file, "--dataset", "mnist", "--shape", "rectangle", "--size", "4194304",
             "--depth", "5", "--threads", "1", "--hierarchy", folder.path("h.json"), "--json"});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.json()["against"]["saving"].get<double>();
  };
  EXPECT_NEAR(against_here(), 0, 1e-9);
  described["memory"]["bandwidth_bytes_per_s"] =
      described["memory"]["bandwidth_bytes_per_s"].get<double>() / 10;
  EXPECT_LT(against_here(), -0.01) << "its memory is ten times slower";
}

TEST(Probes, ALevelsRatesAreTakenWhereItWasFoundToBe) {
  // hwloc says 512 KiB, the machine lends 128: sizes between are slow, and no second level's
  const ProbeFindings lent = find_hierarchy(probed(128 << 10, false), "memory");
  EXPECT_NEAR(lent.levels[1].bandwidth_bytes_per_s.value, 5e10, 3e9);
  EXPECT_NEAR(lent.levels[2].bandwidth_bytes_per_s.value, 2e10, 2e9);
}

TEST(Probes, TheCommandAndItsHierarchy) {
  const mlpwatt::testing::TemporaryFolder folder;
  write_file(folder.path("p.h5"), probed(256 << 10, false));
  const auto text = run({"probes", folder.path("p.h5")});
  ASSERT_EQ(text.status, 0) << text.err;
  EXPECT_NE(text.out.find("disagreement: L2"), std::string::npos) << text.out;
  EXPECT_EQ(run({"probes", folder.path("p.h5"), "--json"}).json()["levels"].size(), 4u);
  std::ofstream(folder.path("h.json")) << run({"probes", folder.path("p.h5"), "--hierarchy"}).out;
  const auto filled = run({"probes", folder.path("p.h5"), "--hierarchy"}).json();
  EXPECT_TRUE(filled["caches"][0]["bandwidth_bytes_per_s"].is_number());
  EXPECT_TRUE(filled["caches"][0]["j_per_byte"].is_null()) << "no meter looked on";
  // it fills what info leaves open, under the same names
  const auto open = run({"info", "--json"}).json();
  for (const std::string key : {"cores", "caches", "memory", "flops_per_s", "j_per_flop", "isas"}) {
    EXPECT_TRUE(open.contains(key)) << key;
    EXPECT_TRUE(filled.contains(key)) << key;
  }
  const DescribedMachine machine = read_hierarchy_file(folder.path("h.json"));
  EXPECT_EQ(machine.hierarchy.levels.size(), 3u);
  EXPECT_NEAR(machine.rates.time.at("L3"), 5e-11, 5e-12);
  EXPECT_NEAR(machine.rates.time.at("flop"), 1e-11, 1e-15);
  write_file(folder.path("none.h5"), Contents());
  const auto none = run({"probes", folder.path("none.h5")});
  EXPECT_EQ(none.status, 2);
  EXPECT_NE(none.err.find("mlpwatt run"), std::string::npos);
}

}  // namespace
}  // namespace mlpwatt::model
