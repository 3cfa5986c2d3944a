#include "meters/counters/threads.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "meters/thread_name.h"

namespace mlpwatt {

std::vector<TaskThread> task_threads() {
  std::vector<TaskThread> threads;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc/self/task", error), end; !error && entry != end;
       entry.increment(error)) {
    TaskThread thread;
    thread.id = std::atoi(entry->path().filename().c_str());
    std::ifstream comm(entry->path() / "comm");
    if (thread.id <= 0 || !std::getline(comm, thread.name)) continue;
    thread.meter = thread.name.rfind(kMeterThreadPrefix, 0) == 0;
    threads.push_back(std::move(thread));
  }
  std::sort(threads.begin(), threads.end(),
            [](const TaskThread& a, const TaskThread& b) { return a.id < b.id; });
  return threads;
}

bool thread_has_ended(int id) {
  const std::string entry = "/proc/self/task/" + std::to_string(id);
  for (int look = 0; look < 10; ++look) {
    if (access(entry.c_str(), F_OK) != 0 && errno == ENOENT) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace mlpwatt
