#include "harness/compare/learner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "harness/compare/driver.h"
#include "harness/protocol/clock.h"
#include "kernels/backend.h"
#include "kernels/random.h"

namespace mlpwatt {
namespace {

void write_floats(const std::string& path, const std::function<void(std::ofstream&)>& fill) {
  std::ofstream file(path, std::ios::binary);
  fill(file);
  file.close();
  if (!file)
    throw std::runtime_error("cannot write " + path + ": is the disk full? (TMPDIR chooses another)");
}

void put(std::ofstream& file, const float* values, std::int64_t count) {
  file.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(count * 4));
}

void put_layers(std::ofstream& file, const std::vector<std::vector<double>>& layers) {
  for (const std::vector<double>& layer : layers) {
    const std::vector<float> rounded(layer.begin(), layer.end());
    put(file, rounded.data(), static_cast<std::int64_t>(rounded.size()));
  }
}

class OurLearner : public Learner {
 public:
  OurLearner(const Backend& backend, const RunOptions& options) : backend_(backend), options_(options) {
    name_ = "ours";
    library_ = "mlpwatt";
    options_.threads = 0;  // it chooses, of as many cores as everybody has
  }
  std::string mode() const override {
    return fmt::format("{}, {} thread(s)", trainer_.facts.at("algorithm"), trainer_.facts.at("threads"));
  }
  std::map<std::string, std::string> facts() const override { return trainer_.facts; }
  void open(const Lesson& lesson) override {
    RunOptions options = options_;
    options.batch = lesson.batch;
    options.hierarchy.cores = std::min(options.hierarchy.cores, lesson.threads);
    lesson_ = &lesson;
    trainer_ = backend_.make_trainer(lesson.network, *lesson.data, options, lesson.adam);
  }
  double loss_after(const std::vector<int>& batches, int evaluate) override {
    return loss_of(*trainer_.engine, lesson_->initial, batches, evaluate);
  }
  double run_s(const std::vector<int>& batches, std::int64_t warm) override {
    Clock& clock = system_clock();
    if (warm > 0) trainer_.engine->train(batches.data(), warm);
    const double before = clock.monotonic_s();
    trainer_.engine->train(batches.data() + warm, static_cast<std::int64_t>(batches.size()) - warm);
    return clock.monotonic_s() - before;
  }
  double loss_after_on_corrected_root(const std::vector<int>& batches, int evaluate) override {
    reference::Adam adam = lesson_->adam;
    adam.epsilon_on_corrected_root = true;
    return loss_of(*trainer_.same(*lesson_->data, lesson_->batch, adam), lesson_->initial, batches, evaluate);
  }
  double loss_after_nudged(const std::vector<int>& batches, int evaluate, std::uint64_t seed) override {
    reference::Parameters nudged = lesson_->initial;
    RandomStream random(seed);
    for (std::vector<double>& layer : nudged.weights)
      for (double& weight : layer) weight *= 1 + (uniform_unit(random) < 0.5 ? -0x1p-23 : 0x1p-23);
    return loss_of(*trainer_.engine, nudged, batches, evaluate);
  }
  std::optional<Check> check() override {
    return check_trainer(trainer_, lesson_->network, *lesson_->data, lesson_->batch, lesson_->adam,
                         options_.seed);
  }
  void close() override { trainer_.engine.reset(); }

 private:
  static double loss_of(MlpEngine& engine, const reference::Parameters& start,
                        const std::vector<int>& batches, int evaluate) {
    engine.set_parameters(start);
    if (!batches.empty()) engine.train(batches.data(), static_cast<std::int64_t>(batches.size()));
    return engine.train(&evaluate, 1);  // the loss before that step
  }

  const Backend& backend_;
  RunOptions options_;
  const Lesson* lesson_ = nullptr;  ///< of the last open()
  Backend::Trainer trainer_;
};

class DriverLearner : public Learner {
 public:
  DriverLearner(const std::string& name, const DriverSetting& setting, int threads)
      : setting_(setting), threads_(threads) {
    name_ = name;
    start();
  }
  bool epsilon_on_corrected_root() const override { return epsilon_on_corrected_root_; }
  std::string mode() const override { return mode_; }
  bool apart() const override { return true; }
  std::map<std::string, std::string> facts() const override {
    return {{"threads", std::to_string(threads_)}, {"algorithm", library_ + ": " + mode_}};
  }
  void open(const Lesson& lesson) override {
    if (!driver_ || !driver_->usable())
      start();  // what was too late or too large for one network is not so for the next
    driver_->ask({{"do", "open"},
                  {"folder", lesson.folder},
                  {"inputs", lesson.network.inputs},
                  {"widths", lesson.network.widths},
                  {"residual", lesson.network.residual},
                  {"task", task_name(lesson.network.task)},
                  {"batch", lesson.batch},
                  {"rows", std::int64_t{lesson.batches()} * lesson.batch},
                  {"learning_rate", lesson.adam.learning_rate},
                  {"beta1", lesson.adam.beta1},
                  {"beta2", lesson.adam.beta2},
                  {"epsilon", lesson.adam.epsilon}},
                 setting_.limit_s);
  }
  double loss_after(const std::vector<int>& batches, int evaluate) override {
    return number(
        driver_->ask({{"do", "prove"}, {"batches", batches}, {"evaluate", evaluate}}, setting_.limit_s),
        "loss");
  }
  double run_s(const std::vector<int>& batches, std::int64_t warm) override {
    return number(driver_->ask({{"do", "run"}, {"batches", batches}, {"warm", warm}}, setting_.limit_s),
                  "seconds");
  }
  void close() override {
    // one that owes an answer is left alone: the next open() starts another
    if (driver_ && driver_->usable()) driver_->ask({{"do", "close"}}, setting_.limit_s);
  }

