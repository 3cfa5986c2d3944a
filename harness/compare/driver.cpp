#include "harness/compare/driver.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "meters/counters/child_process.h"

namespace mlpwatt {
namespace {

using Steady = std::chrono::steady_clock;

}  // namespace

Driver::Driver(const std::vector<std::string>& command, const std::vector<std::string>& environment,
               std::string log_path)
    : name_(std::filesystem::path(command.back()).stem()), log_path_(std::move(log_path)) {
  // Sockets rather than pipes: writing to a driver that died is then an error of one call, not a signal.
  int to[2], from[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, to) != 0)
    throw std::runtime_error(fmt::format("cannot make a pipe to {}: {}", name_, std::strerror(errno)));
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, from) != 0) {
    const int error = errno;
    close(to[0]), close(to[1]);
    throw std::runtime_error(fmt::format("cannot make a pipe to {}: {}", name_, std::strerror(error)));
  }
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, to[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, from[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, log_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC,
                                   0600);
  const int error = spawn_group(pid_, command, environment, files);
  posix_spawn_file_actions_destroy(&files);
  close(to[1]), close(from[1]);
  to_ = to[0], from_ = from[0];
  if (error != 0) {
    close(to_), close(from_);
    throw std::runtime_error(fmt::format("cannot start {}: {}", command[0], std::strerror(error)));
  }
}

Driver::~Driver() {
  close(to_), close(from_);
  const auto deadline = Steady::now() + std::chrono::seconds(1);
  int status = 0;
  while (waitpid(pid_, &status, WNOHANG) == 0) {
    if (Steady::now() >= deadline) {
      kill(-pid_, SIGKILL);
      while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
      }
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  kill(-pid_, SIGKILL);  // what it left behind in its group
}

std::string Driver::last_words() const {
  std::ifstream log(log_path_);
  std::string last;
  for (std::string line; std::getline(log, line);)
    if (line.find_first_not_of(" \t\r") != std::string::npos) last = line;
  return last.empty() ? "" : ": " + last.substr(0, 300);
}

std::string Driver::read_line(double limit_s) {
  const auto deadline = Steady::now() + std::chrono::duration<double>(limit_s);
  for (;;) {
    if (const std::size_t end = pending_.find('\n'); end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Steady::now()).count();
    pollfd ready{from_, POLLIN, 0};
    const int events =
        left > 0 ? poll(&ready, 1, static_cast<int>(std::min<std::int64_t>(left + 1, 1'000'000))) : 0;
    if (events < 0 && errno == EINTR) continue;
    if (events == 0 && Steady::now() >= deadline)
      throw std::runtime_error(fmt::format("{} did not answer within {:g} s", name_, limit_s));
    if (events == 0) continue;
    char buffer[4096];
    const ssize_t got = read(from_, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) throw std::runtime_error(fmt::format("{} ended before it answered{}", name_, last_words()));
    pending_.append(buffer, static_cast<std::size_t>(got));
  }
}

nlohmann::json Driver::ask(const nlohmann::json& request, double limit_s) {
  if (!usable_) throw std::runtime_error(name_ + " has ended, or owes an answer");
  usable_ = false;  // until a whole answer is there
  const std::string text = request.dump() + "\n";
  for (std::size_t sent = 0; sent < text.size();) {
    const ssize_t n = send(to_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw std::runtime_error(fmt::format("{} has ended{}", name_, last_words()));
    sent += static_cast<std::size_t>(n);
  }
  const std::string line = read_line(limit_s);
  const nlohmann::json answer = nlohmann::json::parse(line, nullptr, false);
  if (!answer.is_object())
    throw std::runtime_error(fmt::format("{} answered no JSON object: {}", name_, line.substr(0, 200)));
  usable_ = true;
  if (answer.contains("absent")) throw PeerAbsent(answer["absent"].get<std::string>());
  if (answer.contains("error"))
    throw std::runtime_error(fmt::format("{}: {}", name_, answer["error"].get<std::string>()));
  return answer;
}

}  // namespace mlpwatt
