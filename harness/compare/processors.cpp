#include "harness/compare/processors.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "harness/program.h"

namespace mlpwatt {
namespace {

std::string siblings(int processor) {
  std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", processor));
  std::string line;
  std::getline(file, line);
  return line.empty() ? std::to_string(processor) : line;
}

/// Before anybody narrowed it: read once.
const std::vector<int>& allowed_at_start() {
  static const std::vector<int> allowed = [] {
    std::vector<int> all;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
      for (int p = 0; p < CPU_SETSIZE; ++p)
        if (CPU_ISSET(p, &set)) all.push_back(p);
    return all;
  }();
  return allowed;
}

}  // namespace

std::vector<int> choose_processors(const std::vector<int>& allowed, const std::vector<std::string>& core_of,
                                   int threads) {
  std::vector<int> first_of_core;
  std::vector<std::string> seen;
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    if (std::find(seen.begin(), seen.end(), core_of[i]) != seen.end()) continue;
    seen.push_back(core_of[i]);
    first_of_core.push_back(allowed[i]);
  }
  // With as many threads as cores everybody gets one processor of each: libraries that count processors would
  // otherwise start a thread for every sibling, and ours would not.
  if (static_cast<int>(first_of_core.size()) < threads) return allowed;
  first_of_core.resize(static_cast<std::size_t>(std::max(1, threads)));
  return first_of_core;
}

void keep_to_cores(int threads) {
  const std::vector<int>& allowed = allowed_at_start();
  std::vector<std::string> cores;
  for (const int p : allowed) cores.push_back(siblings(p));
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int p : choose_processors(allowed, cores, threads)) CPU_SET(p, &set);
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task"))
    // a thread may end while we walk
    if (sched_setaffinity(std::stoi(task.path().filename()), sizeof set, &set) != 0 && errno != ESRCH)
      throw std::runtime_error(fmt::format("cannot keep to {} core(s): {}", threads, std::strerror(errno)));
}

void refuse_openmp_binding() {
  for (const char* name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != 0 && std::string(value) != "false")
      throw UsageError(
          fmt::format("compare-peers: {}={} binds threads, and libraries started from a bound one get only "
                      "its processor; unset it",
                      name, value));
  }
}

}  // namespace mlpwatt
