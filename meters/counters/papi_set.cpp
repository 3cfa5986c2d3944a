#include "meters/counters/papi_set.h"

#include <papi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <mutex>
#include <sstream>

namespace mlpwatt {

static_assert(PAPI_NULL == -1);

namespace {

std::mutex& events_mutex() {
  static std::mutex mutex;
  return mutex;
}

unsigned long thread_id() { return static_cast<unsigned long>(syscall(SYS_gettid)); }

std::string papi_error(const std::string& what, int code) {
  const char* text = PAPI_strerror(code);
  return what + ": " + (text != nullptr ? text : "PAPI error") + " (" + std::to_string(code) + ")";
}

/// Of a call begun with errno 0. PAPI says little of what the system refused it ("too many events" where no
/// file is left), and leaves errno as it was.
std::string system_error(const std::string& what, int code) {
  const int refused = code == PAPI_ESYS || code == PAPI_ECOUNT ? errno : 0;
  return papi_error(what, code) + (refused != 0 ? std::string(", ") + std::strerror(refused) : "");
}

PapiLibrary initialise() {
  PapiLibrary library;
  const int version = PAPI_library_init(PAPI_VER_CURRENT);
  if (version != PAPI_VER_CURRENT) {
    library.detail = "PAPI's library and header differ in version";
    return library;
  }
  // Thread ids are the kernel's, so that attaching to a thread and counting in it mean the same thread.
  PAPI_thread_init(thread_id);
  // The default (user mode) would read 0 for switches and migrations, which happen in the kernel.
  PAPI_set_domain(PAPI_DOM_ALL);
  std::string active, disabled;
  for (int i = 0; i < PAPI_num_components(); ++i) {
    const PAPI_component_info_t* info = PAPI_get_component_info(i);
    const std::string name = info->name;
    if (name == "sysdetect") continue;  // describes the machine, counts nothing
    if (info->disabled == 0) {
      library.usable = true;
      active += (active.empty() ? "" : ", ") + name;
    } else if (name.rfind("perf_event", 0) == 0) {
      disabled += (disabled.empty() ? "" : "; ") + name + ": " + info->disabled_reason;
    }
  }
  std::ostringstream text;
  text << "PAPI " << PAPI_VERSION_MAJOR(version) << "." << PAPI_VERSION_MINOR(version) << "."
       << PAPI_VERSION_REVISION(version);
  for (const char* probe : {"PAPI_TOT_CYC", "perf::INSTRUCTIONS"}) {
    int set = PAPI_NULL;
    if (library.hardware || PAPI_create_eventset(&set) != PAPI_OK) continue;
    int code = PAPI_add_named_event(set, probe);
    if (code == PAPI_OK) code = PAPI_start(set);
    long long count = 0;
    if (code == PAPI_OK && PAPI_stop(set, &count) == PAPI_OK) library.hardware = count > 0;
    library.not_permitted = library.not_permitted || code == PAPI_EPERM;
    PAPI_cleanup_eventset(set);
    PAPI_destroy_eventset(&set);
  }
  if (library.hardware)
    text << ", hardware counters of " << PAPI_num_hwctrs() << " registers";
  else
    text << ", no hardware counters";
  if (!active.empty()) text << "; active: " << active;
  if (!disabled.empty()) text << "; " << disabled;
  library.detail = text.str();
  return library;
}

}  // namespace

const PapiLibrary& PapiLibrary::get() {
  static const PapiLibrary library = initialise();
  return library;
}

int PapiLibrary::component_of(const std::string& event, std::string& reason) {
  get();
  const std::lock_guard<std::mutex> lock(events_mutex());
  int code = 0;
  if (const int error = PAPI_event_name_to_code(event.c_str(), &code); error != PAPI_OK) {
    reason = papi_error(event, error);
    return -1;
  }
  // Presets are known by name on every machine; whether this one has them is another question.
  if (const int error = PAPI_query_event(code); error != PAPI_OK) {
    reason = papi_error(event, error);
    return -1;
  }
  const int component = PAPI_get_event_component(code);
  if (component < 0) reason = papi_error(event, component);
  return component;
}

bool PapiLibrary::kernel_events_permitted() {
  int paranoid = 2;
  std::ifstream("/proc/sys/kernel/perf_event_paranoid") >> paranoid;
  if (paranoid < 2) return true;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("CapEff:", 0) != 0) continue;
    const std::uint64_t effective = std::stoull(line.substr(7), nullptr, 16);
    constexpr std::uint64_t kSysAdmin = std::uint64_t{1} << 21, kPerfmon = std::uint64_t{1} << 38;
    return (effective & (kSysAdmin | kPerfmon)) != 0;
  }
  return false;
}

PapiSet::~PapiSet() { close(); }

void PapiSet::close() {
  if (set_ == PAPI_NULL) return;
  const std::lock_guard<std::mutex> lock(events_mutex());
  if (running_) PAPI_stop(set_, nullptr);
  PAPI_cleanup_eventset(set_);
  PAPI_destroy_eventset(&set_);
  set_ = PAPI_NULL;
  running_ = false;
}

std::string PapiSet::open(int component, const std::vector<std::string>& events, int attach_to) {
  PapiLibrary::get();
  close();
  const std::lock_guard<std::mutex> lock(events_mutex());
  errno = 0;
  if (int error = PAPI_create_eventset(&set_); error != PAPI_OK) return papi_error("event set", error);
  if (int error = PAPI_assign_eventset_component(set_, component); error != PAPI_OK)
    return papi_error("component", error);
  if (attach_to != 0)
    if (int error = PAPI_attach(set_, static_cast<unsigned long>(attach_to)); error != PAPI_OK)
      return system_error("attaching to thread " + std::to_string(attach_to), error);
  for (const std::string& event : events)
    if (int error = PAPI_add_named_event(set_, event.c_str()); error != PAPI_OK)
      return system_error(event, error);
  size_ = static_cast<int>(events.size());
  return "";
}

std::string PapiSet::start() {
  errno = 0;
  if (int error = PAPI_start(set_); error != PAPI_OK) return system_error("starting", error);
  running_ = true;
  return "";
}

std::string PapiSet::stop(std::vector<long long>& counts) {
  counts.assign(static_cast<std::size_t>(size_), 0);
  running_ = false;
  if (int error = PAPI_stop(set_, counts.data()); error != PAPI_OK) return papi_error("stopping", error);
  return "";
}

}  // namespace mlpwatt
