#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <iostream>

#include "harness/build_facts.h"
#include "harness/program.h"
#include "kernels/dataset.h"

namespace {

/// Unbound threads may share a core for a whole window. The OpenMP library reads its environment before main,
/// so a measuring command without a wish of the caller's starts itself again with threads on their own cores.
void bind_threads(int argc, char** argv) {
  bool measures = false;
  for (const char* command : {"run", "train", "plan", "campaign"})
    measures = measures || (argc > 1 && std::strcmp(argv[1], command) == 0);
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
  const mlpwatt::BuildFacts& build = mlpwatt::build_facts();
  mlpwatt::set_project_data_dirs({build.source_dir + "/kernels/data", build.prefix + "/share/mlpwatt/data"});
  return mlpwatt::run_program({argv + 1, argv + argc}, std::cout, std::cerr, isatty(STDERR_FILENO) == 1);
}
