// Every meter against every fault. The table is written to meter-faults.md in the build folder from what the
// runs showed; a cell is what was flagged, or why the fault cannot occur, and never empty. A copy is kept in
// tests/meters/FAULTS.md, which must say the same.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <optional>
#include <regex>
#include <sstream>
#include <thread>

#include "meters/energy.h"
#include "meters/sampler.h"
#include "tests/meters/power/fault_rigs.h"
#include "tests/support/meter_case.h"

namespace mlpwatt::testing {

const std::vector<FaultName>& all_faults() {
  static const std::vector<FaultName> names = {
      {Fault::kFrozen, "frozen value"},
      {Fault::kDropout, "drop-out"},
      {Fault::kWrap, "wrap"},
      {Fault::kDoubleWrap, "double wrap"},
      {Fault::kPermission, "no permission"},
      {Fault::kGone, "gone mid-run"},
      {Fault::kGarbage, "NaN or garbage"},
      {Fault::kNegative, "negative"},
      {Fault::kSpike, "spike"},
      {Fault::kServerError, "error answer"},
      {Fault::kHang, "hang"},
      {Fault::kTruncated, "truncated"},
      {Fault::kClockStep, "clock step of 1 h"},
      {Fault::kDuplicateStamp, "duplicate stamps"},
  };
  return names;
}

std::vector<RigEntry>& rig_entries() {
  static std::vector<RigEntry> entries;
  return entries;
}

namespace {

constexpr int kReads = 56, kWindowFrom = 18, kWindowTo = 46;

struct Outcome {
  Energy energy;
  std::string name;
};

/// When the fault comes and goes, in readings.
struct Span {
  int from, to;
};
Span span_of(Fault fault) {
  switch (fault) {
    case Fault::kFrozen:
    case Fault::kDuplicateStamp:
      return {6, 38};  // across the window's begin
    case Fault::kGone:
      return {28, kReads};
    case Fault::kSpike:
    case Fault::kNegative:
    case Fault::kClockStep:
      return {28, 29};
    default:
      return {28, 32};
  }
}

/// Reads the rig's meter over a window in which the fault comes, and mostly goes again. The reads are made
/// one after the other and in time; for the integral they are put on a scripted clock, so that a loaded
/// machine makes no gaps.
Outcome run(FaultRig& rig, std::optional<Fault> fault) {
  const Span span = fault ? span_of(*fault) : Span{kReads, kReads};
  Series series;
  series.meter = rig.meter().name();
  series.channel = rig.meter().channels().at(rig.channel);
  series.poll_period_s = rig.poll_s;
  for (int n = 0; n < kReads; ++n) {
    const bool on = n >= span.from && n < span.to;
    if (n == span.to) rig.heal();
    if (on)
      rig.spoil(*fault, n);
    else
      rig.show(n);
    const bool answers = !on || fault == Fault::kFrozen || fault == Fault::kDuplicateStamp;
    const double timeout_s = answers ? 5 : fault == Fault::kGone ? 0.1 : rig.read_timeout_s;
    Reading reading = checked_read(rig.meter(), timeout_s, rig.own_clock_from_s > 0).at(rig.channel);
    if (rig.own_clock_from_s > 0 && reading.value)
      reading.monotonic_s -= rig.own_clock_from_s;
    else
      reading.monotonic_s = n * rig.poll_s;
    series.readings.push_back(reading);
  }
  const Interval window{(kWindowFrom - 0.5) * rig.poll_s, (kWindowTo - 0.5) * rig.poll_s};
  Energy energy = integrate(series, window);
  // as a sitting does: whole watts may repeat, but not from idle into the window
  flag_stand(energy, series, {0, window.begin_s}, window);
  return {std::move(energy), rig.meter().name()};
}

/// The rig's meter as the sampler reads it, the instrument moving on at each reading.
class ReadBySampler : public Meter {
 public:
  /// @param before called with the number of each reading, on the sampler's thread
  ReadBySampler(FaultRig& rig, std::function<void(int)> before) : rig_(rig), before_(std::move(before)) {}
  std::string name() const override { return rig_.meter().name(); }
  const std::vector<Channel>& channels() const override { return rig_.meter().channels(); }
  std::vector<Reading> read(double timeout_s) override {
    before_(n_);
    rig_.show(n_++);
    return rig_.meter().read(timeout_s);
  }
  double poll_period_s() const override { return 0.002; }
  bool slow() const override { return false; }

