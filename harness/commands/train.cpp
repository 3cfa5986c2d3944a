// mlpwatt train: one network trained for E epochs or to a target test loss, its curve recorded.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cmath>
#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "harness/options.h"
#include "harness/program.h"
#include "harness/record/record_file.h"
#include "harness/run/output.h"
#include "harness/run/power_rows.h"
#include "harness/run/run_one.h"
#include "harness/run/training.h"
#include "harness/text.h"
#include "kernels/cost.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  NetworkOptions network;
  KernelOptions kernel;
  std::string backend = "cpu", out, meter_config;
  PowerOptions power{.meters = "auto"};
  TrainingPlan plan;
  double target = 0, peaks_s = 0.5;
  bool has_target = false, json = false;
  reference::Adam adam;
};

volatile std::sig_atomic_t stop_wanted = 0;

/// SIGINT and SIGTERM end the training after the epoch in hand; what was recorded stays.
class StopOnSignal {
 public:
  StopOnSignal() {
    stop_wanted = 0;
    for (std::size_t i = 0; i < 2; ++i) old_[i] = std::signal(kSignals[i], [](int) { stop_wanted = 1; });
  }
  ~StopOnSignal() {
    for (std::size_t i = 0; i < 2; ++i) std::signal(kSignals[i], old_[i]);
  }
  StopOnSignal(const StopOnSignal&) = delete;
  StopOnSignal& operator=(const StopOnSignal&) = delete;

 private:
  static constexpr int kSignals[2] = {SIGINT, SIGTERM};
  void (*old_[2])(int);
};

Row curve_row(const Epoch& point) {
  Row row(curves_table());
  row.set("epoch", point.epoch);
  row.set("train_loss", point.train_loss);
  row.set("test_loss", point.test_loss);
  row.set("train_accuracy", point.train_accuracy);
  row.set("test_accuracy", point.test_accuracy);
  row.set("seconds", point.seconds);
  row.set("total_seconds", point.total_seconds);
  return row;
}

/// JSON has no NaN: an accuracy that does not exist is left out, a loss that overflowed is null.
Json point_json(const Epoch& point) {
  Json object{{"epoch", point.epoch}, {"train_loss", point.train_loss}, {"test_loss", point.test_loss}};
  if (!std::isnan(point.train_accuracy)) object["train_accuracy"] = point.train_accuracy;
  if (!std::isnan(point.test_accuracy)) object["test_accuracy"] = point.test_accuracy;
  object["seconds"] = point.seconds;
  object["total_seconds"] = point.total_seconds;
  return object;
}

std::string point_text(const Epoch& point) {
  const auto accuracy = [](double share) {
    return std::isnan(share) ? std::string() : fmt::format("{:7.2f} %", 100 * share);
  };
  return fmt::format("{:>6}  {:>10.6f}  {:>10.6f}  {:>9}  {:>9}  {:>10}\n", point.epoch, point.train_loss,
                     point.test_loss, accuracy(point.train_accuracy), accuracy(point.test_accuracy),
                     human_seconds(point.seconds));
}

/// The record of a training is complete after every epoch: what a window's blocks are to a run, epochs are
/// here.
class TrainingRecord {
 public:
  TrainingRecord(const Options& options, const Network& network, const Dataset& data, const Trainee& trainee,
                 RunSettings settings, int epoch_steps)
      : settings_(std::move(settings)), epoch_steps_(epoch_steps) {
    Benchmark benchmark;
    benchmark.family = options.backend + "/train";
    benchmark.name = fmt::format("{}/{}/{}/{}/{}", benchmark.family, options.network.dataset,
                                 options.network.shape, options.network.size, options.network.depth);
    benchmark.parameters = {{"dataset", options.network.dataset},
                            {"shape", options.network.shape},
                            {"size", options.network.size},
                            {"depth", std::int64_t{options.network.depth}},
                            {"parameters", network.parameters()},
                            {"batch", std::int64_t{options.kernel.batch}},
                            {"epochs", std::int64_t{options.plan.epochs}},
                            {"learning_rate", options.adam.learning_rate}};
    if (options.plan.target_test_loss)
      benchmark.parameters["target_test_loss"] = *options.plan.target_test_loss;
    record_ = begin_record(benchmark, settings_, {}, system_clock());
    set_facts(record_.run, trainee.facts());
    cost_ = mlp_train_epoch_mean_cost(network, options.kernel.batch, data.rows, data.train_rows());
    set_cost(record_.run, cost_, settings_);
    record_.run.set("binding", thread_binding());
    window_.steps_per_block = epoch_steps;
  }

  /// As mlpwatt::set_check.
  void set_check(const Check& check) { mlpwatt::set_check(record_.run, check); }

  /// Just before the first evaluation. @param idle_s before it, for the meters
  void begin(double idle_s) {
    record_.run.set("idle_s", idle_s);
    window_.start_realtime_ns = system_clock().realtime_ns();
    window_.start_monotonic_ns = system_clock().monotonic_ns();
  }

