// GPU counters: layouts and metric names against NVIDIA's own headers and library where they are installed
// (no GPU is needed for either), the order of calls, passes, arithmetic and errors over a stand-in of the
// library.

#include "meters/counters/cupti.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <set>

#include "tests/plugins/fake_cupti.h"
#include "tests/support/nvml_fixture.h"
#include "tests/support/temporary_folder.h"

#if __has_include(<cupti_profiler_host.h>) && __has_include(<cupti_range_profiler.h>)
#define MLPWATT_CUPTI_HEADERS 1
#include <cupti_profiler_host.h>
#include <cupti_range_profiler.h>
#include <cupti_target.h>
#endif

namespace mlpwatt {
namespace {

using namespace mlpwatt::testing;
using State = CounterStatus::State;

#ifdef MLPWATT_CUPTI_HEADERS
#define SAME_FIELD(ours, field, theirs, their_field)                                            \
  static_assert(offsetof(ours, field) == offsetof(theirs, their_field) &&                       \
                    sizeof(((ours*)nullptr)->field) == sizeof(((theirs*)nullptr)->their_field), \
                #ours "::" #field)
#define SAME_SIZE(ours, theirs) static_assert(cupti_size<ours> == theirs##_STRUCT_SIZE, #ours)
SAME_SIZE(CuptiInitialize, CUpti_Profiler_Initialize_Params);
SAME_SIZE(CuptiChipName, CUpti_Device_GetChipName_Params);
SAME_FIELD(CuptiChipName, chip, CUpti_Device_GetChipName_Params, pChipName);
SAME_SIZE(CuptiAvailability, CUpti_Profiler_GetCounterAvailability_Params);
SAME_FIELD(CuptiAvailability, image_size, CUpti_Profiler_GetCounterAvailability_Params,
           counterAvailabilityImageSize);
SAME_SIZE(CuptiHostChips, CUpti_Profiler_Host_GetSupportedChips_Params);
SAME_FIELD(CuptiHostChips, names, CUpti_Profiler_Host_GetSupportedChips_Params, ppChipNames);
SAME_SIZE(CuptiHostInitialize, CUpti_Profiler_Host_Initialize_Params);
SAME_FIELD(CuptiHostInitialize, profiler_type, CUpti_Profiler_Host_Initialize_Params, profilerType);
SAME_FIELD(CuptiHostInitialize, chip, CUpti_Profiler_Host_Initialize_Params, pChipName);
SAME_FIELD(CuptiHostInitialize, host, CUpti_Profiler_Host_Initialize_Params, pHostObject);
SAME_SIZE(CuptiHostDeinitialize, CUpti_Profiler_Host_Deinitialize_Params);
SAME_SIZE(CuptiHostAddMetrics, CUpti_Profiler_Host_ConfigAddMetrics_Params);
SAME_FIELD(CuptiHostAddMetrics, names, CUpti_Profiler_Host_ConfigAddMetrics_Params, ppMetricNames);
SAME_SIZE(CuptiHostImageSize, CUpti_Profiler_Host_GetConfigImageSize_Params);
SAME_SIZE(CuptiHostImage, CUpti_Profiler_Host_GetConfigImage_Params);
SAME_FIELD(CuptiHostImage, image, CUpti_Profiler_Host_GetConfigImage_Params, pConfigImage);
SAME_SIZE(CuptiHostPasses, CUpti_Profiler_Host_GetNumOfPasses_Params);
SAME_FIELD(CuptiHostPasses, passes, CUpti_Profiler_Host_GetNumOfPasses_Params, numOfPasses);
SAME_SIZE(CuptiHostEvaluate, CUpti_Profiler_Host_EvaluateToGpuValues_Params);
SAME_FIELD(CuptiHostEvaluate, range, CUpti_Profiler_Host_EvaluateToGpuValues_Params, rangeIndex);
SAME_FIELD(CuptiHostEvaluate, names, CUpti_Profiler_Host_EvaluateToGpuValues_Params, ppMetricNames);
SAME_FIELD(CuptiHostEvaluate, values, CUpti_Profiler_Host_EvaluateToGpuValues_Params, pMetricValues);
SAME_SIZE(CuptiRangeEnable, CUpti_RangeProfiler_Enable_Params);
SAME_FIELD(CuptiRangeEnable, profiler, CUpti_RangeProfiler_Enable_Params, pRangeProfilerObject);
SAME_SIZE(CuptiRangeCall, CUpti_RangeProfiler_Disable_Params);
SAME_SIZE(CuptiRangeCall, CUpti_RangeProfiler_Start_Params);
SAME_SIZE(CuptiRangeCall, CUpti_RangeProfiler_PopRange_Params);
SAME_SIZE(CuptiRangeDataSize, CUpti_RangeProfiler_GetCounterDataSize_Params);
SAME_FIELD(CuptiRangeDataSize, ranges, CUpti_RangeProfiler_GetCounterDataSize_Params, maxNumOfRanges);
SAME_FIELD(CuptiRangeDataSize, tree_nodes, CUpti_RangeProfiler_GetCounterDataSize_Params,
           maxNumRangeTreeNodes);
SAME_SIZE(CuptiRangeDataInitialize, CUpti_RangeProfiler_CounterDataImage_Initialize_Params);
SAME_FIELD(CuptiRangeDataInitialize, data, CUpti_RangeProfiler_CounterDataImage_Initialize_Params,
           pCounterData);
SAME_SIZE(CuptiRangeConfig, CUpti_RangeProfiler_SetConfig_Params);
SAME_FIELD(CuptiRangeConfig, config, CUpti_RangeProfiler_SetConfig_Params, pConfig);
SAME_FIELD(CuptiRangeConfig, data, CUpti_RangeProfiler_SetConfig_Params, pCounterDataImage);
SAME_FIELD(CuptiRangeConfig, range, CUpti_RangeProfiler_SetConfig_Params, range);
SAME_FIELD(CuptiRangeConfig, replay, CUpti_RangeProfiler_SetConfig_Params, replayMode);
SAME_FIELD(CuptiRangeConfig, ranges_per_pass, CUpti_RangeProfiler_SetConfig_Params, maxRangesPerPass);
SAME_FIELD(CuptiRangeConfig, nesting_levels, CUpti_RangeProfiler_SetConfig_Params, numNestingLevels);
SAME_FIELD(CuptiRangeConfig, least_nesting_level, CUpti_RangeProfiler_SetConfig_Params, minNestingLevel);
SAME_FIELD(CuptiRangeConfig, pass_index, CUpti_RangeProfiler_SetConfig_Params, passIndex);
SAME_FIELD(CuptiRangeConfig, target_nesting_level, CUpti_RangeProfiler_SetConfig_Params, targetNestingLevel);
SAME_SIZE(CuptiRangeStop, CUpti_RangeProfiler_Stop_Params);
SAME_FIELD(CuptiRangeStop, all_passes_submitted, CUpti_RangeProfiler_Stop_Params, isAllPassSubmitted);
SAME_SIZE(CuptiRangePush, CUpti_RangeProfiler_PushRange_Params);
SAME_FIELD(CuptiRangePush, name, CUpti_RangeProfiler_PushRange_Params, pRangeName);
SAME_SIZE(CuptiRangeDecode, CUpti_RangeProfiler_DecodeData_Params);
SAME_FIELD(CuptiRangeDecode, dropped, CUpti_RangeProfiler_DecodeData_Params, numOfRangeDropped);
static_assert(CUPTI_UserRange == 2 && CUPTI_UserReplay == 3 && CUPTI_PROFILER_TYPE_RANGE_PROFILER == 0);
static_assert(int{CUPTI_ERROR_INSUFFICIENT_PRIVILEGES} == kCuptiNoPrivileges &&
              int{CUPTI_ERROR_LEGACY_PROFILER_NOT_SUPPORTED} == kCuptiLegacyProfiler);
#endif

// ---- NVIDIA's library, without a GPU ------------------------------------------------------------

std::shared_ptr<CuptiLibrary> nvidias_library(std::string& reason) {
  if (std::getenv("MLPWATT_SANITIZED") != nullptr) {
    reason = "it opens its parts with RTLD_DEEPBIND, which sanitizers refuse";
    return nullptr;
  }
  try {
    return std::make_shared<CuptiLibrary>(cupti_paths());
  } catch (const std::exception& error) {
    reason = std::string("no CUPTI here: ") + error.what();
    return nullptr;
  }
}

TEST(CuptiChip, EveryNameHasItsMetricsOnEveryServerChip) {
  std::string reason;
  const std::shared_ptr<CuptiLibrary> library = nvidias_library(reason);
  if (!library) GTEST_SKIP() << reason;
  auto known = cupti_params<CuptiHostChips>();
  ASSERT_EQ(library->host_chips(&known), kCuptiSuccess);
  const std::set<std::string> chips(known.names, known.names + known.count);
  std::set<std::string> names;
  for (const MetricRecipe& recipe : gpu_recipes()) names.insert(recipe.name);
  int checked = 0;
  for (const char* wanted : {"GA100", "GA102", "AD102", "GH100", "GB100", "GB202"}) {
    if (!chips.contains(wanted)) continue;
    ++checked;
    const CuptiChip chip(library, wanted);
    EXPECT_EQ(chip.passes({"nope.sum"}), 0u);
    for (const std::string& name : names) {
      bool found = false;
      for (const MetricRecipe& recipe : gpu_recipes()) {
        if (recipe.name != name) continue;
        bool all = true;
        for (const MetricTerm& term : recipe.terms) all = all && chip.passes({term.metric}) == 1;
        found = found || all;
      }
      EXPECT_TRUE(found) << name << " has no single-pass recipe on " << wanted;
    }
  }
  EXPECT_GE(checked, 2) << "a CUPTI that knows neither Ampere nor Hopper";
}

/// Neither more nor less: every kind of fp32 instruction that the chip counts, and all of its tensor cores'
/// work.
TEST(CuptiChip, OperationsAreWholeOnEveryServerChip) {
  std::string reason;
  const std::shared_ptr<CuptiLibrary> library = nvidias_library(reason);
  if (!library) GTEST_SKIP() << reason;
  for (const char* wanted : {"GA100", "GH100", "GB100"}) {
    const CuptiChip chip(library, wanted);
    const auto counted = [&](const MetricRecipe& recipe) {
      return recipe.name == "fp_ops" &&
             std::all_of(recipe.terms.begin(), recipe.terms.end(),
                         [&](const MetricTerm& term) { return chip.passes({term.metric}) == 1; });
    };
    const auto taken = std::find_if(gpu_recipes().begin(), gpu_recipes().end(), counted);
    ASSERT_NE(taken, gpu_recipes().end()) << wanted;
    std::map<std::string, double> factors;
    for (const MetricTerm& term : taken->terms) factors[term.metric] = term.factor;
    for (const auto& [operation, factor] : {std::pair{"fadd", 1.0},
                                            {"fmul", 1.0},
                                            {"ffma", 2.0},
                                            {"fadd2", 2.0},
                                            {"fmul2", 2.0},
                                            {"ffma2", 4.0}}) {
      const std::string metric =
          "smsp__sass_thread_inst_executed_op_" + std::string(operation) + "_pred_on.sum";
      if (chip.passes({metric}) > 0) {
        EXPECT_EQ(factors[metric], factor) << metric << " on " << wanted;
      }
    }
    const std::string tensor = "sm__ops_path_tensor_";
    EXPECT_EQ(factors[tensor + "src_bf16_dst_fp32.sum"], 1) << wanted;
    if (factors.contains(tensor + "src_tf32_dst_fp32.sum")) continue;
    for (const char* part : {"hmma_src_tf32_dst_fp32.sum", "utchmma_src_tf32_dst_fp32_sparsity_off.sum",
                             "utchmma_src_tf32_dst_fp32_sparsity_on.sum"})
      EXPECT_EQ(factors[tensor + "op_" + part], 1) << part << " on " << wanted;
  }
}

TEST(CuptiChip, MetricsThatDoNotFitTogetherAreSeen) {
  std::string reason;
  const std::shared_ptr<CuptiLibrary> library = nvidias_library(reason);
  if (!library) GTEST_SKIP() << reason;
  const CuptiChip chip(library, "GH100");
  EXPECT_EQ(chip.passes({"dram__bytes_read.sum", "dram__bytes_write.sum"}), 1u);
  EXPECT_GT(chip.passes({"l1tex__t_sectors.sum", "l1tex__t_sectors_lookup_miss.sum", "lts__t_sectors.sum",
                         "lts__t_sectors_lookup_miss.sum", "sm__ops_path_tensor_src_tf32_dst_fp32.sum",
                         "sm__ops_path_tensor_src_bf16_dst_fp32.sum"}),
            1u);
  EXPECT_FALSE(chip.image({"dram__bytes.sum"}).empty());
  EXPECT_THROW(chip.image({"nope.sum"}), std::runtime_error);
  EXPECT_THROW(CuptiChip(library, "GX999").passes({"dram__bytes.sum"}), std::runtime_error);
}

// ---- the stand-in -------------------------------------------------------------------------------

class CuptiFixture {
 public:
  CuptiFixture() : path(plugin_path("fake_cupti")), handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(dlerror());
    script = static_cast<FakeCupti*>(dlsym(handle_, "fake_cupti"));
    *script = FakeCupti();
    add("dram__bytes_read.sum", 100, 1);
    add("dram__bytes_write.sum", 20, 1);
    add("lts__t_bytes.sum", 3000, 2);
    add("smsp__sass_thread_inst_executed_op_fadd_pred_on.sum", 1, 3);
    add("smsp__sass_thread_inst_executed_op_fmul_pred_on.sum", 10, 3);
    add("smsp__sass_thread_inst_executed_op_ffma_pred_on.sum", 1000, 3);
    add("sm__ops_path_tensor_src_tf32_dst_fp32.sum", 1e4, 5);
    add("sm__ops_path_tensor_src_bf16_dst_fp32.sum", 1e5, 5);
    add("sm__warps_active.avg.pct_of_peak_sustained_active", 25, 4);
  }
  ~CuptiFixture() { dlclose(handle_); }
  CuptiFixture(const CuptiFixture&) = delete;
  CuptiFixture& operator=(const CuptiFixture&) = delete;

  void add(const char* name, double per_step, int unit) {
    script->metrics[script->metric_count++] = {name, per_step, unit};
  }
  std::unique_ptr<CounterSource> source(const std::string& parameters = "/no/such/file") const {
    return make_cupti_source({"/no/such/libcupti.so", path}, path, parameters);
  }

  const std::string path;
  FakeCupti* script = nullptr;

 private:
  void* handle_;
};

std::vector<std::unique_ptr<CounterSource>> only(std::unique_ptr<CounterSource> source) {
  std::vector<std::unique_ptr<CounterSource>> sources;
  sources.push_back(std::move(source));
  return sources;
}

CounterRequest on_gpu(std::vector<std::string> names) {
  CounterRequest request;
  request.names = std::move(names);
  request.backend = "gpu";
  return request;
}

TEST(CuptiSource, CountsInRepetitionsAfterTheWindowAndNeverInIt) {
  CuptiFixture cupti;
  CounterSession session(only(cupti.source()),
                         on_gpu({"dram_bytes", "l2_bytes", "fp_ops", "occupancy", "l3_miss"}));
  ASSERT_EQ(session.passes(), 3) << "the window, and two passes for the three counters of one unit";
  EXPECT_FALSE(session.has_aside());
  for (int pass = 0; pass < session.passes(); ++pass) {
    EXPECT_EQ(session.apart_only(pass), pass > 0);
    const int steps = pass == 0 ? 1000 : 5 * pass;
    session.start(pass);
    EXPECT_EQ(cupti.script->counting, pass > 0);
    EXPECT_EQ(cupti.script->enabled, pass > 0 ? 1 : 0) << "the profiler is off in the timed window";
    cupti.script->steps += steps;
    session.stop(steps);
    EXPECT_EQ(cupti.script->enabled, 0);
  }
  EXPECT_EQ(cupti.script->ranges, 2);
  const std::vector<CounterValue> values = session.values();
  EXPECT_DOUBLE_EQ(values[0].per_step().value_or(-1), 120) << values[0].reason;
  EXPECT_EQ(values[0].unit, "B");
  EXPECT_EQ(values[0].event, "dram__bytes_read.sum+dram__bytes_write.sum on GH100");
  EXPECT_DOUBLE_EQ(values[1].per_step().value_or(-1), 3000) << values[1].reason;
  // its terms come from passes of 5 and of 10 steps
  EXPECT_DOUBLE_EQ(values[2].per_step().value_or(-1), 1 + 10 + 2 * 1000 + 1e4 + 1e5) << values[2].reason;
  EXPECT_EQ(values[2].pass, 2);
  EXPECT_DOUBLE_EQ(values[3].per_step().value_or(-1), 0.25) << "a share is not divided by the steps";
  EXPECT_FALSE(values[4].value.has_value());
  EXPECT_NE(values[4].reason.find("no metric is known for it"), std::string::npos) << values[4].reason;
}

TEST(CuptiSource, TheProcessorsKernelsAreNoneOfItsBusiness) {
  CuptiFixture cupti;
  CounterRequest request = on_gpu({"dram_bytes"});
  request.backend = "cpu";
  CounterSession session(only(cupti.source()), request);
  EXPECT_EQ(session.passes(), 1);
  session.start(0);
  session.stop(1);
  EXPECT_EQ(session.values()[0].reason, "no counter source for the cpu");
  EXPECT_EQ(cupti.script->ranges, 0);
}

TEST(CuptiSource, ErrorsNameTheRemedyAndTheRunGoesOn) {
  const auto refused = [](CuptiFixture& cupti) {
    CounterSession session(only(cupti.source()), on_gpu({"dram_bytes"}));
    EXPECT_EQ(session.passes(), 1) << "the timed window is all there is";
    session.start(0);
    session.stop(10);
    EXPECT_FALSE(session.values()[0].value.has_value());
    EXPECT_EQ(cupti.script->enabled, 0);
    return session.values()[0].reason;
  };
  {
    CuptiFixture cupti;
    cupti.script->enable_status = 35;
    const std::string reason = refused(cupti);
    EXPECT_NE(reason.find("CUPTI_ERROR_INSUFFICIENT_PRIVILEGES (35)"), std::string::npos) << reason;
    EXPECT_NE(reason.find("NVreg_RestrictProfilingToAdminUsers=0"), std::string::npos) << reason;
    EXPECT_EQ(reason.find('\n'), std::string::npos);
  }
  {
    CuptiFixture cupti;
    cupti.script->initialize_status = 38;
    const std::string reason = refused(cupti);
    EXPECT_NE(reason.find("CUPTI_ERROR_LEGACY_PROFILER_NOT_SUPPORTED (38)"), std::string::npos) << reason;
    EXPECT_NE(reason.find("MLPWATT_CUPTI"), std::string::npos) << reason;
    cupti.script->initialize_status = 35;
    EXPECT_EQ(cupti.source()->probe().state, State::kNotPermitted);
    cupti.script->initialize_status = 0;
    cupti.script->availability_status = 38;
    EXPECT_NE(refused(cupti).find("(38)"), std::string::npos);
  }
}

TEST(CuptiSource, APassThatFailsHasAReasonAndLeavesTheProfilerOff) {
  CuptiFixture cupti;
  auto source = cupti.source();
  ASSERT_EQ(source->probe().state, State::kFound);
  ASSERT_EQ(source->prepare(on_gpu({"dram_bytes"})).passes.size(), 1u);
  cupti.script->start_status = 35;
  source->start(0);
  EXPECT_EQ(cupti.script->enabled, 0);
  EXPECT_NE(source->stop(5).at(0).reason.find("starting the profiler"), std::string::npos);
  cupti.script->start_status = 0;
  cupti.script->submits_all = false;
  source->start(0);
  const CounterValue value = source->stop(5).at(0);
  EXPECT_FALSE(value.value.has_value());
  EXPECT_NE(value.reason.find("second hardware pass"), std::string::npos) << value.reason;
  cupti.script->submits_all = true;
  source->start(0);
  cupti.script->steps = 5;
  EXPECT_EQ(source->stop(5).at(0).value, 600);
}

TEST(CuptiSource, NoDriverNoDeviceNoLibrary) {
  CuptiFixture cupti;
  EXPECT_NE(
      make_cupti_source({cupti.path}, "libno-such-driver.so")->probe().detail.find("libno-such-driver.so"),
      std::string::npos);
  EXPECT_NE(make_cupti_source({"libm.so.6"}, cupti.path)->probe().detail.find("has no cupti"),
            std::string::npos);
  cupti.script->devices = 0;
  EXPECT_NE(cupti.source()->probe().detail.find("no device"), std::string::npos);
  cupti.script->driver_status = 999;
  const CounterStatus status = cupti.source()->probe();
  EXPECT_EQ(status.state, State::kAbsent);
  EXPECT_NE(status.detail.find("cuInit: 999"), std::string::npos) << status.detail;
}

TEST(CuptiSource, BlackwellsOwnNamesAndChipsWithFewerMetrics) {
  CuptiFixture cupti;
  cupti.script->chip = "GB202";
  cupti.script->metric_count = 0;
  cupti.add("dram__bytes_op_read.sum", 7, 1);
  cupti.add("dram__bytes_op_write.sum", 2, 1);
  auto source = cupti.source();
  source->probe();
  ASSERT_EQ(source->prepare(on_gpu({"dram_bytes", "fp_ops"})).refused.size(), 1u);
  source->start(0);
  cupti.script->steps = 3;
  const CounterValue value = source->stop(3).at(0);
  EXPECT_EQ(value.value, 27);
  EXPECT_EQ(value.event, "dram__bytes_op_read.sum+dram__bytes_op_write.sum on GB202");
}

TEST(CuptiSource, OperationsWithoutTheTensorCoresAreNotCalledOperations) {
  CuptiFixture cupti;
  cupti.script->metric_count = 0;
  cupti.add("smsp__sass_thread_inst_executed_op_fadd_pred_on.sum", 1, 3);
  cupti.add("smsp__sass_thread_inst_executed_op_fmul_pred_on.sum", 10, 3);
  cupti.add("smsp__sass_thread_inst_executed_op_ffma_pred_on.sum", 1000, 3);
  auto source = cupti.source();
  source->probe();
  const CounterPlan plan = source->prepare(on_gpu({"fp_ops"}));
  ASSERT_EQ(plan.refused.size(), 1u);
  EXPECT_NE(plan.refused[0].reason.find("GH100 has no sm__ops_path_tensor_src_tf32_dst_fp32.sum"),
            std::string::npos)
      << plan.refused[0].reason;
}

TEST(CuptiSource, WhereTheCpuIsMeasuredNothingChanges) {
  // A GPU's counters must not switch off the simulated caches of the processor.
  bool simulated = false, cupti = false;
  for (const auto& source : make_counter_sources(CounterChoice::kSimulate)) {
    simulated = simulated || source->name() == "simulated";
    cupti = cupti || source->name() == "cupti";
  }
  EXPECT_TRUE(simulated);
  EXPECT_FALSE(cupti);
}

}  // namespace
}  // namespace mlpwatt
