// The GPU's own counters, through CUPTI's range profiler (CUDA 13 has no event API any more).
//
// Counting disturbs what it counts: the profiler serialises kernels and holds the clocks. So nothing of it is
// on in the timed and metered window: the source is `apart`, each of its passes is a repetition of the same
// steady state afterwards, and the profiler is enabled only from start() to stop(). Hardware counts few
// metrics at a time. Instead of having CUPTI replay the work (a training step is not repeatable, and saving
// and restoring the weights would be counted too) each pass holds only metrics that fit one hardware pass and
// looks at other steps: bytes and operations of a step do not depend on the weights' values.

#include "meters/counters/cupti.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <mutex>
#include <stdexcept>

#include "meters/counters/papi.h"

namespace mlpwatt {

// A configuration under construction. Cheap once the library knows the chip, so each question gets its own.
class CuptiChip::Host {
 public:
  explicit Host(const CuptiChip& chip) : library_(*chip.library_) {
    auto params = cupti_params<CuptiHostInitialize>();
    params.chip = chip.chip_.c_str();
    params.availability = chip.availability_.empty() ? nullptr : chip.availability_.data();
    if (const int status = library_.host_initialize(&params); status != kCuptiSuccess)
      throw std::runtime_error("chip " + chip.chip_ + ": " + library_.text(status));
    host_ = params.host;
  }
  ~Host() {
    auto params = cupti_params<CuptiHostDeinitialize>();
    params.host = host_;
    library_.host_deinitialize(&params);
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  int add(std::vector<const char*>& names) {
    auto params = cupti_params<CuptiHostAddMetrics>();
    params.host = host_;
    params.names = names.data();
    params.count = names.size();
    return library_.host_add_metrics(&params);
  }
  std::vector<std::uint8_t> image() {
    auto size = cupti_params<CuptiHostImageSize>();
    size.host = host_;
    if (const int status = library_.host_image_size(&size); status != kCuptiSuccess)
      throw std::runtime_error("configuration: " + library_.text(status));
    std::vector<std::uint8_t> bytes(size.size);
    auto params = cupti_params<CuptiHostImage>();
    params.host = host_;
    params.size = bytes.size();
    params.image = bytes.data();
    if (const int status = library_.host_image(&params); status != kCuptiSuccess)
      throw std::runtime_error("configuration: " + library_.text(status));
    return bytes;
  }
  void* get() const { return host_; }

 private:
  const CuptiLibrary& library_;
  void* host_ = nullptr;
};

namespace {
std::vector<const char*> pointers(const std::vector<std::string>& names) {
  std::vector<const char*> result;
  for (const std::string& name : names) result.push_back(name.c_str());
  return result;
}
}  // namespace

CuptiChip::CuptiChip(std::shared_ptr<CuptiLibrary> library, std::string chip,
                     std::vector<std::uint8_t> availability)
    : library_(std::move(library)), chip_(std::move(chip)), availability_(std::move(availability)) {}

std::size_t CuptiChip::passes(const std::vector<std::string>& metrics) const {
  Host host(*this);
  auto names = pointers(metrics);
  if (host.add(names) != kCuptiSuccess) return 0;
  std::vector<std::uint8_t> bytes = host.image();
  auto params = cupti_params<CuptiHostPasses>();
  params.size = bytes.size();
  params.image = bytes.data();
  if (library_->host_passes(&params) != kCuptiSuccess) return 0;
  return params.passes;
}

std::vector<std::uint8_t> CuptiChip::image(const std::vector<std::string>& metrics) const {
  Host host(*this);
  auto names = pointers(metrics);
  if (const int status = host.add(names); status != kCuptiSuccess)
    throw std::runtime_error("metrics of " + chip_ + ": " + library_->text(status));
  return host.image();
}

std::vector<double> CuptiChip::evaluate(const std::vector<std::string>& metrics,
                                        const std::vector<std::uint8_t>& data) const {
  Host host(*this);
  auto names = pointers(metrics);
  std::vector<double> values(metrics.size());
  auto params = cupti_params<CuptiHostEvaluate>();
  params.host = host.get();
  params.data = data.data();
  params.data_size = data.size();
  params.names = names.data();
  params.count = names.size();
  params.values = values.data();
  if (const int status = library_->host_evaluate(&params); status != kCuptiSuccess)
    throw std::runtime_error("reading the counters: " + library_->text(status));
  return values;
}

namespace {

class CuptiSource final : public CounterSource {
 public:
  CuptiSource(std::vector<std::string> cupti, std::string driver, std::string parameters)
      : paths_(std::move(cupti)), driver_path_(std::move(driver)), parameters_(std::move(parameters)) {}
  ~CuptiSource() override { disable(); }

