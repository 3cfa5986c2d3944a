#pragma once
// Runs the program inside the test and keeps what it wrote.

#include <algorithm>
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

inline Outcome run(const std::vector<std::string>& args) {
  std::ostringstream out, err;
  Outcome outcome;
  outcome.status = run_program(args, out, err);
  outcome.out = out.str();
  outcome.err = err.str();
  return outcome;
}

}  // namespace mlpwatt::testing
