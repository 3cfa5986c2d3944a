#include "meters/power/bounded_meter.h"

#include <fmt/format.h>

#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <mutex>
#include <thread>

#include "meters/power/settings.h"
#include "meters/thread_name.h"

namespace mlpwatt {
namespace {

using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }
Clock::duration duration_of(double s) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
}

/// Of the time a caller gives, kept back so that the library's own message of a time-out still arrives.
double margin_s(double timeout_s) { return std::min(0.1, 0.1 * timeout_s); }

}  // namespace

/// What the thread touches: outlives the meter when the device hangs.
struct BoundedMeter::Worker {
  std::string name;
  std::shared_ptr<Device> device;
  BoundedOptions options;
  std::thread thread;

  std::mutex mutex;
  std::condition_variable changed;
  bool stopping = false, busy = false;
  Clock::time_point deadline, since;
  std::vector<Reading> readings;  ///< of the last request, when it succeeded
  std::string failure;            ///< or why it did not
  MeterProbe::State failure_state = MeterProbe::State::kFaulty;
  std::string remedy;

  std::atomic<double> cpu_s{0};  ///< of the thread so far

  // of the thread alone
  Clock::time_point last_begin = Clock::time_point::min();

  static void run(const std::shared_ptr<Worker>& worker) {
    name_meter_thread(worker->name);
    std::unique_lock lock(worker->mutex);
    for (;;) {
      worker->changed.wait(lock, [&] { return worker->stopping || worker->busy; });
      if (worker->stopping) break;
      const Clock::time_point until = worker->deadline;
      lock.unlock();
      std::vector<Reading> readings;
      const std::string failure = worker->ask(until, readings);
      timespec used{};
      clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
      worker->cpu_s = static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
      lock.lock();
      worker->readings = std::move(readings);
      worker->failure = failure;
      worker->busy = false;
      worker->changed.notify_all();
    }
    lock.unlock();
    worker->device.reset();
  }

  /// @return "" or why nothing could be read
  std::string ask(Clock::time_point until, std::vector<Reading>& got) {
    for (int attempt = 1;; ++attempt) {
      if (attempt == 1 && last_begin != Clock::time_point::min())
        if (!pause_until(std::min(until, last_begin + duration_of(options.least_spacing_s))))
          return "stopped";
      const Clock::time_point begin = last_begin = Clock::now();
      const double left_s = seconds(until - begin);
      if (left_s <= 0)
        return fmt::format("asked again too soon: it is read every {:g} s at most", options.least_spacing_s);
      std::string problem;
      try {
        got = device->read(left_s);
        const double middle_s = seconds((begin + (Clock::now() - begin) / 2).time_since_epoch());
        for (Reading& reading : got) reading.monotonic_s = middle_s;
        return "";
      } catch (const DeviceRefusal& refusal) {
        const std::lock_guard lock(mutex);
        failure_state = refusal.state;
        remedy = refusal.remedy;
        return refusal.what();
      } catch (const std::exception& error) {
        problem = error.what();
      } catch (...) {
        problem = "failed in an unknown way";
      }
      const double pause_s = options.back_off_s * std::exp2(attempt - 1);
      if (attempt >= options.attempts || Clock::now() + duration_of(pause_s) >= until) return problem;
      if (!pause_until(Clock::now() + duration_of(pause_s))) return problem;
    }
  }

  /// @return false when the meter is closed meanwhile: nothing is asked any more
  bool pause_until(Clock::time_point when) {
    std::unique_lock lock(mutex);
    return !changed.wait_until(lock, when, [&] { return stopping; });
  }
};

BoundedMeter::BoundedMeter(std::string name, std::vector<Channel> channels, std::shared_ptr<Device> device,
                           BoundedOptions options)
    : name_(std::move(name)),
      channels_(std::move(channels)),
      options_(options),
      worker_(std::make_shared<Worker>()) {
  worker_->name = name_;
  worker_->device = std::move(device);
  worker_->options = options_;
  worker_->thread = std::thread(Worker::run, worker_);
}

BoundedMeter::~BoundedMeter() {
  std::unique_lock lock(worker_->mutex);
  worker_->stopping = true;
  worker_->changed.notify_all();
  const bool hangs =
      !worker_->changed.wait_for(lock, std::chrono::milliseconds(200), [&] { return !worker_->busy; });
  lock.unlock();
  if (hangs)
    worker_->thread.detach();
  else
    worker_->thread.join();
}

double BoundedMeter::cpu_s() const { return worker_->cpu_s; }

std::unique_ptr<Meter> BoundedMeter::answering(std::string name, std::vector<Channel> channels,
                                               std::shared_ptr<Device> device, BoundedOptions options,
                                               double timeout_s) {
  auto meter =
      std::make_unique<BoundedMeter>(std::move(name), std::move(channels), std::move(device), options);
  const std::vector<Reading> readings = meter->read(timeout_s);
  if (std::any_of(readings.begin(), readings.end(),
                  [](const Reading& each) { return each.value.has_value(); }))
    return meter;
  const std::lock_guard lock(meter->worker_->mutex);
  throw OpenError(meter->worker_->failure_state,
                  readings.empty() ? meter->name_ + ": no channels" : readings.front().reason,
                  meter->worker_->remedy);
}

std::vector<Reading> BoundedMeter::none(const std::string& reason) const {
  Reading reading;
  reading.monotonic_s = seconds(Clock::now().time_since_epoch());
  reading.reason = name_ + ": " + reason;
  return std::vector<Reading>(channels_.size(), reading);
}

std::vector<Reading> BoundedMeter::read(double timeout_s) {
  const Clock::time_point now = Clock::now(), end = now + duration_of(timeout_s);
  std::unique_lock lock(worker_->mutex);
  const auto idle = [&] { return !worker_->busy; };
  if (!worker_->changed.wait_until(lock, end, idle))
    return none(
        fmt::format("still no answer to the call of {:.1f} s ago", seconds(Clock::now() - worker_->since)));
  worker_->since = Clock::now();
  worker_->deadline = end - duration_of(margin_s(timeout_s));
  worker_->busy = true;
  worker_->readings.clear();
  worker_->failure.clear();
  worker_->failure_state = MeterProbe::State::kFaulty;
  worker_->remedy.clear();
  worker_->changed.notify_all();
  if (!worker_->changed.wait_until(lock, end, idle))
    return none(fmt::format("no answer within {:g} s", timeout_s));
  if (!worker_->failure.empty()) return none(worker_->failure);
  std::vector<Reading> readings = std::move(worker_->readings);
  if (readings.size() != channels_.size())
    return none(fmt::format("{} readings for {} channels", readings.size(), channels_.size()));
  for (Reading& reading : readings)
    if (!reading.value) reading.reason = name_ + ": " + reading.reason;
  return readings;
}

}  // namespace mlpwatt
