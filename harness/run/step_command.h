#pragma once
// The command line that runs one benchmark's steps in a process of its own, for counters that need to
// execute the code elsewhere (a simulated cache).

#include <string>
#include <vector>

#include "kernels/kernel.h"

namespace mlpwatt {

/// This very program with `step NAME ...`: one step, one thread, the instruction set a simulator can run.
std::vector<std::string> step_command(const std::string& benchmark, const RunOptions& options);

}  // namespace mlpwatt
