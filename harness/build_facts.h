#pragma once
// What this binary was built from and with; goes into every record.
#include <string>

namespace mlpwatt {

struct BuildFacts {
  std::string commit;          ///< git commit, "+modified" when the tree was not clean
  std::string compiler;        ///< name and version
  std::string compiler_flags;  ///< of the harness; micro-kernel files add their instruction set
  std::string source_dir;      ///< where it was built
  std::string prefix;          ///< where `make install` puts it
};
const BuildFacts& build_facts();

}  // namespace mlpwatt
