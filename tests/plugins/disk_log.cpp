// Preloaded into the program: notes the order of what it does to files in a folder, as far as a loss of power
// can tell the difference. $MLPWATT_DISK_ROOT is the folder, $MLPWATT_DISK_LOG the file of notes, a line
// each:
//   write PATH | sync PATH | rename PATH PATH | unlink PATH | mkdir PATH | say TEXT (on standard error)

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

namespace {

template <class Function>
Function* next(Function*, const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

std::string path_of(int descriptor) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  return length > 0 ? std::string(path, static_cast<size_t>(length)) : "";
}

std::string absolute(const char* path) {
  char folder[4096];
  return *path == '/' || getcwd(folder, sizeof folder) == nullptr ? path : std::string(folder) + "/" + path;
}

bool watched(const std::string& path) {
  const char* root = getenv("MLPWATT_DISK_ROOT");
  return root != nullptr && path.compare(0, strlen(root), root) == 0;
}

/// One system call a note: several threads may note at once.
void note(const std::string& line) {
  const char* log = getenv("MLPWATT_DISK_LOG");
  if (log == nullptr) return;
  const int file = static_cast<int>(syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0644));
  syscall(SYS_write, file, (line + "\n").data(), line.size() + 1);
  syscall(SYS_close, file);
}

void note_write(int descriptor) {
  if (const std::string path = path_of(descriptor); watched(path)) note("write " + path);
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* data, size_t size) {
  static auto* const real = next(&write, "write");
  note_write(descriptor);
  return real(descriptor, data, size);
}
ssize_t pwrite(int descriptor, const void* data, size_t size, off_t at) {
  static auto* const real = next(&pwrite, "pwrite");
  note_write(descriptor);
  return real(descriptor, data, size, at);
}
ssize_t pwrite64(int descriptor, const void* data, size_t size, off64_t at) {
  static auto* const real = next(&pwrite64, "pwrite64");
  note_write(descriptor);
  return real(descriptor, data, size, at);
}
/// What std::cerr writes with.
size_t fwrite(const void* data, size_t size, size_t count, FILE* file) {
  static auto* const real = next(&fwrite, "fwrite");
  if (file == stderr) {
    std::string text(static_cast<const char*>(data), size * count < 60 ? size * count : 60);
    for (char& c : text)
      if (c == '\n') c = ' ';
    note("say " + text);
  }
  return real(data, size, count, file);
}
int fsync(int descriptor) {
  static auto* const real = next(&fsync, "fsync");
  const int status = real(descriptor);
  if (const std::string path = path_of(descriptor); status == 0 && watched(path)) note("sync " + path);
  return status;
}
int rename(const char* from, const char* to) {
  static auto* const real = next(&rename, "rename");
  if (watched(absolute(to))) note("rename " + absolute(from) + " " + absolute(to));
  return real(from, to);
}
int unlink(const char* path) {
  static auto* const real = next(&unlink, "unlink");
  if (watched(absolute(path))) note("unlink " + absolute(path));
  return real(path);
}
int remove(const char* path) {
  static auto* const real = next(&remove, "remove");
  if (watched(absolute(path))) note("unlink " + absolute(path));
  return real(path);
}
int mkdir(const char* path, mode_t mode) {
  static auto* const real = next(&mkdir, "mkdir");
  if (watched(absolute(path))) note("mkdir " + absolute(path));
  return real(path, mode);
}
}
