#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "cpu/isa.h"
#include "cpu/probes/chase.h"
#include "cpu/probes/stream.h"
#include "cpu/probes/sweep.h"
#include "kernels/kernel.h"

namespace mlpwatt {
namespace {

Hierarchy small_machine() {
  Hierarchy h;
  h.cores = 2;
  h.levels = {{"L1", 49152, 64, 12, 1}, {"L2", 262144, 64, 8, 1}, {"L3", 1 << 20, 64, 16, 2}};
  return h;
}

RunOptions options_with(const std::string& isa = "", int threads = 0) {
  RunOptions options;
  options.isa = isa;
  options.threads = threads;
  options.hierarchy = small_machine();
  return options;
}

std::vector<Benchmark> benchmarks_of(const std::string& family, const RunOptions& options) {
  std::vector<Benchmark> list;
  for (const Family& f : catalogue())
    if (f.name == family) f.enumerate(options, [&](const Benchmark& b) { list.push_back(b); });
  return list;
}

std::vector<std::string> usable_isas() {
  std::vector<std::string> names;
  for (const Isa isa : available_isas()) names.push_back(isa_name(isa));
  return names;
}

TEST(Sweep, FromFourKibToFourTimesTheLastCache) {
  EXPECT_EQ(probes::sweep_bytes(small_machine(), 1),
            (std::vector<std::int64_t>{4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576,
                                       2097152, 4194304}));
  const auto fine = probes::sweep_bytes(small_machine(), 4);
  EXPECT_EQ(fine[1], 5120);
  for (const CacheLevel& level : small_machine().levels)
    for (std::size_t i = 1; i < fine.size(); ++i) {
      const double ratio = static_cast<double>(fine[i]) / static_cast<double>(fine[i - 1]);
      const bool near =
          fine[i] > 0.88 * static_cast<double>(level.capacity_bytes) && fine[i - 1] <= level.capacity_bytes;
      EXPECT_LE(near ? ratio : 1.0, 1.08) << level.name << " " << fine[i];
    }
  EXPECT_TRUE(std::is_sorted(fine.begin(), fine.end()));
  EXPECT_EQ(std::set<std::int64_t>(fine.begin(), fine.end()).size(), fine.size());
  EXPECT_EQ(fine.back(), 4194304);
  EXPECT_EQ(probes::sweep_bytes(Hierarchy{}, 1).back(), 128 << 20);
  std::set<std::int64_t> quick;
  for (const std::int64_t bytes : fine)
    if (probes::is_quick_size(small_machine(), bytes)) quick.insert(bytes);
  EXPECT_EQ(quick, (std::set<std::int64_t>{16384, 131072, 524288, 4194304}));
}

TEST(Stream, CatalogueNamesAreUniqueAndAFewAreQuick) {
  for (const char* family : {"cpu/stream", "cpu/chase"}) {
    std::set<std::string> names;
    int quick = 0;
    for (const Benchmark& b : benchmarks_of(family, options_with())) {
      EXPECT_TRUE(names.insert(b.name).second) << b.name;
      EXPECT_EQ(b.name.rfind(std::string(family) + "/", 0), 0u);
      EXPECT_EQ(b.family, family);
      quick += b.quick;
    }
    EXPECT_EQ(quick, 4) << family;
  }
}

// Every operation, size, thread count and instruction set, with the code that is timed.
TEST(Stream, EveryEntryProvesItsResult) {
  const auto isas = usable_isas();
  ASSERT_FALSE(isas.empty());
  for (const std::string& isa : isas)
    for (const int threads : {1, 3}) {
      const RunOptions options = options_with(isa, threads);
      for (const Benchmark& b : benchmarks_of("cpu/stream", options)) {
        if (std::get<std::int64_t>(b.parameters.at("working_set_bytes")) > 300000) continue;
        const auto kernel = b.make(options);
        kernel->set_up();
        const Check check = kernel->check();
        EXPECT_TRUE(check.passed) << b.name << " " << isa << ": " << check.detail;
        EXPECT_EQ(kernel->facts().at("isa"), isa);
        EXPECT_EQ(kernel->facts().at("threads"), std::to_string(threads));
        kernel->run(3);
        EXPECT_TRUE(kernel->check().passed) << b.name << " after a run";
      }
    }
}

// The loops alone, for lengths around the unrolling, with guards before and behind.
TEST(Stream, LoopsKeepToTheirArrays) {
  std::vector<const stream::Loops*> loops{&stream::kGeneric};
#if defined(__x86_64__)
  for (const std::string& isa : usable_isas())
    for (const stream::Loops* l : {&stream::kAvx512, &stream::kAvx2, &stream::kAvx2NoFma})
      if (isa == l->isa) loops.push_back(l);
#endif
  for (const stream::Loops* l : loops)
    for (const std::int64_t n : {16, 32, 48, 64, 80, 112, 128, 144, 256, 272, 1040}) {
      struct alignas(64) Guarded {
        float values[1040 + 32];
      };
      Guarded a, b, c;
      for (std::int64_t i = 0; i < 1072; ++i) {
        a.values[i] = -99;
        b.values[i] = static_cast<float>(i);
        c.values[i] = static_cast<float>(2 * i);
      }
      const auto expect = [&](auto wanted, const char* what) {
        for (std::int64_t i = 0; i < n + 32; ++i)
          ASSERT_EQ(a.values[i], i < 16 || i >= n + 16 ? -99 : wanted(i))
              << what << " " << l->isa << " n " << n;
      };
      l->copy(a.values + 16, b.values + 16, n);
      expect([](std::int64_t i) { return static_cast<float>(i); }, "copy");
      l->triad(a.values + 16, b.values + 16, c.values + 16, 0.5f, n);
      expect([](std::int64_t i) { return static_cast<float>(2 * i); }, "triad");
      l->write(a.values + 16, 7, n);
      expect([](std::int64_t) { return 7.0f; }, "write");
      EXPECT_EQ(l->read(a.values + 16, n), 7.0f * static_cast<float>(n)) << l->isa;
    }
}

TEST(Stream, CostCountsTheLoopsOwnBytes) {
  int seen = 0;
  for (const Benchmark& b : benchmarks_of("cpu/stream", options_with())) {
    const Cost cost = b.make(options_with())->cost();
    if (b.name == "cpu/stream/copy/8192") {
      EXPECT_EQ(cost.compulsory_read_bytes, 4096);
      EXPECT_EQ(cost.compulsory_write_bytes, 4096);
      EXPECT_EQ(cost.flops(), 0);
    } else if (b.name == "cpu/stream/read/8192") {
      EXPECT_EQ(cost.compulsory_read_bytes, 8192);
      EXPECT_EQ(cost.compulsory_write_bytes, 0);
      EXPECT_EQ(cost.adds, 2048);
    } else if (b.name == "cpu/stream/write/8192") {
      EXPECT_EQ(cost.compulsory_read_bytes, 0);
      EXPECT_EQ(cost.compulsory_write_bytes, 8192);
    } else if (b.name == "cpu/stream/triad/8192") {
      // 2730 bytes an array, rounded down to 42 lines: 672 floats
      EXPECT_EQ(cost.compulsory_read_bytes, 2 * 4 * 672);
      EXPECT_EQ(cost.compulsory_write_bytes, 4 * 672);
      EXPECT_EQ(cost.multiplies, 672);
      EXPECT_EQ(cost.adds, 672);
    } else {
      continue;
    }
    ++seen;
  }
  EXPECT_EQ(seen, 4);
}

TEST(Stream, AnInstructionSetThatIsNotThereIsRefused) {
  const auto benchmarks = benchmarks_of("cpu/stream", options_with());
  EXPECT_THROW(benchmarks.front().make(options_with("neon9")), std::invalid_argument);
}

TEST(Stream, TheCheckSeesOneWrongFloatAndANan) {
  std::vector<float> a(64);
  float sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] = static_cast<float>(i % 13) - 6;
  EXPECT_EQ(stream::result_error("read", a.data(), sum, 64), 0);
  EXPECT_EQ(stream::result_error("read", a.data(), sum + 1, 64), 1);
  EXPECT_FALSE(check_within(stream::result_error("read", a.data(), NAN, 64), 0, "").passed);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(2 * i % 13) - 6;
  EXPECT_EQ(stream::result_error("copy", a.data(), 0, 64), 0);
  a[63] += 2;
  EXPECT_EQ(stream::result_error("copy", a.data(), 0, 64), 2);
  for (std::size_t i = 0; i < a.size(); ++i)
    a[i] = static_cast<float>(2 * i % 13) - 6 + 3 * (static_cast<float>(3 * i % 13) - 6);
  EXPECT_EQ(stream::result_error("triad", a.data(), 0, 64), 0);
  a[0] = NAN;
  EXPECT_FALSE(check_within(stream::result_error("triad", a.data(), 0, 64), 0, "").passed);
  a.assign(64, 3);
  EXPECT_EQ(stream::result_error("write", a.data(), 0, 64), 0);
  a[40] = 0;
  EXPECT_EQ(stream::result_error("write", a.data(), 0, 64), 3);
}

TEST(Fma, EveryInstructionSetOnAllCoresAndOnOne) {
  for (const int asked : {0, 3}) {
    const RunOptions options = options_with("", asked);
    std::set<std::string> names;
    for (const Benchmark& benchmark : benchmarks_of("cpu/fma", options)) {
      names.insert(benchmark.name);
      const bool one = benchmark.name.ends_with("/one");
      EXPECT_FALSE(one && benchmark.quick) << "the quick suite and the floor take the whole team's";
      const auto facts = benchmark.make(options)->facts();
      EXPECT_EQ(facts.at("threads"), one ? "1" : asked > 0 ? "3" : "2") << benchmark.name;
    }
    for (const std::string& isa : usable_isas())
      for (const std::string end : {"", "/one"})
        EXPECT_TRUE(names.contains("cpu/fma/" + isa + end)) << isa << end;
    EXPECT_EQ(names.size(), 2 * usable_isas().size());
  }
}

TEST(Chase, TheCheckSeesABrokenRing) {
  std::vector<chase::Line> lines(10);
  const auto link = [&](std::size_t period) {
    for (std::size_t i = 0; i < lines.size(); ++i) lines[i].next = &lines[(i + 1) % period];
  };
  link(10);
  EXPECT_TRUE(chase::check_ring(lines.data(), 10).passed);
  EXPECT_FALSE(chase::check_ring(lines.data(), 11).passed);
  EXPECT_FALSE(chase::check_ring(lines.data(), 9).passed);
  link(5);  // half of the lines are never loaded; two turns do end at the start
  EXPECT_FALSE(chase::check_ring(lines.data(), 10).passed);
  link(10);
  lines[9].next = &lines[3];  // never comes back to the start
  EXPECT_FALSE(chase::check_ring(lines.data(), 10).passed);
}

TEST(Chase, ALocalRingUsesUpEachPageBeforeTheNext) {
  const std::vector<std::int64_t> order = chase::ring_order(64 * 9 + 10, 64, 3);
  EXPECT_EQ(std::set<std::int64_t>(order.begin(), order.end()).size(), 64u * 9 + 10);
  std::set<std::int64_t> pages;
  int ascending = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || order[i] / 64 != order[i - 1] / 64) {
      EXPECT_TRUE(pages.insert(order[i] / 64).second) << "page " << order[i] / 64 << " is visited again";
    }
    ascending += i > 0 && order[i] == order[i - 1] + 1;
  }
  EXPECT_EQ(pages.size(), 10u);
  EXPECT_LT(ascending, 60) << "a prefetcher could guess it";
}

TEST(Chase, EveryRingIsWhole) {
  for (const Benchmark& b : benchmarks_of("cpu/chase", options_with())) {
    if (std::get<std::int64_t>(b.parameters.at("working_set_bytes")) > 300000 || !b.unavailable.empty())
      continue;
    const auto kernel = b.make(options_with());
    try {
      kernel->set_up();
    } catch (const std::runtime_error& error) {
      // A system short of huge pages says so; it never chases through small ones instead.
      EXPECT_NE(b.name.find("/huge"), std::string::npos) << error.what();
      continue;
    }
    EXPECT_TRUE(kernel->check().passed) << b.name;
    kernel->run(2);
    const Check again = kernel->check();
    EXPECT_TRUE(again.passed) << b.name << " " << again.detail;
    EXPECT_EQ(kernel->cost().compulsory_read_bytes, 4096 * 8);
    EXPECT_EQ(kernel->facts().at("working_set_bytes"),
              std::to_string(std::get<std::int64_t>(b.parameters.at("working_set_bytes"))));
  }
}

}  // namespace
}  // namespace mlpwatt