  std::string name() const override { return "cupti"; }
  Provenance provenance() const override { return Provenance::kMeasured; }
  bool in_window() const override { return true; }
  bool apart() const override { return true; }
  bool serves(const std::string& backend) const override { return backend == "gpu"; }

  CounterStatus probe() override {
    CounterStatus status;
    status.hardware = true;
    if (papi_counts_gpus()) {
      status.detail = "not used: PAPI's cuda component counts instead";
      return status;
    }
    try {
      if (!driver_) driver_ = std::make_unique<CudaDriver>(driver_path_);
    } catch (const std::exception& error) {
      status.detail = std::string("no NVIDIA GPU: ") + error.what();
      return status;
    }
    try {
      if (!library_) library_ = std::make_shared<CuptiLibrary>(paths_);
      auto params = cupti_params<CuptiInitialize>();
      if (const int code = library_->initialize(&params); code != kCuptiSuccess) {
        status.state =
            code == kCuptiNoPrivileges ? CounterStatus::State::kNotPermitted : CounterStatus::State::kAbsent;
        status.detail = library_->path() + ": " + library_->text(code);
        return status;
      }
    } catch (const std::exception& error) {
      status.detail = error.what();
      status.remedy = "install the CUDA toolkit's CUPTI, or MLPWATT_CUPTI=FILE";
      return status;
    }
    if (const std::string problem = admins_only(); !problem.empty()) {
      status.state = CounterStatus::State::kNotPermitted;
      status.detail = problem;
      status.remedy =
          "options nvidia NVreg_RestrictProfilingToAdminUsers=0 in /etc/modprobe.d and a restart, or root";
      return status;
    }
    status.state = CounterStatus::State::kFound;
    status.detail = library_->path() + ", range profiler";
    return status;
  }

  CounterPlan prepare(const CounterRequest& request) override {
    std::string problem;
    try {
      open_chip();
    } catch (const std::exception& error) {
      problem = error.what();
    }
    if (!problem.empty()) {
      CounterPlan nothing;
      for (const std::string& name : request.names) nothing.refused.push_back({name, problem});
      return nothing;
    }
    const auto why_not = [&](const std::string& metric) -> std::string {
      const std::size_t passes = chip_->passes({metric});
      if (passes == 1) return "";
      return passes == 0 ? "the chip " + chip_->name() + " has no " + metric
                         : "the chip " + chip_->name() + " needs more than one hardware pass for " + metric;
    };
    return sums_.plan(request.names, gpu_recipes(), why_not, [&](const std::vector<std::string>& metrics) {
      return plan_passes(
          metrics, [&](const std::vector<std::string>& together) { return chip_->passes(together) == 1; });
    });
  }

  void start(int pass) override {
    pass_ = pass;
    failure_.clear();
    if (pass == 0) sums_.begin();
    try {
      begin_range(sums_.metrics(pass));
    } catch (const std::exception& error) {
      failure_ = error.what();
      disable();
    }
  }

  std::vector<CounterValue> stop(std::int64_t steps) override {
    const std::vector<std::string>& metrics = sums_.metrics(pass_);
    if (failure_.empty()) {
      try {
        const std::vector<double> values = end_range(metrics);
        for (std::size_t i = 0; i < metrics.size(); ++i) sums_.count(metrics[i], values[i], steps);
      } catch (const std::exception& error) {
        failure_ = error.what();
      }
    }
    disable();
    std::vector<CounterValue> values = sums_.values(pass_, steps, failure_);
    for (CounterValue& value : values) {
      value.source = name();
      value.event += " on " + chip_->name();
    }
    return values;
  }

 private:
  void check(int status, const char* what) const {
    if (status != kCuptiSuccess) throw std::runtime_error(std::string(what) + ": " + library_->text(status));
  }

  /// Why counting is closed to this user; "" when it is not. The profiler itself says so only late.
  std::string admins_only() const {
    std::ifstream file(parameters_);
    for (std::string line; std::getline(file, line);)
      if (line.find("RmProfilingAdminOnly: 1") != std::string::npos && geteuid() != 0)
        return "the driver keeps its counters for administrators (RmProfilingAdminOnly: 1 in " + parameters_ +
               ")";
    return "";
  }

