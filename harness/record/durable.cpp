#include "harness/record/durable.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

namespace mlpwatt {
namespace {

void sync_folder(const std::filesystem::path& folder) {
  const int descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  fsync(descriptor);
  close(descriptor);
}

/// Throws what fits the system's error.
[[noreturn]] void fail(const std::string& path, const std::string& what, int error, std::size_t bytes) {
  const std::string message = file_error(path, what, error);
  if (error == ENOSPC || error == EDQUOT) throw DiskFull(message, static_cast<std::int64_t>(bytes));
  throw RecordError(message);
}

void write_all(int descriptor, const std::string& path, std::string_view bytes) {
  for (std::size_t written = 0; written < bytes.size();) {
    const ssize_t n = write(descriptor, bytes.data() + written, bytes.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, "cannot write " + std::to_string(bytes.size()) + " bytes", errno, bytes.size());
    written += static_cast<std::size_t>(n);
  }
}

}  // namespace

std::string file_error(const std::string& path, const std::string& what, int error) {
  return path + ": " + what + ": " + std::strerror(error);
}

std::string temporary_name(const std::string& path) {
  const std::filesystem::path target(path);
  return (target.parent_path() / ("." + target.filename().string() + ".tmp")).string();
}

void write_durably(const std::string& path, std::string_view bytes) {
  const std::string temporary = temporary_name(path);
  const int descriptor = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) fail(path, "cannot create", errno, bytes.size());
  try {
    write_all(descriptor, path, bytes);
  } catch (...) {
    close(descriptor);
    unlink(temporary.c_str());
    throw;
  }
  close(descriptor);
  put_into_place(path);
}

void put_into_place(const std::string& path) {
  const std::string temporary = temporary_name(path);
  try {
    const int descriptor = open(temporary.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) throw RecordError(file_error(temporary, "cannot open", errno));
    const int synced = fsync(descriptor);
    const int error = errno;
    close(descriptor);
    if (synced != 0) fail(path, "cannot sync", error, 0);
    if (rename(temporary.c_str(), path.c_str()) != 0) fail(path, "cannot rename into place", errno, 0);
  } catch (...) {
    unlink(temporary.c_str());
    throw;
  }
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  sync_folder(folder.empty() ? "." : folder);
}

void make_folder_durably(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path path = fs::absolute(folder).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "folder/"
  std::vector<fs::path> missing;
  for (fs::path each = path; !fs::exists(each, error); each = each.parent_path()) missing.push_back(each);
  fs::create_directories(path, error);
  if (error) throw RecordError(folder + ": cannot make the folder: " + error.message());
  for (const fs::path& made : missing) sync_folder(made.parent_path());
}

FileLock::FileLock(std::string path, const std::string& guarded, const std::string& busy)
    : path_(std::move(path)) {
  for (;;) {
    descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) throw RecordError(file_error(guarded, "cannot write in its folder", errno));
    if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      close(descriptor_);
      if (error == EWOULDBLOCK) throw RecordError(guarded + ": " + busy);
      throw RecordError(file_error(guarded, "cannot lock", error));
    }
    // The one before us may have unlinked the file between our open and our lock.
    struct stat mine {
    }, named{};
    if (fstat(descriptor_, &mine) == 0 && stat(path_.c_str(), &named) == 0 && mine.st_ino == named.st_ino)
      return;
    close(descriptor_);
  }
}

FileLock::~FileLock() {
  // Unlinked while still locked: nobody can hold the lock of a file that is about to vanish.
  unlink(path_.c_str());
  close(descriptor_);
}

}  // namespace mlpwatt
