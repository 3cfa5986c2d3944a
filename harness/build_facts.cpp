#include "harness/build_facts.h"

namespace mlpwatt {

const BuildFacts& build_facts() {
#if defined(__clang__)
  static const std::string compiler = "clang " __clang_version__;
#else
  static const std::string compiler = "gcc " __VERSION__;
#endif
  static const BuildFacts facts{MLPWATT_COMMIT,       compiler,     MLPWATT_COMPILER_FLAGS,
                                MLPWATT_KERNEL_FLAGS, MLPWATT_NVCC, MLPWATT_SOURCE_DIR,
                                MLPWATT_PREFIX};
  return facts;
}

std::string compiler_flags_of(const std::string& isa) {
  const BuildFacts& build = build_facts();
  if (isa.starts_with("sm_") && !build.nvcc.empty()) return build.compiler_flags + "; kernels: " + build.nvcc;
  const std::string key = isa + ": ";
  const std::string all = "; " + build.kernel_flags;
  const std::size_t at = all.find("; " + key);
  if (isa.empty() || at == std::string::npos) return build.compiler_flags;
  const std::size_t begin = at + 2 + key.size();
  return build.compiler_flags + "; kernels: " + all.substr(begin, all.find(';', begin) - begin);
}

}  // namespace mlpwatt
