#pragma once
// PAPI's calls, one class per thing: the library, and one event set. Everything that looks up or adds events
// is serialised here: PAPI 7.0.0 loses additions made by several threads at once.

#include <string>
#include <vector>

namespace mlpwatt {

struct PapiLibrary {
  bool usable = false;    ///< some component can count
  bool hardware = false;  ///< core hardware counters answer
  std::string detail;     ///< what there is, or why there is nothing
  bool not_permitted = false;

  /// Initialises PAPI once per process. Counts kernel mode too, where permitted.
  static const PapiLibrary& get();
  /// Index of the component that owns an event, or -1 with the reason.
  static int component_of(const std::string& event, std::string& reason);
  /// Whether events that happen in the kernel (switches, migrations) may be counted by this user.
  static bool kernel_events_permitted();
};

/// An event set of one component. Not copyable; cleans up after itself.
class PapiSet {
 public:
  PapiSet() = default;
  ~PapiSet();
  PapiSet(const PapiSet&) = delete;
  PapiSet& operator=(const PapiSet&) = delete;

  /// @param attach_to thread id to count, 0 = the calling thread. @return "" or why not.
  std::string open(int component, const std::vector<std::string>& events, int attach_to);
  std::string start();
  /// One count per event.
  std::string stop(std::vector<long long>& counts);

 private:
  void close();
  int set_ = -1;  // PAPI_NULL
  int size_ = 0;
  bool running_ = false;
};

}  // namespace mlpwatt
