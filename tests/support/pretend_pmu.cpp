// A stand-in for the hardware that PAPI wants, below PAPI: the symbols here take the place of libpfm's and
// libc's for the whole test program, but do something only when MLPWATT_PRETEND_PMU is set, which the PAPI
// tests do for a child of their own.
//   software  PAPI accepts a machine whose processor libpfm does not know, so that its perf_event component
//             counts software events
//   hardware  besides, hardware events that the kernel refuses are opened as page faults, at most four at
//   once
// A test may also look on, or do something, whenever an event is about to be opened.

#include <errno.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>

#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <map>

namespace mlpwatt::testing {
/// Called with what is asked of the kernel, the thread to be counted (0: the caller) and the group's leader
/// (-1: a leader itself). nullptr: nothing is.
void (*before_opening_event)(const perf_event_attr& attributes, int thread, int leader) = nullptr;
}  // namespace mlpwatt::testing

#if __has_include(<perfmon/pfmlib.h>) && defined(__x86_64__)
#include <dlfcn.h>
#include <perfmon/pfmlib.h>

namespace {

bool pretends(const char* what) {
  const char* wanted = std::getenv("MLPWATT_PRETEND_PMU");
  return wanted != nullptr && (std::strcmp(wanted, what) == 0 || std::strcmp(wanted, "hardware") == 0);
}

long kernel_call(long number, const long (&a)[6]) {
  long result = number;
  register long r10 asm("r10") = a[3];
  register long r8 asm("r8") = a[4];
  register long r9 asm("r9") = a[5];
  asm volatile("syscall"
               : "+a"(result)
               : "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  if (result < 0 && result > -4096) {
    errno = static_cast<int>(-result);
    return -1;
  }
  return result;
}

constexpr int kRegisters = 4;

/// Opens a refused hardware event as a software one; the fifth of a group finds no register free.
long open_hardware_event(const long (&a)[6]) {
  static std::map<int, int>& used = *new std::map<int, int>;  // by group leader; closing is not seen
  const auto* wanted = reinterpret_cast<const perf_event_attr*>(a[0]);
  perf_event_attr attributes = *wanted;
  attributes.type = PERF_TYPE_SOFTWARE;
  // cycles and instructions always advance; the others are as many as the test touches pages
  const bool advances = wanted->type == PERF_TYPE_HARDWARE && wanted->config <= PERF_COUNT_HW_INSTRUCTIONS;
  attributes.config = advances ? PERF_COUNT_SW_TASK_CLOCK : PERF_COUNT_SW_PAGE_FAULTS;
  const int leader = static_cast<int>(a[3]);  // passed as an int: the upper half is anything
  if (leader >= 0 && used[leader] >= kRegisters) {
    errno = EINVAL;
    return -1;
  }
  const long file =
      kernel_call(SYS_perf_event_open, {reinterpret_cast<long>(&attributes), a[1], a[2], a[3], a[4], a[5]});
  if (file < 0) return file;
  if (leader >= 0)
    ++used[leader];
  else
    used[static_cast<int>(file)] = 1;
  return file;
}

}  // namespace

extern "C" long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  if (number == SYS_perf_event_open && mlpwatt::testing::before_opening_event != nullptr)
    mlpwatt::testing::before_opening_event(*reinterpret_cast<const perf_event_attr*>(a[0]),
                                           static_cast<int>(a[1]), static_cast<int>(a[3]));
  const long result = kernel_call(number, a);
  if (number != SYS_perf_event_open || result >= 0 || errno != ENOENT || !pretends("hardware")) return result;
  const auto type = reinterpret_cast<const perf_event_attr*>(a[0])->type;
  if (type != PERF_TYPE_HARDWARE && type != PERF_TYPE_HW_CACHE) return result;
  return open_hardware_event(a);
}

extern "C" pfm_err_t pfm_get_pmu_info(pfm_pmu_t pmu, pfm_pmu_info_t* info) {
  using Function = pfm_err_t (*)(pfm_pmu_t, pfm_pmu_info_t*);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "pfm_get_pmu_info"));
  const pfm_err_t error = real(pmu, info);
  if (error != PFM_SUCCESS || pmu != PFM_PMU_PERF_EVENT || !pretends("software")) return error;
  bool known = false;
  for (int other = PFM_PMU_NONE; other < PFM_PMU_MAX; ++other) {
    pfm_pmu_info_t found{};
    found.size = sizeof found;
    // as PAPI decides: any present core PMU but the architectural one
    known = known || (real(static_cast<pfm_pmu_t>(other), &found) == PFM_SUCCESS && found.is_present &&
                      found.type == PFM_PMU_TYPE_CORE && std::strcmp(found.name, "ix86arch") != 0);
  }
  if (!known) {
    info->is_dfl = 1;
    info->type = PFM_PMU_TYPE_CORE;
    info->num_cntrs = kRegisters;
  }
  return error;
}
#endif