  void add(const Epoch& point) {
    record_.curve.push_back(curve_row(point));
    if (point.epoch == 0) return;
    window_.block_step_s.push_back(point.seconds / epoch_steps_);
    window_.duration_s =
        1e-9 * static_cast<double>(system_clock().monotonic_ns() - window_.start_monotonic_ns);
    training_s_ = point.total_seconds;
    window_.steps = std::int64_t{epoch_steps_} * point.epoch;
  }

  /// Before the meters stop looking on: what was printed and stored after the last epoch is in the joules,
  /// too.
  void end() {
    window_.duration_s =
        1e-9 * static_cast<double>(system_clock().monotonic_ns() - window_.start_monotonic_ns);
  }

  /// The record as it stands. @param status "ok", or "failed" with a reason
  Record so_far(const std::string& status, const std::string& reason) {
    if (window_.steps > 0) {
      window_.step = summarise(window_.block_step_s);
      window_.few_blocks = static_cast<int>(window_.block_step_s.size()) < settings_.protocol.minimum_blocks;
      window_.cpu_s = std::nan("");
      WarmUp none;
      none.steady = true;  // a training has no warm-up: every step of it counts
      set_window(record_.run, none, window_, cost_);
      record_.run.set("step_mean_s", training_s_ / static_cast<double>(window_.steps));
    }
    record_.run.set("status", status);
    record_.run.set("reason", reason);
    return record_;
  }

  /// As so_far, with what the meters saw of it.
  Record ended(const std::string& status, const std::string& reason, const PowerObserver& looked_on,
               PowerSession& power) {
    so_far(status, reason);
    if (window_.steps > 0) set_power(record_, power.result(window_of(record_.run)));
    set_machine_state(record_.run, looked_on.before, looked_on.after);
    set_gpu_state(record_.run, looked_on.gpus_before, looked_on.gpus_after);
    return record_;
  }

  Record with_floor() {
    set_floor(record_.run, cost_, *settings_.peaks);
    return record_;
  }

 private:
  RunSettings settings_;
  int epoch_steps_;
  Cost cost_;
  Window window_;
  double training_s_ = 0;  ///< of the window: its evaluations left out
  Record record_;
};

