#pragma once
// A peer in a process of its own: a Python driver (results/peers/_driver.py states the protocol), one JSON
// object a line each way over a pair of pipes.

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mlpwatt {

/// The driver answered {"absent": ...}: the library it drives is not installed.
struct PeerAbsent : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Driver {
 public:
  /// Starts at once. @param command program and arguments @param environment "NAME=value" on top of ours
  /// @param log_path gets the driver's standard error (libraries print there)
  /// Errors: std::runtime_error naming the program when it cannot be started.
  Driver(const std::vector<std::string>& command, const std::vector<std::string>& environment,
         std::string log_path);
  /// Closes its input; kills it with all it started when it has not ended after a second.
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  /// Errors: PeerAbsent; std::runtime_error for {"error": ...}, an answer that is none, a driver that died
  /// (its last words are in the text), or none within `limit_s`.
  nlohmann::json ask(const nlohmann::json& request, double limit_s);
  /// False once it has ended, or owes an answer: the next one could not be told from the late one.
  bool usable() const { return usable_; }

 private:
  std::string read_line(double limit_s);
  std::string last_words() const;
  pid_t pid_ = -1;
  bool usable_ = true;
  int to_ = -1, from_ = -1;
  std::string name_, log_path_, pending_;
};

}  // namespace mlpwatt