  void open_chip() {
    context_ = driver_->context();
    if (context_ == nullptr) throw std::runtime_error("no CUDA context to count in");
    auto chip = cupti_params<CuptiChipName>();
    chip.device_index = static_cast<std::size_t>(driver_->device());
    check(library_->chip_name(&chip), "name of the chip");
    auto available = cupti_params<CuptiAvailability>();
    available.context = context_;
    check(library_->availability(&available), "available counters");
    std::vector<std::uint8_t> image(available.image_size);
    available.image = image.data();
    check(library_->availability(&available), "available counters");
    chip_ = std::make_unique<CuptiChip>(library_, chip.chip, std::move(image));
    // What the permission is worth shows here and not when the first pass is already under way.
    enable();
    disable();
  }

  void enable() {
    auto params = cupti_params<CuptiRangeEnable>();
    params.context = context_;
    check(library_->range_enable(&params), "enabling the profiler");
    profiler_ = params.profiler;
  }

  void disable() {
    if (profiler_ == nullptr) return;
    auto params = cupti_params<CuptiRangeCall>();
    params.profiler = profiler_;
    library_->range_disable(&params);
    profiler_ = nullptr;
  }

  void begin_range(const std::vector<std::string>& metrics) {
    enable();
    std::vector<const char*> names = pointers(metrics);
    auto size = cupti_params<CuptiRangeDataSize>();
    size.profiler = profiler_;
    size.names = names.data();
    size.count = names.size();
    size.ranges = 1;
    size.tree_nodes = 1;
    check(library_->range_data_size(&size), "size of the counter data");
    data_.assign(size.size, 0);
    auto fresh = cupti_params<CuptiRangeDataInitialize>();
    fresh.profiler = profiler_;
    fresh.size = data_.size();
    fresh.data = data_.data();
    check(library_->range_data_initialize(&fresh), "counter data");
    config_ = chip_->image(metrics);
    auto config = cupti_params<CuptiRangeConfig>();
    config.profiler = profiler_;
    config.config_size = config_.size();
    config.config = config_.data();
    config.data_size = data_.size();
    config.data = data_.data();
    config.range = 2;
    config.replay = 3;
    config.ranges_per_pass = 1;
    config.nesting_levels = 1;
    config.least_nesting_level = 1;
    config.target_nesting_level = 1;
    check(library_->range_config(&config), "configuring the profiler");
    auto start = cupti_params<CuptiRangeCall>();
    start.profiler = profiler_;
    check(library_->range_start(&start), "starting the profiler");
    auto push = cupti_params<CuptiRangePush>();
    push.profiler = profiler_;
    push.name = "steps";
    check(library_->range_push(&push), "beginning the range");
  }

  std::vector<double> end_range(const std::vector<std::string>& metrics) {
    auto call = cupti_params<CuptiRangeCall>();
    call.profiler = profiler_;
    check(library_->range_pop(&call), "ending the range");
    auto stop = cupti_params<CuptiRangeStop>();
    stop.profiler = profiler_;
    check(library_->range_stop(&stop), "stopping the profiler");
    if (stop.all_passes_submitted == 0)
      throw std::runtime_error("the metrics need a second hardware pass after all");
    auto decode = cupti_params<CuptiRangeDecode>();
    decode.profiler = profiler_;
    check(library_->range_decode(&decode), "decoding the counters");
    if (decode.dropped > 0) throw std::runtime_error("the profiler dropped the range");
    return chip_->evaluate(metrics, data_);
  }

  std::vector<std::string> paths_;
  std::string driver_path_, parameters_;
  std::unique_ptr<CudaDriver> driver_;
  std::shared_ptr<CuptiLibrary> library_;
  std::unique_ptr<CuptiChip> chip_;
  MetricSums sums_;
  std::vector<std::uint8_t> config_, data_;
  void* context_ = nullptr;
  void* profiler_ = nullptr;
  int pass_ = 0;
  std::string failure_;
};

const CounterSourceRegistration registration{"cupti", 6, [] { return make_cupti_source(); }};

}  // namespace

std::unique_ptr<CounterSource> make_cupti_source(std::vector<std::string> cupti, std::string driver,
                                                 std::string parameters) {
  return std::make_unique<CuptiSource>(std::move(cupti), std::move(driver), std::move(parameters));
}

}  // namespace mlpwatt
