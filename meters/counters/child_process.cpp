#include "meters/counters/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

extern char** environ;

namespace mlpwatt {

namespace {

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> result;
  for (const std::string& word : words) result.push_back(const_cast<char*>(word.c_str()));
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> environment_with(const std::vector<std::string>& additions) {
  std::vector<std::string> result = additions;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('=') + 1);
    bool replaced = false;
    for (const std::string& addition : additions) replaced = replaced || addition.rfind(name, 0) == 0;
    if (!replaced) result.push_back(text);
  }
  return result;
}

}  // namespace

int spawn_group(pid_t& pid, const std::vector<std::string>& command,
                const std::vector<std::string>& environment, const posix_spawn_file_actions_t& files) {
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  const std::vector<std::string> variables = environment_with(environment);
  const int error = posix_spawnp(&pid, command.at(0).c_str(), &files, &attributes, pointers(command).data(),
                                 pointers(variables).data());
  posix_spawnattr_destroy(&attributes);
  return error;
}

ChildProcess::ChildProcess(const std::vector<std::string>& command,
                           const std::vector<std::string>& environment, std::string output_path)
    : output_path_(std::move(output_path)) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, output_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                   0600);
  posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
  const int error = spawn_group(pid_, command, environment, files);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) {
    pid_ = -1;
    throw std::runtime_error("cannot start " + command[0] + ": " + std::strerror(error));
  }
}

ChildProcess::~ChildProcess() { kill_group(); }

void ChildProcess::kill_group() {
  if (pid_ <= 0 || ended_) return;
  kill(-pid_, SIGKILL);
  while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
  }
  ended_ = true;
}

bool ChildProcess::wait_until(Clock::time_point deadline) {
  while (!ended_) {
    const pid_t got = waitpid(pid_, &status_, WNOHANG);
    if (got == pid_ || (got < 0 && errno != EINTR)) {
      ended_ = true;
    } else if (Clock::now() >= deadline) {
      late_ = true;
      kill_group();
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  return !late_;
}

std::string ChildProcess::failure() const {
  if (late_) return "did not end within its time limit";
  if (WIFEXITED(status_) && WEXITSTATUS(status_) == 0) return "";
  std::ostringstream text;
  if (WIFSIGNALED(status_))
    text << "died of signal " << WTERMSIG(status_) << " (" << strsignal(WTERMSIG(status_)) << ")";
  else
    text << "exited with status " << WEXITSTATUS(status_);
  std::ifstream output(output_path_);
  std::string line, last;
  while (std::getline(output, line))
    if (line.find_first_not_of(" \t\r=0123456789-") != std::string::npos) last = line;
  if (!last.empty()) text << ": " << last.substr(0, 300);
  return text.str();
}

ScratchFolder::ScratchFolder() {
  const char* base = std::getenv("TMPDIR");
  std::string pattern = std::string(base != nullptr && *base != 0 ? base : "/tmp") + "/mlpwatt.XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr)
    throw std::runtime_error("cannot make a folder " + pattern + ": " + std::strerror(errno) +
                             "; set TMPDIR to one that can be written");
  path_ = pattern;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string find_program(const std::string& name) {
  const auto executable = [](const std::string& path) {
    std::error_code error;
    return std::filesystem::is_regular_file(path, error) && access(path.c_str(), X_OK) == 0;
  };
  if (name.find('/') != std::string::npos) return executable(name) ? name : "";
  const char* path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');)
    if (const std::string file = (folder.empty() ? "." : folder) + "/" + name; executable(file)) return file;
  return "";
}

}  // namespace mlpwatt
