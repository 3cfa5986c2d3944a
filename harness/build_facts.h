#pragma once
// What this binary was built from and with; goes into every record.
#include <string>

namespace mlpwatt {

struct BuildFacts {
  std::string commit;          ///< git commit, "+modified" when the tree was not clean
  std::string compiler;        ///< name and version
  std::string compiler_flags;  ///< of the harness
  std::string kernel_flags;    ///< of the micro-kernel files, besides: "avx512: -O3 ...; avx2: ...; "
  std::string nvcc;            ///< "nvcc 13.0.88 -std=c++20 ..."; "" when gpu/ is not in this program
  std::string source_dir;      ///< where it was built
  std::string prefix;          ///< where `make install` puts it
};
const BuildFacts& build_facts();

/// What the kernels of an instruction set ("avx2", a GPU's "sm_90") were compiled with; compiler_flags where
/// it has none of its own.
std::string compiler_flags_of(const std::string& isa);

}  // namespace mlpwatt
