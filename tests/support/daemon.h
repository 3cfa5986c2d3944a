#pragma once
// A server program started by a test and stopped with it.

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "meters/counters/child_process.h"

namespace mlpwatt::testing {

/// Its standard input stays open and silent until it is stopped (some take the end of input as an order to
/// quit).
class Daemon {
 public:
  Daemon(const std::vector<std::string>& command, const std::vector<std::string>& environment,
         const std::string& log) {
    int input[2];
    if (pipe2(input, O_CLOEXEC) != 0) return;
    input_ = input[1];
    pid_ = fork();
    if (pid_ == 0) {
      dup2(input[0], 0);
      const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      dup2(out, 1);
      dup2(out, 2);
      for (const std::string& each : environment) putenv(const_cast<char*>(each.c_str()));
      std::vector<char*> words;
      for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
      words.push_back(nullptr);
      execvp(words[0], words.data());
      _exit(127);
    }
    close(input[0]);
  }
  ~Daemon() { stop(); }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  /// Kills it and waits for its end.
  void stop() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    close(input_);
    pid_ = -1;
  }
  /// Freezes it: it keeps its port and answers nothing.
  void freeze() const { kill(pid_, SIGSTOP); }
  void thaw() const { kill(pid_, SIGCONT); }
  bool runs() const { return pid_ > 0 && waitpid(pid_, nullptr, WNOHANG) == 0; }

 private:
  pid_t pid_ = -1;
  int input_ = -1;
};

/// Where a server program is found, also outside the PATH of ordinary users; "" = not installed.
inline std::string find_server(const std::string& name) {
  for (const std::string& path : {name, "/usr/sbin/" + name, "/sbin/" + name, "/usr/bin/" + name})
    if (const std::string found = find_program(path); !found.empty()) return found;
  return "";
}

/// A port of 127.0.0.1 that nobody uses just now.
inline int free_port(int type) {
  const int probe = socket(AF_INET, type | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  bind(probe, reinterpret_cast<sockaddr*>(&address), length);
  getsockname(probe, reinterpret_cast<sockaddr*>(&address), &length);
  close(probe);
  return ntohs(address.sin_port);
}

}  // namespace mlpwatt::testing
