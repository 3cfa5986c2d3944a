// The register report of every kernel of gpu/, as ptxas left it beside the objects: none spills, on any
// architecture it was compiled for, and none has its warpgroup products serialised. Skipped where there is no
// nvcc.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace mlpwatt {
namespace {

struct KernelReport {
  std::string kernel, architecture;
  int spill_bytes = 0, stack_bytes = 0, registers = 0;
};

/// What `nvcc -Xptxas -v` says, one entry for each kernel and architecture.
std::vector<KernelReport> read_report(const std::string& text) {
  static const std::regex compiling("Compiling entry function '([^']+)' for '([^']+)'");
  static const std::regex frame(
      "(\\d+) bytes stack frame, (\\d+) bytes spill stores, (\\d+) bytes spill loads");
  static const std::regex used("Used (\\d+) registers");
  std::vector<KernelReport> kernels;
  std::istringstream lines(text);
  bool in_kernel = false;
  for (std::string line; std::getline(lines, line);) {
    std::smatch found;
    if (std::regex_search(line, found, compiling)) {
      kernels.push_back({found[1], found[2]});
      in_kernel = true;
    } else if (in_kernel && std::regex_search(line, found, frame)) {
      kernels.back().stack_bytes = std::stoi(found[1]);
      kernels.back().spill_bytes = std::stoi(found[2]) + std::stoi(found[3]);
    } else if (in_kernel && std::regex_search(line, found, used)) {
      kernels.back().registers = std::stoi(found[1]);
      in_kernel = false;
    }
  }
  return kernels;
}

TEST(GpuRegisters, TheReportIsRead) {
  const std::vector<KernelReport> kernels = read_report(
      "ptxas info    : 0 bytes gmem\n"
      "ptxas info    : Compiling entry function '_Z1av' for 'sm_90a'\n"
      "ptxas info    : Function properties for _Z1av\n"
      "    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads\n"
      "ptxas info    : Used 128 registers, used 1 barriers\n"
      "ptxas info    : Compiling entry function '_Z1bv' for 'sm_80'\n"
      "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
      "ptxas info    : Used 40 registers\n");
  ASSERT_EQ(kernels.size(), 2u);
  EXPECT_EQ(kernels[0].spill_bytes, 20);
  EXPECT_EQ(kernels[0].registers, 128);
  EXPECT_EQ(kernels[0].architecture, "sm_90a");
  EXPECT_EQ(kernels[1].spill_bytes, 0);
  EXPECT_EQ(kernels[1].kernel, "_Z1bv");
}

TEST(GpuRegisters, NoKernelSpills) {
  const char* build = std::getenv("MLPWATT_BUILD");
  const std::filesystem::path folder = std::filesystem::path(build != nullptr ? build : "build") / "gpu";
  std::size_t kernels = 0, hopper = 0, warpgroup = 0;
  if (std::filesystem::exists(folder))
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
      if (entry.path().extension() != ".ptxas") continue;
      std::ifstream file(entry.path());
      std::ostringstream text;
      text << file.rdbuf();
      EXPECT_EQ(text.str().find("wgmma.mma_async instructions are serialized"), std::string::npos)
          << entry.path() << ": each product waits for the one before";
      for (const KernelReport& kernel : read_report(text.str())) {
        ++kernels;
        EXPECT_EQ(kernel.spill_bytes, 0)
            << kernel.kernel << " for " << kernel.architecture << " in " << entry.path();
        EXPECT_GT(kernel.registers, 0) << kernel.kernel;
        hopper += kernel.architecture == "sm_90a";
        // sums of 64 x 128 and more products in the registers of 128 threads
        warpgroup += kernel.architecture == "sm_90a" && kernel.registers >= 96 &&
                     kernel.kernel.find("wgmma_kernel") != std::string::npos;
      }
    }
  if (kernels == 0) GTEST_SKIP() << "no nvcc: gpu/ was not compiled for a device";
  if (hopper > 0) {
    EXPECT_GT(warpgroup, 0) << "sm_90a without its warpgroup kernels: their bodies are empty";
  }
}

}  // namespace
}  // namespace mlpwatt