 private:
  /// JSON has no NaN; Python writes one all the same and the parser refuses it, so null never means a number.
  double number(const nlohmann::json& answer, const char* key) const {
    if (!answer.contains(key) || !answer[key].is_number())
      throw std::runtime_error(
          fmt::format("{} answered without a number for {}: {}", name_, key, answer.dump()));
    return answer[key];
  }
  void start() {
    driver_.reset();  // a new one writes the same log
    driver_ = std::make_unique<Driver>(
        std::vector<std::string>{setting_.python, setting_.scripts + "/" + name_ + ".py"},
        std::vector<std::string>{
            fmt::format("OMP_NUM_THREADS={}", threads_), "PYTHONNOUSERSITE=1", "PYTHONDONTWRITEBYTECODE=1",
            setting_.device == "cpu" ? "CUDA_VISIBLE_DEVICES=" : "CUDA_DEVICE_ORDER=PCI_BUS_ID"},
        setting_.log_folder + "/" + name_ + ".log");
    const nlohmann::json answer =
        driver_->ask({{"do", "hello"}, {"threads", threads_}, {"device", setting_.device}}, setting_.limit_s);
    library_ = answer.at("library");
    mode_ = answer.at("mode");
    epsilon_on_corrected_root_ = answer.value("epsilon_on_corrected_root", false);
  }

  DriverSetting setting_;
  int threads_;
  std::unique_ptr<Driver> driver_;
  std::string mode_;
  bool epsilon_on_corrected_root_ = false;
};

}  // namespace

void write_lesson(const Lesson& lesson) {
  const std::int64_t rows = std::int64_t{lesson.batches()} * lesson.batch;
  const Dataset& data = *lesson.data;
  const auto path = [&](const char* name) { return lesson.folder + "/" + name; };
  write_floats(path("x.f32"), [&](std::ofstream& f) { put(f, data.x.data(), rows * data.info.features); });
  write_floats(path("y.f32"), [&](std::ofstream& f) { put(f, data.y.data(), rows * data.info.outputs); });
  write_floats(path("weights.f32"), [&](std::ofstream& f) { put_layers(f, lesson.initial.weights); });
  write_floats(path("biases.f32"), [&](std::ofstream& f) { put_layers(f, lesson.initial.biases); });
}

std::unique_ptr<Learner> make_our_learner(const std::string& backend, const RunOptions& options) {
  return std::make_unique<OurLearner>(require_backend(backend), options);
}

std::vector<std::string> driver_names(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::filesystem::path& path = entry.path();
    if (path.extension() == ".py" && !path.stem().string().starts_with("_")) names.push_back(path.stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::unique_ptr<Learner> make_driver_learner(const std::string& name, const DriverSetting& setting,
                                             int threads) {
  return std::make_unique<DriverLearner>(name, setting, threads);
}

LossAgreement losses_agree(double before, double after, double our_before, double our_after, int steps,
                           double rounding_spread) {
  constexpr double kRounding = 2e-5;  // float32 sums over 256 rows and 20 layers
  constexpr double kShareLearnt = 0.02;
  const double first_bound = kRounding * std::abs(our_before) + 1e-9;
  if (!(std::abs(before - our_before) <= first_bound))
    return {false, std::abs(before - our_before), first_bound,
            fmt::format("untrained loss {:.9g}, ours {:.9g}, bound {:.3g}", before, our_before, first_bound)};
  // other libraries round every sum of every layer otherwise, not the first weights alone
  constexpr double kSpreads = 4;
  const double bound =
      first_bound + kShareLearnt * std::abs(our_before - our_after) + kSpreads * rounding_spread;
  const double error = std::abs(after - our_after);
  if (!(error <= bound))
    return {
        false, error, bound,
        fmt::format("loss after {} steps {:.9g}, ours {:.9g}, bound {:.3g}", steps, after, our_after, bound)};
  return {true, error, bound, ""};
}

}  // namespace mlpwatt
