#include "harness/build_facts.h"

namespace mlpwatt {

const BuildFacts& build_facts() {
#if defined(__clang__)
  static const std::string compiler = "clang " __clang_version__;
#else
  static const std::string compiler = "gcc " __VERSION__;
#endif
  static const BuildFacts facts{MLPWATT_COMMIT, compiler, MLPWATT_COMPILER_FLAGS, MLPWATT_SOURCE_DIR,
                                MLPWATT_PREFIX};
  return facts;
}

}  // namespace mlpwatt