 private:
  FaultRig& rig_;
  std::function<void(int)> before_;
  int n_ = 0;
};

std::vector<std::unique_ptr<Meter>> read_by_sampler(FaultRig& rig, std::function<void(int)> before) {
  std::vector<std::unique_ptr<Meter>> meters;
  meters.push_back(std::make_unique<ReadBySampler>(rig, std::move(before)));
  return meters;
}

void wait_for_reads(const Sampler& sampler, std::int64_t reads) {
  const double patience_s = monotonic_now_s() + 20;
  while (sampler.reads() < reads && monotonic_now_s() < patience_s)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

/// Puts what the sampler took on the scripted clock, as the readings of run() are.
void put_on_scripted_clock(Series& series, const FaultRig& rig) {
  for (std::size_t n = 0; n < series.readings.size(); ++n)
    series.readings[n].monotonic_s = static_cast<double>(n) * rig.poll_s;
  series.poll_period_s = rig.poll_s;
}

/// Meters without stamps of their own: only the sampler can see that the wall clock was set, by an hour at
/// one of the readings.
Outcome run_with_a_wall_step(FaultRig& rig) {
  std::atomic<double> offset_s = 1.7e9;
  SamplerOptions options;
  options.wall_offset = [&] { return offset_s.load(); };
  const auto step = [&](int n) {
    if (n == span_of(Fault::kClockStep).from) offset_s = offset_s - 3600;
  };
  Sampler sampler(read_by_sampler(rig, step), options);
  wait_for_reads(sampler, kReads);
  sampler.stop();
  Series series = sampler.series(0).at(rig.channel);
  for (double& step_s : series.wall_steps_s)
    step_s = rig.poll_s * static_cast<double>(std::count_if(
                              series.readings.begin(), series.readings.end(),
                              [&](const Reading& reading) { return reading.monotonic_s < step_s; }));
  put_on_scripted_clock(series, rig);
  const Interval window{(kWindowFrom - 0.5) * rig.poll_s, (kWindowTo - 0.5) * rig.poll_s};
  return {integrate(series, window), rig.meter().name()};
}

/// Meters whose reads wait for ever when the instrument does: the sampler says so meanwhile, and goes on when
/// it is over.
Outcome run_with_a_hang(FaultRig& rig) {
  const int hang_at = span_of(Fault::kHang).from;
  SamplerOptions options;
  options.fast_timeout_s = 0.25;
  const auto hang = [&](int n) {
    if (n == hang_at) rig.spoil(Fault::kHang, n);
  };
  Sampler sampler(read_by_sampler(rig, hang), options);
  wait_for_reads(sampler, hang_at);
  std::this_thread::sleep_for(std::chrono::duration<double>(2 * options.fast_timeout_s));
  const double marked_s = monotonic_now_s();
  sampler.mark();
  EXPECT_LT(monotonic_now_s() - marked_s, 20 * options.mark_timeout_s) << "nobody waits for it";
  EXPECT_EQ(sampler.reads(), hang_at) << "it hangs";
  Series series = sampler.series(0).at(rig.channel);
  put_on_scripted_clock(series, rig);
  series.readings.back().monotonic_s += 2 * options.fast_timeout_s;  // "no answer", as of the window's end
  const Interval window{(kWindowFrom - 0.5) * rig.poll_s, series.readings.back().monotonic_s};
  rig.heal();
  wait_for_reads(sampler, hang_at + 10);
  sampler.stop();
  EXPECT_TRUE(sampler.series(0).at(rig.channel).readings.back().value) << "after it the readings go on";
  return {integrate(series, window), rig.meter().name()};
}

/// Any of these tells of the fault; the same run without it has no flag at all.
unsigned expected(Fault fault) {
  switch (fault) {
    case Fault::kFrozen:
      return kStuck;
    case Fault::kDoubleWrap:
      return kWrappedTwice;
    case Fault::kGone:  // just before the window's end the last reading may still reach it
      return kLost | kDropout;
    case Fault::kNegative:
    case Fault::kSpike:
      return kOutOfRange;
    case Fault::kClockStep:
      return kClockJump;
    case Fault::kDuplicateStamp:
      return kClockJump | kStuck;
    default:
      return kDropout;
  }
}

/// Without what differs from one run of the tests to the next.
std::string cell_of(const Outcome& outcome) {
  std::string reason = outcome.energy.reason;
  for (const auto& [what, instead] :
       {std::pair{R"(/tmp/[^/ ]*)", ""}, std::pair{R"(127\.0\.0\.1(:\d+)?)", "HOST"},
        std::pair{R"(port \d+ after \d+ ms)", "its port"}, std::pair{R"(\d+\.\d+ s ago)", "a while ago"}})
    reason = std::regex_replace(reason, std::regex(what), instead);
  reason = reason.substr(0, 100);
  for (char& c : reason) c = c == '|' ? '/' : c;
  return fmt::format("flagged {}{}", flags_text(outcome.energy.flags), reason.empty() ? "" : ": " + reason);
}

std::string check(const RigEntry& entry, Fault fault) {
  if (const auto never = entry.cannot.find(fault); never != entry.cannot.end()) {
    EXPECT_FALSE(never->second.empty());
    return "cannot occur: " + never->second;
  }
  const std::unique_ptr<FaultRig> rig = entry.make(fault);
  if (!rig) {
    ADD_FAILURE() << entry.meter << " could not be opened";
    return "";
  }
  const Outcome outcome = fault == Fault::kClockStep && !rig->stamps         ? run_with_a_wall_step(*rig)
                          : fault == Fault::kHang && rig->guarded_by_sampler ? run_with_a_hang(*rig)
                                                                             : run(*rig, fault);
  if (fault == Fault::kWrap) {
    EXPECT_EQ(outcome.energy.wraps, 1) << entry.meter << ": " << outcome.energy.reason;
    EXPECT_EQ(outcome.energy.flags & ~kUnderSampled, 0u) << flags_text(outcome.energy.flags);
    EXPECT_GT(outcome.energy.joules, 0);
    return outcome.energy.wraps == 1 ? "counted: 1 wrap, energy goes on" : "";
  }
  EXPECT_NE(outcome.energy.flags & expected(fault), 0u)
      << entry.meter << ": flags " << flags_text(outcome.energy.flags) << ", reason "
      << outcome.energy.reason;
  EXPECT_EQ(outcome.energy.reason.rfind(outcome.name, 0), 0u)
      << "the message names the meter: '" << outcome.energy.reason << "'";
  return (outcome.energy.flags & expected(fault)) != 0 ? cell_of(outcome) : "";
}

using Table = std::map<std::string, std::map<std::string, std::string>>;

std::string table_path() {
  const char* build = std::getenv("MLPWATT_BUILD");
  return std::string(build != nullptr ? build : "build") + "/meter-faults.md";
}

void write_table(const Table& table) {
  std::ofstream out(table_path());
  out << "# Meters and faults\n\nMade by the test `MeterFaults.TheTableHasNoEmptyCell` "
         "(build/meter-faults.md, "
         "which goes to tests/meters/FAULTS.md): what became of a window's energy when its instrument was "
         "spoiled.\nThe window goes on in every case, and the reason names the meter. The tests `MeteredRun` "
         "spoil "
         "instruments in the middle of\n`mlpwatt run`: it ends with 0, and its row has the flag and the "
         "reason.\n";
  for (const auto& [meter, cells] : table) {
    out << "\n## " << meter << "\n\n| fault | what happened |\n|---|---|\n";
    for (const FaultName& fault : all_faults())
      out << "| " << fault.name << " | " << cells.at(fault.name) << " |\n";
  }
}

/// The table in a document: meter, fault, and the cell up to the reason, whose words may change.
Table read_table(const std::string& path) {
  Table table;
  std::ifstream in(path);
  std::string meter;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("## ")) meter = line.substr(3);
    const auto bar = line.find(" | ", 2);
    if (!line.starts_with("| ") || bar == std::string::npos || line.starts_with("| fault")) continue;
    std::string cell = line.substr(bar + 3, line.size() - bar - 5);
    if (cell.starts_with("flagged")) cell = cell.substr(0, cell.find(':'));
    table[meter][line.substr(2, bar - 2)] = cell;
  }
  return table;
}

TEST(MeterFaults, TheTableHasNoEmptyCell) {
  Table table;
  std::string missing;
  for (const RigEntry& entry : rig_entries()) {
    SCOPED_TRACE(entry.meter);
    if (const std::string why = entry.unavailable ? entry.unavailable() : ""; !why.empty()) {
      missing += (missing.empty() ? "" : "; ") + entry.meter + ": " + why;
      for (const FaultName& fault : all_faults()) table[entry.meter][fault.name] = "not run: " + why;
      continue;
    }
    if (entry.make) {
      const std::unique_ptr<FaultRig> healthy = entry.make(Fault::kDropout);
      ASSERT_TRUE(healthy);
      const Outcome fine = run(*healthy, std::nullopt);
      EXPECT_EQ(fine.energy.flags, 0u)
          << "without a fault: " << flags_text(fine.energy.flags) << ' ' << fine.energy.reason;
    }
    for (const FaultName& fault : all_faults()) {
      SCOPED_TRACE(fault.name);
      const std::string cell = check(entry, fault.fault);
      EXPECT_FALSE(cell.empty()) << entry.meter << ", " << fault.name;
      table[entry.meter][fault.name] = cell;
    }
  }
  write_table(table);
  const Table kept = read_table("tests/meters/FAULTS.md"), made = read_table(table_path());
  EXPECT_EQ(kept.size(), made.size());
  for (const auto& [meter, cells] : made)
    for (const auto& [fault, cell] : cells)
      EXPECT_TRUE(cell.starts_with("not run") ||
                  kept.contains(meter) && kept.at(meter).contains(fault) && kept.at(meter).at(fault) == cell)
          << meter << ", " << fault << ": '" << cell << "' is not what tests/meters/FAULTS.md says; if it is "
          << "meant: cp " << table_path() << " tests/meters/FAULTS.md";
  if (!missing.empty()) GTEST_SKIP() << missing;
}

}  // namespace
}  // namespace mlpwatt::testing
