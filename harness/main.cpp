#include <unistd.h>

#include <iostream>

#include "harness/program.h"

int main(int argc, char** argv) {
  return mlpwatt::run_program({argv + 1, argv + argc}, std::cout, std::cerr, isatty(STDERR_FILENO) == 1);
}
