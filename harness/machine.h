#pragma once
// The machine we run on, as the record and `mlpwatt info` describe it.

#include <string>
#include <vector>

#include "kernels/hierarchy.h"

namespace mlpwatt {

struct Machine {
  std::string host;               ///< of the Slurm node inside a job, else the host name
  std::string processor;          ///< model name
  std::vector<std::string> isas;  ///< those our kernels have files for and this processor can run
  Hierarchy hierarchy;
  std::string system;    ///< distribution, kernel release, architecture
  std::string governor;  ///< frequency governor of processor 0, "" where there is none
};

/// Errors: std::runtime_error when the topology cannot be read.
Machine read_machine();

/// "OMP_PROC_BIND=close OMP_PLACES=cores cpus=0-3"; unset variables are left out.
std::string thread_binding();

}  // namespace mlpwatt
