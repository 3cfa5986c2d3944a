#pragma once
// Runs a command line and keeps what it said.

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace mlpwatt::testing {

struct Shell {
  int status;       ///< of its exit; -1 when it could not be started, 128 when a signal ended it
  std::string out;  ///< errors included, as a terminal would show them
};

inline Shell shell(const std::string& command) {
  Shell result{-1, ""};
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 4096> buffer;
  for (std::size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    result.out.append(buffer.data(), n);
  const int status = pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  return result;
}

}  // namespace mlpwatt::testing
