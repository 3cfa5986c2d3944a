#include "harness/machine.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "cpu/isa.h"

namespace mlpwatt {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// Text after `separator` on the first line that starts with `key`.
std::string value_of(const std::string& path, const std::string& key, char separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t at = line.find(separator);
    if (at == std::string::npos) continue;
    std::size_t begin = line.find_first_not_of(" \t\"", at + 1);
    if (begin == std::string::npos) return "";
    std::size_t end = line.find_last_not_of(" \t\"");
    return line.substr(begin, end - begin + 1);
  }
  return "";
}

/// Fastest first.
std::vector<std::string> usable_isas() {
  std::vector<std::string> names;
  for (const Isa isa : available_isas()) names.insert(names.begin(), isa_name(isa));
  return names;
}

/// "0-3,6": where any thread of this process may run. Bound threads each have a narrower set than the process
/// was given, so the sets of all of them are joined.
std::string allowed_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::error_code error;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", error)) {
    cpu_set_t one;
    CPU_ZERO(&one);
    if (sched_getaffinity(std::stoi(task.path().filename()), sizeof one, &one) == 0) CPU_OR(&set, &set, &one);
  }
  std::string text;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    int last = cpu;
    while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &set)) ++last;
    text +=
        (text.empty() ? "" : ",") + (last == cpu ? fmt::format("{}", cpu) : fmt::format("{}-{}", cpu, last));
    cpu = last;
  }
  return text;
}

}  // namespace

Machine read_machine() {
  Machine machine;
  utsname names{};
  uname(&names);
  const char* node = std::getenv("SLURMD_NODENAME");
  machine.host = node != nullptr && *node != '\0' ? node : names.nodename;
  machine.processor = value_of("/proc/cpuinfo", "model name", ':');
  if (machine.processor.empty()) machine.processor = names.machine;
  machine.isas = usable_isas();
  machine.hierarchy = read_hierarchy();
  const std::string distribution = value_of("/etc/os-release", "PRETTY_NAME", '=');
  machine.system = fmt::format("{}, {} {} {}", distribution.empty() ? "unknown distribution" : distribution,
                               names.sysname, names.release, names.machine);
  machine.governor = first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  return machine;
}

std::string thread_binding() {
  std::string text;
  for (const char* name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"})
    if (const char* value = std::getenv(name); value != nullptr) text += fmt::format("{}={} ", name, value);
  return text + "cpus=" + allowed_processors();
}

}  // namespace mlpwatt
