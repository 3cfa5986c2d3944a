// The pointer chase: latency of each level of the memory hierarchy. Every cache line of the working set holds
// the address of the next one on a single random ring:
//     for (hop = 0; hop < loads; ++hop) line = line->next;
// No load can begin before the one before it has ended, and no prefetcher can guess the way. The /local ring
// uses up each 4 KiB page before the next: where the random ring steps by misses of the TLB, it does not.

#include "cpu/probes/chase.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <numeric>
#include <stdexcept>

#include "cpu/probes/sweep.h"
#include "kernels/kernel.h"
#include "kernels/random.h"

namespace mlpwatt {

std::vector<std::int64_t> chase::ring_order(std::int64_t count, std::int64_t page_lines, std::uint64_t seed) {
  RandomStream stream(seed);
  const std::int64_t step = page_lines > 0 ? page_lines : 1;
  std::vector<std::int64_t> pages(static_cast<std::size_t>((count + step - 1) / step));
  std::iota(pages.begin(), pages.end(), 0);
  shuffle(pages, stream);
  if (step == 1) return pages;
  std::vector<std::int64_t> order, lines;
  for (const std::int64_t page : pages) {
    lines.resize(static_cast<std::size_t>(std::min(step, count - page * step)));
    std::iota(lines.begin(), lines.end(), page * step);
    shuffle(lines, stream);
    order.insert(order.end(), lines.begin(), lines.end());
  }
  return order;
}

// Not inlined into its test of the ring: what is proven is the very code that is timed.
__attribute__((noinline)) chase::Line* chase::walk(Line* line, std::int64_t loads) {
  for (std::int64_t hop = 0; hop < loads; ++hop) line = line->next;
  return line;
}

Check chase::check_ring(Line* start, std::int64_t count) {
  std::int64_t turn = 1;
  for (Line* line = walk(start, 1); line != start && turn <= count; line = walk(line, 1)) ++turn;
  if (turn != count)
    return check_within(
        1, 0,
        "the ring's length is " + std::to_string(turn) + " (or no ring) instead of " + std::to_string(count));
  return check_within(walk(start, count) == start ? 0 : 1, 0,
                      "a turn of the ring does not end where it began");
}

namespace {

using chase::Line;

constexpr std::int64_t kLoadsPerStep = 4096;  // a step long enough to be timed by itself
constexpr std::int64_t kPageLines = 4096 / static_cast<std::int64_t>(sizeof(Line));
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr const char* kHugePageSwitch = "/sys/kernel/mm/transparent_hugepage/enabled";

// An anonymous mapping of small pages only, or of huge ones wherever the system grants them.
class Mapping {
 public:
  Mapping(std::size_t bytes, bool huge) {
    // Huge pages are naturally aligned: one more than needed leaves room to begin at a boundary.
    reserved_ = (bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes + kHugePageBytes;
    base_ = mmap(nullptr, reserved_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED)
      throw std::runtime_error("cpu/chase: no memory for " + std::to_string(bytes) +
                               " bytes: " + std::strerror(errno));
    // Refused advice shows in huge_page_bytes().
    madvise(base_, reserved_, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    void* aligned = base_;
    std::size_t room = reserved_;
    lines_ = static_cast<Line*>(std::align(kHugePageBytes, bytes, aligned, room));
  }
  ~Mapping() { munmap(base_, reserved_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  Line* lines() const { return lines_; }

  /// What the kernel says it backs with huge pages, of this mapping; -1 when it does not say.
  std::int64_t huge_page_bytes() const {
    std::ifstream maps("/proc/self/smaps");
    const std::uintptr_t wanted = reinterpret_cast<std::uintptr_t>(lines_);
    std::string text;
    bool inside = false;
    while (std::getline(maps, text)) {
      unsigned long first = 0, last = 0;
      long long kib = 0;
      if (std::sscanf(text.c_str(), "%lx-%lx ", &first, &last) == 2)
        inside = first <= wanted && wanted < last;
      else if (inside && std::sscanf(text.c_str(), "AnonHugePages: %lld kB", &kib) == 1)
        return kib * 1024;
    }
    return -1;
  }

 private:
  void* base_ = nullptr;
  std::size_t reserved_ = 0;
  Line* lines_ = nullptr;
};

class Chase : public Kernel {
 public:
  Chase(std::int64_t bytes, bool huge, std::int64_t page_lines, std::uint64_t seed)
      : count_(bytes / static_cast<std::int64_t>(sizeof(Line))),
        huge_(huge),
        page_lines_(page_lines),
        seed_(seed) {}

  void set_up() override {
    mapping_ = std::make_unique<Mapping>(static_cast<std::size_t>(count_) * sizeof(Line), huge_);
    Line* lines = mapping_->lines();
    const std::vector<std::int64_t> order = chase::ring_order(count_, page_lines_, seed_);
    for (std::size_t i = 0; i < order.size(); ++i)
      lines[order[i]].next = &lines[order[(i + 1) % order.size()]];
    line_ = lines;
    huge_bytes_ = mapping_->huge_page_bytes();
    if (huge_ && huge_bytes_ <= 0)
      throw std::runtime_error(std::string("cpu/chase: the system granted no huge pages (see ") +
                               kHugePageSwitch + "; `echo madvise` into it, or free memory)");
  }

  Check check() override { return chase::check_ring(line_, count_); }

  void run(std::int64_t steps) override { line_ = chase::walk(line_, steps * kLoadsPerStep); }

  Cost cost() const override {
    Cost cost;
    // What the loads ask for; a whole line moves for each of them below the first level.
    cost.compulsory_read_bytes = kLoadsPerStep * static_cast<std::int64_t>(sizeof(Line*));
    return cost;
  }

  std::map<std::string, std::string> facts() const override {
    return {{"isa", "generic"},
            {"threads", "1"},
            {"loads_per_step", std::to_string(kLoadsPerStep)},
            {"working_set_bytes", std::to_string(count_ * static_cast<std::int64_t>(sizeof(Line)))},
            {"huge_page_bytes", huge_bytes_ < 0 ? "unknown" : std::to_string(huge_bytes_)}};
  }

 private:
  std::int64_t count_;
  bool huge_;
  std::int64_t page_lines_;  ///< 0: the ring knows no pages
  std::uint64_t seed_;
  std::unique_ptr<Mapping> mapping_;
  Line* line_ = nullptr;
  std::int64_t huge_bytes_ = -1;
};

std::string why_no_huge_pages() {
  std::ifstream file(kHugePageSwitch);
  std::string setting;
  if (!std::getline(file, setting))
    return std::string("no transparent huge pages: there is no ") + kHugePageSwitch;
  if (setting.find("[never]") != std::string::npos)
    return std::string("transparent huge pages are switched off (") + kHugePageSwitch + ")";
  return "";
}

const FamilyRegistration registration{
    {.name = "cpu/chase",
     .backend = "cpu",
     .summary = "latency of each memory level: dependent loads on a random ring, small or /huge pages, or "
                "page by page "
                "(/local), one thread",
     .enumerate = [](const RunOptions& options, const std::function<void(const Benchmark&)>& visit) {
       const std::string no_huge = why_no_huge_pages();
       const auto add = [&](const std::string& ring, int steps_per_octave) {
         const bool huge = ring == "/huge", local = ring == "/local";
         for (const std::int64_t bytes : probes::sweep_bytes(options.hierarchy, steps_per_octave)) {
           Benchmark benchmark;
           benchmark.name = "cpu/chase/" + std::to_string(bytes) + ring;
           benchmark.family = "cpu/chase";
           benchmark.parameters = {{"working_set_bytes", bytes},
                                   {"loads_per_step", kLoadsPerStep},
                                   {"pages", std::string(huge ? "huge" : "small")},
                                   {"order", std::string(local ? "page by page" : "random")}};
           benchmark.quick = ring.empty() && probes::is_quick_size(options.hierarchy, bytes);
           if (huge) benchmark.unavailable = no_huge;
           benchmark.make = [=](const RunOptions& run) -> std::unique_ptr<Kernel> {
             return std::make_unique<Chase>(bytes, huge, local ? kPageLines : 0, run.seed);
           };
           visit(benchmark);
         }
       };
       add("", 4);
       add("/huge", 1);
       add("/local", 2);
     }}};

}  // namespace

}  // namespace mlpwatt
