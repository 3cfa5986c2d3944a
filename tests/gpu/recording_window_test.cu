// The windows of make record-gpu are long enough for NVML's joules: on the emulated device, whose draw the
// stand-in of NVIDIA's library plays.

#include "gpu/runtime.h"

#if defined(MLPWATT_EMULATED)

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>
#include <thread>

#include "harness/record/record_file.h"
#include "tests/gpu/usable.h"
#include "tests/harness/program.h"
#include "tests/support/nvml_fixture.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::gpu {
namespace {

using namespace mlpwatt::testing;

/// 300 W give or take, renewed every tenth of a second, as NVML does.
class RenewedPower {
 public:
  explicit RenewedPower(FakeGpu& gpu)
      : thread_([this, &gpu] {
          for (int i = 0; !stop_; ++i) {
            const double watts = 300 + i % 7;
            gpu.average_w = gpu.instant_w = gpu.usage_w = watts;
            gpu.energy_j = gpu.energy_j + 0.1 * watts;
            std::this_thread::sleep_for(std::chrono::milliseconds(100));
          }
        }) {}
  ~RenewedPower() {
    stop_ = true;
    thread_.join();
  }
  RenewedPower(const RenewedPower&) = delete;
  RenewedPower& operator=(const RenewedPower&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

/// What the energies of the rows say of themselves.
std::vector<std::string> qualities(const std::string& window_s) {
  const TemporaryFolder folder;
  const Usable usable;
  NvmlFixture nvml;
  FakeGpu& gpu = nvml.add(device().uuid.c_str(), 300);
  const RenewedPower power(gpu);
  const std::string config = folder.path("meters.json"), out = folder.path("x.h5");
  std::ofstream(config) << nlohmann::json{{"nvml", {{"library", nvml.path}}}};
  const Outcome outcome =
      run({"run", "--filter", "^gpu/gemm/fp32/(nn/256x5x13|nt/256x13x5)$", "--window-s", window_s,
           "--max-window-s", window_s, "--peaks-s", "0", "--idle-s", "0", "--meters", "nvml",
           "--meter-config", config, "--counters", "none", "--out", out});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  std::vector<std::string> found;
  const Contents contents = read_file(out);
  for (const Row& row : contents.rows(runs_table())) {
    EXPECT_GT(row.real("energy_j_measured"), 0);
    found.push_back(row.text("energy_quality"));
  }
  return found;
}

TEST(GpuRecordingWindow, IsLongEnoughForNvml) {
  std::stringstream script;
  script << std::ifstream("harness/setup/record_gpu.sh").rdbuf();
  const std::string text = script.str();
  std::smatch window;
  ASSERT_TRUE(std::regex_search(text, window, std::regex("\\n +window_s=([0-9.]+)\\nelse")));
  EXPECT_EQ(qualities(window[1]), (std::vector<std::string>(2, "ok")));
}

TEST(GpuRecordingWindow, AShorterOneWouldBeFlagged) {
  EXPECT_EQ(qualities("0.5"), (std::vector<std::string>(2, "under_sampled")));
}

}  // namespace
}  // namespace mlpwatt::gpu

#endif
