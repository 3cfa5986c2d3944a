// The test program's own pread() comes before the C library's: the meters' code is the one that ships.

#include "tests/support/hanging_files.h"

#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <mutex>
#include <thread>

namespace mlpwatt::testing {
namespace {

std::atomic<bool> hanging{false};
std::mutex mutex;
std::string hanging_folder;  // under mutex

bool hangs(int descriptor) {
  if (!hanging) return false;
  char path[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t n = readlink(link.c_str(), path, sizeof path);
  const std::lock_guard lock(mutex);
  return n > 0 && hanging && std::string(path, static_cast<std::size_t>(n)).starts_with(hanging_folder);
}

void wait_while_hanging(int descriptor) {
  if (!hangs(descriptor)) return;
  while (hanging) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace

void HangingFiles::begin(const std::string& folder) {
  const std::lock_guard lock(mutex);
  hanging_folder = folder;
  hanging = begun_ = true;
}

bool HangingFiles::end() {
  const bool begun = begun_.exchange(false);
  if (begun) hanging = false;
  return begun;
}

}  // namespace mlpwatt::testing

extern "C" ssize_t pread(int descriptor, void* buffer, size_t bytes, off_t offset) {
  mlpwatt::testing::wait_while_hanging(descriptor);
  return syscall(SYS_pread64, descriptor, buffer, bytes, offset);
}
