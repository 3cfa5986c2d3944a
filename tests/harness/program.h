#pragma once
// Runs the program inside the test and keeps what it wrote.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "harness/program.h"

namespace mlpwatt::testing {

struct Outcome {
  int status = -1;
  std::string out, err;
  nlohmann::json json() const { return nlohmann::json::parse(out); }
  /// Lines of err, which must end in a newline when there are any.
  std::size_t error_lines() const {
    return static_cast<std::size_t>(std::count(err.begin(), err.end(), '\n'));
  }
};

/// The program as a file, for tests that need a process of its own: build/mlpwatt of the build under test;
/// empty when it is not there.
inline std::string program_path() {
  const char* build = std::getenv("MLPWATT_BUILD");
  const std::filesystem::path path = std::filesystem::path(build == nullptr ? "build" : build) / "mlpwatt";
  return std::filesystem::exists(path) ? std::filesystem::absolute(path).string() : "";
}

inline Outcome run(const std::vector<std::string>& args) {
  std::ostringstream out, err;
  Outcome outcome;
  outcome.status = run_program(args, out, err);
  outcome.out = out.str();
  outcome.err = err.str();
  return outcome;
}

}  // namespace mlpwatt::testing
