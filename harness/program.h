#pragma once
// The one program, `mlpwatt`: commands that register themselves, parsing through CLI11, and errors
// reduced to one line on `err` and an exit status (2 = usage, 1 = failure).
//
// Adding a command: write one file in harness/commands/ that ends in
//     const CommandRegistration registration{"name", "one line of summary", declare};

#include <functional>
#include <iosfwd>
#include <stdexcept>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace mlpwatt {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailure = 1;
inline constexpr int kExitUsage = 2;

/// What a person typed cannot be done as typed. Exit status 2; what() is one line naming the value
/// and the remedy.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Where a command writes, and how it was called.
struct Context {
  std::ostream& out;
  std::ostream& err;
  std::vector<std::string> args;  ///< without the program's name
  bool terminal = false;          ///< err is a terminal: progress may redraw its line
  /// As a shell would take it again, e.g. "mlpwatt run --quick", after the variables of the environment that
  /// decide what it does.
  std::string command_line() const;
};

/// Runs after parsing; returns the exit status. May throw UsageError, std::invalid_argument (both
/// exit 2) or any other std::exception (exit 1).
using Action = std::function<int(Context&)>;

struct Command {
  std::string name;
  std::string summary;
  std::function<Action(CLI::App&)> declare;  ///< adds the options, returns what to do with them
};

/// Every registered command, ordered by name.
const std::vector<Command>& commands();

struct CommandRegistration {
  CommandRegistration(std::string name, std::string summary, std::function<Action(CLI::App&)> declare);
};

/// The whole program. @param args without the program's name. Never throws, never exits.
int run_program(const std::vector<std::string>& args, std::ostream& out, std::ostream& err,
                bool terminal = false);

}  // namespace mlpwatt
