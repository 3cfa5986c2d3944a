#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <iostream>

#include "harness/program.h"

namespace {

/// Unbound threads may share a core for a whole window. The OpenMP library reads its environment before main,
/// so a measuring command without a wish of the caller's starts itself again with threads on their own cores.
void bind_threads(int argc, char** argv) {
  const bool measures = argc > 1 && (std::strcmp(argv[1], "run") == 0 || std::strcmp(argv[1], "train") == 0);
  if (!measures) return;
  for (const char* name : {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"})
    if (std::getenv(name) != nullptr) return;
  setenv("OMP_PROC_BIND", "close", 1);
  setenv("OMP_PLACES", "cores", 1);
  execv("/proc/self/exe", argv);
  // Where that is impossible, the record's binding column says what was in force.
  unsetenv("OMP_PROC_BIND");
  unsetenv("OMP_PLACES");
}

}  // namespace

int main(int argc, char** argv) {
  bind_threads(argc, argv);
  return mlpwatt::run_program({argv + 1, argv + argc}, std::cout, std::cerr, isatty(STDERR_FILENO) == 1);
}
