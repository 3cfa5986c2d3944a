// A device that is too small or lost, from the runtime's call to what the commands say, print and record. On
// the emulated runtime, which can be told to fail; the words are gpu/failure.cu's, as on a device.

#include "gpu/runtime.h"

#if defined(MLPWATT_EMULATED)

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "harness/record/record_file.h"
#include "tests/emulation/faults.h"
#include "tests/gpu/usable.h"
#include "tests/harness/program.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::gpu {
namespace {

using namespace mlpwatt::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

const CudaStatus kLaunchFailure{kCudaLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"};

/// A device that can be used, and goes back to being whole at the end.
class GpuLoss : public ::testing::Test {
 protected:
  ~GpuLoss() override {
    emulation::faults() = {};
    forget_loss();
  }
  static void lose(const std::string& doing, int after = 0) {
    emulation::faults().fault = emulation::Fault{doing, kLaunchFailure, after};
  }
  Outcome run_rows(const std::string& filter) {
    return run({"run", "--filter", filter, "--window-s", "0.01", "--max-warm-up-s", "0.01", "--peaks-s", "0",
                "--meters", "none", "--counters", "none", "--out", out()});
  }
  Outcome train_on_gpu() {
    return run({"train",  "--backend",        "gpu",       "--algorithm", "graph",     "--dataset",
                "banana", "--dataset-source", "synthetic", "--shape",     "rectangle", "--size",
                "32",     "--depth",          "2",         "--epochs",    "2",         "--batch",
                "2048",   "--meters",         "none",      "--out",       out()});
  }
  std::string out() const { return folder_.path("x.h5"); }
  std::vector<Row> rows() const { return read_file(out()).rows(runs_table()); }
  static std::string words_of(const std::function<void()>& act) {
    try {
      act();
    } catch (const DeviceError& error) {
      return error.what();
    }
    return "";
  }

 private:
  TemporaryFolder folder_;
  Usable usable_;
};

constexpr const char* kGpuRows = "gpu/gemm/fp32/nn/256x(512x784|4096x4096)";
constexpr const char* kCpuRow = "cpu/fma/generic";

TEST_F(GpuLoss, AnAllocationSaysWhatWasAskedForAndWhatIsFree) {
  emulation::faults().memory_bytes = static_cast<std::int64_t>(emulation::device_bytes_in_use()) + (1 << 20);
  const Buffer<char> kept(1 << 19);
  EXPECT_THAT(words_of([] { Buffer<float> large(1 << 18); }),
              AllOf(StartsWith("out of device memory: asked for 1048576 bytes, 524288 of "),
                    HasSubstr("nvidia-smi lists who holds it")));
  EXPECT_EQ(why_unavailable(), "") << "too little memory for one is no loss of the device";
  const Buffer<char> small(1 << 18);
}

TEST_F(GpuLoss, WhatFailsOnceIsNoLossAndWhatLastsIs) {
  emulation::faults().fault =
      emulation::Fault{"launching a kernel",
                       {kCudaCooperativeLaunchTooLarge, "cudaErrorCooperativeLaunchTooLarge", "too many"}};
  const auto launch_one = [] {
    launch(
        {.block = 32}, +[](int) {}, 1);
  };
  EXPECT_THAT(words_of(launch_one), HasSubstr("more blocks than the device holds"));
  EXPECT_EQ(words_of(launch_one), "");
  EXPECT_EQ(why_unavailable(), "");
  lose("launching a kernel");
  EXPECT_THAT(words_of(launch_one), StartsWith("launching a kernel failed: unspecified launch failure"));
  EXPECT_THAT(why_unavailable(), StartsWith("the device was lost earlier: launching a kernel failed"));
  for (const auto& act :
       {std::function<void()>([] { Buffer<int> x(1); }), {[] { synchronise(); }}, {[] { Stream stream; }}})
    EXPECT_THAT(words_of(act), AllOf(HasSubstr("lost"), HasSubstr("start again")));
}

TEST_F(GpuLoss, TooLittleMemoryFailsItsRowsAndTheProcessorsGoOn) {
  emulation::faults().memory_bytes = static_cast<std::int64_t>(emulation::device_bytes_in_use()) + 100'000;
  const Outcome outcome = run_rows(std::string("^(") + kGpuRows + "|" + kCpuRow + ")$");
  EXPECT_EQ(outcome.status, 1);
  ASSERT_EQ(rows().size(), 3u) << outcome.err;
  for (const Row& row : rows()) {
    if (row.text("backend") == "cpu") {
      EXPECT_EQ(row.text("status"), "ok") << row.text("reason");
      EXPECT_GT(row.real("step_s"), 0);
      continue;
    }
    EXPECT_EQ(row.text("status"), "error");
    EXPECT_THAT(row.text("reason"), AllOf(StartsWith("out of device memory: asked for "),
                                          HasSubstr("choose a smaller working set")));
    EXPECT_TRUE(std::isnan(row.real("step_s")));
    EXPECT_THAT(outcome.out + outcome.err,
                HasSubstr("error: " + row.text("name") + ": out of device memory"));
  }
}

TEST_F(GpuLoss, ALostDeviceFailsOneRowTheNextSayItWasLostAndTheProcessorsGoOn) {
  lose("waiting for the device");
  const Outcome outcome = run_rows(std::string("^(") + kGpuRows + "|" + kCpuRow + ")$");
  EXPECT_EQ(outcome.status, 1);
  ASSERT_EQ(rows().size(), 3u) << outcome.err;
  int failed = 0, refused = 0;
  for (const Row& row : rows()) {  // in the order they ran in
    SCOPED_TRACE(row.text("name") + ": " + row.text("reason"));
    if (row.text("backend") == "cpu") {
      EXPECT_EQ(row.text("status"), "ok");
    } else if (failed == 0) {
      ++failed;
      EXPECT_EQ(row.text("status"), "error");
      EXPECT_THAT(row.text("reason"),
                  AllOf(StartsWith("waiting for the device failed: unspecified launch failure "
                                   "(cudaErrorLaunchFailure); "),
                        HasSubstr("start again")));
    } else {
      ++refused;
      EXPECT_EQ(row.text("status"), "unavailable");
      EXPECT_THAT(row.text("reason"),
                  StartsWith("the device was lost earlier: waiting for the device failed"));
    }
  }
  EXPECT_EQ(failed, 1);
  EXPECT_EQ(refused, 1);
  EXPECT_THAT(outcome.out + outcome.err, HasSubstr("unavailable here (1): the device was lost earlier"));
}

TEST_F(GpuLoss, TrainingOnADeviceThatIsTooSmallIsOneLineAndTheFileIsAsItWas) {
  ASSERT_EQ(run_rows(std::string("^") + kCpuRow + "$").status, 0);
  const auto before = std::filesystem::last_write_time(out());
  emulation::faults().memory_bytes = static_cast<std::int64_t>(emulation::device_bytes_in_use()) + 1000;
  const Outcome outcome = train_on_gpu();
  EXPECT_EQ(outcome.status, 1);
  EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
  EXPECT_THAT(outcome.err, StartsWith("mlpwatt: out of device memory: asked for "));
  EXPECT_EQ(std::filesystem::last_write_time(out()), before);
  EXPECT_EQ(rows().size(), 1u);
}

TEST_F(GpuLoss, TrainingOnADeviceThatIsLostIsOneLineAndKeepsTheCurveSoFar) {
  ASSERT_EQ(run_rows(std::string("^") + kCpuRow + "$").status, 0);
  // wherever it happens: at set-up, in the check, in an epoch
  bool in_an_epoch = false;
  for (int after = 0; after < 400 && !in_an_epoch; after += after < 20 ? 19 : 10) {
    SCOPED_TRACE("after " + std::to_string(after) + " waits");
    const std::size_t rows_before = rows().size();
    lose("waiting for the device", after);
    const Outcome outcome = train_on_gpu();
    forget_loss();
    if (outcome.status == 0) break;
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(outcome.error_lines(), 1u) << outcome.err;
    EXPECT_THAT(outcome.err, AllOf(StartsWith("mlpwatt: "), HasSubstr("unspecified launch failure"),
                                   HasSubstr("start again")));
    const std::vector<Row> all = rows();
    EXPECT_EQ(all.front().text("status"), "ok") << "what was in the file before";
    if (all.size() == rows_before) continue;
    EXPECT_EQ(all.back().text("status"), "error");
    EXPECT_THAT(all.back().text("reason"), HasSubstr("unspecified launch failure"));
    in_an_epoch = !read_file(out()).rows(curves_table()).empty();
  }
  EXPECT_TRUE(in_an_epoch);
}

}  // namespace
}  // namespace mlpwatt::gpu

#endif