int run(Options options, Context& context) {
  if (options.has_target) options.plan.target_test_loss = options.target;
  RunSettings settings;
  settings.machine = read_machine();
  settings.kernel = to_run_options(options.kernel, settings.machine.hierarchy);
  settings.command = context.command_line();
  if (options.peaks_s > 0)
    settings.peaks = std::make_shared<PeaksOnDemand>(settings.kernel, options.peaks_s, system_clock());
  options.plan.seed = settings.kernel.seed;
  const Network network = to_network(options.network);
  const Dataset data = load_dataset(options.network.dataset, settings.kernel.dataset);
  const std::unique_ptr<Trainee> trainee =
      make_trainee(options.backend, network, data, settings.kernel, options.adam);
  if (const std::string reason = substitution(settings.kernel, trainee->facts()); !reason.empty())
    throw UsageError("train: " + reason);
  if (options.kernel.threads > 0 && trainee->facts().at("threads") != std::to_string(options.kernel.threads))
    throw UsageError(fmt::format("train: --threads {} was asked for, this backend runs {}",
                                 options.kernel.threads, trainee->facts().at("threads")));
  options.power.config = read_meter_config(options.meter_config);
  RecordFile file(options.out.empty() ? default_output(settings.machine.host) : options.out);
  PowerSession power(options.power);
  PowerObserver looking_on(&power);
  TrainingRecord record(options, network, data, *trainee, settings, trainee->train_batches());
  if (const std::optional<Check> check = trainee->check()) {
    record.set_check(*check);
    if (const std::string wrong = failure_of(*check); !wrong.empty()) {
      file.append(record.so_far("failed", wrong));
      throw std::runtime_error("not trained, the check before it failed: " + wrong);
    }
  }
  const auto facts = trainee->facts();
  if (!options.json)
    context.out << fmt::format(
        "{} {} {} depth {}: {} -> {}, {} parameters; {} {}, {} thread(s); batch {}, learning rate {}, seed "
        "{}; "
        "dataset {} ({} training rows, {} test rows)\n\n{:>6}  {:>10}  {:>10}  {:>9}  {:>9}  {:>10}\n",
        options.network.dataset, options.network.shape, options.network.size, options.network.depth,
        network.inputs, fmt::join(network.widths, " "), network.parameters(), facts.at("isa"),
        facts.at("algorithm"), facts.at("threads"), options.kernel.batch, options.adam.learning_rate,
        options.kernel.seed, data.source, data.train_rows(), data.test_rows, "epoch", "train loss",
        "test loss", "train", "test", "time");
  // An epoch may last microseconds: the file is brought up to date once a second, and at the end.
  constexpr double kBetweenWrites_s = 1.0;
  bool begun = false;
  double written_s = system_clock().monotonic_s();
  const auto write = [&](const Record& written) {
    begun ? file.replace_last(written) : file.append(written);
    begun = true;
    written_s = system_clock().monotonic_s();
  };
  const StopOnSignal signals;
  power.idle_s() > 0 ? power.be_idle(power.idle_s()) : power.be_idle_once();
  looking_on.prepare();
  looking_on.begin();
  record.begin(power.idle_s());
  Epoch last;
  const auto seen = [&](const Epoch& point) {
    record.add(point);
    last = point;
    if (options.json)
      context.out << point_json(point).dump() << '\n' << std::flush;
    else
      context.out << point_text(point) << std::flush;
    if (system_clock().monotonic_s() - written_s >= kBetweenWrites_s)
      write(record.so_far("failed", "the training had not ended when the program did"));
    return stop_wanted == 0;
  };
  TrainingEnd end = TrainingEnd::kEpochs;
  try {
    end = train(
        *trainee, options.plan, [] { return system_clock().monotonic_s(); }, seen);
  } catch (const std::exception& error) {  // e.g. a device that is lost: the curve up to there stays
    write(record.so_far("error", error.what()));
    throw;
  }
  record.end();
  looking_on.end(0);
  looking_on.finish();
  power.be_idle(power.idle_s());
  const auto end_as = [&](const std::string& status, const std::string& reason) {
    write(record.ended(status, reason, looking_on, power));
    // the peaks take a while, and may fail: the training is on the disk by then
    if (status == "ok" && settings.peaks) write(record.with_floor());
  };
  const bool missed = end == TrainingEnd::kEpochs && options.plan.target_test_loss;
  if (end == TrainingEnd::kDiverged)
    end_as("failed", fmt::format("the loss is not finite after epoch {}", last.epoch));
  else if (end == TrainingEnd::kStopped)
    end_as("failed", fmt::format("stopped by a signal after epoch {}", last.epoch));
  else
    end_as("ok", "");
  if (!options.json)
    context.out << fmt::format("\n{} of training; row {} and its curve are in {}\n",
                               human_seconds(last.total_seconds), file.runs() - 1, file.path());
  if (end == TrainingEnd::kDiverged)
    throw std::runtime_error(
        fmt::format("the loss is not finite after epoch {}: try a smaller --learning-rate than {}",
                    last.epoch, options.adam.learning_rate));
  if (end == TrainingEnd::kStopped)
    throw std::runtime_error(fmt::format("stopped by a signal after epoch {}; the curve so far is in {}",
                                         last.epoch, file.path()));
  if (missed)
    throw std::runtime_error(
        fmt::format("test loss {:.6g} after {} epochs, the target was {:.6g}: allow more --epochs",
                    last.test_loss, last.epoch, *options.plan.target_test_loss));
  return kExitOk;
}

const CommandRegistration registration{
    "train", "trains one network for some epochs or to a target test loss, and records its curve",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      add_network_options(app, options->network);
      CLI::Option* epochs =
          app.add_option("--epochs", options->plan.epochs,
                         "at most so many passes over the training split (with --target-test-loss: the "
                         "study's 3000 unless told)")
              ->check(CLI::Range(1, 100'000'000));
      CLI::Option* target =
          app.add_option("--target-test-loss", options->target, "stop after the epoch that reaches it")
              ->check(CLI::NonNegativeNumber);
      app.add_option("--learning-rate", options->adam.learning_rate, "of Adam")
          ->capture_default_str()
          ->check(CLI::PositiveNumber);
      app.add_option("--backend", options->backend,
                     "cpu, gpu, or reference (the double-precision oracle: slow, for comparison)")
          ->capture_default_str();
      app.add_option("--out", options->out,
                     "results file; an existing one is appended to (default results/<host>-<date>.h5)");
      app.add_flag("--json", options->json, "one JSON object a line per epoch");
      real_number(app.add_option("--peaks-s", options->peaks_s,
                                 "time after the training for the peaks that its floor is made of; 0 = none")
                      ->capture_default_str(),
                  0, 3600);
      add_kernel_options(app, options->kernel);
      add_meter_options(app, options->power, options->meter_config);
      real_number(
          app.add_option("--idle-s", options->power.idle_s,
                         "idle time before and after the training (default: 10 updates of the slowest "
                         "meter, 1 to 30 s)"),
          0, 3600);
      return [options, target, epochs](Context& context) {
        options->has_target = target->count() > 0;
        if (epochs->count() == 0) {
          if (!options->has_target)
            throw UsageError("train: say how long: --epochs N, or --target-test-loss L");
          options->plan.epochs = 3000;
        }
        return run(*options, context);
      };
    }};

}  // namespace
}  // namespace mlpwatt
