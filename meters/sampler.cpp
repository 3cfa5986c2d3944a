#include "meters/sampler.h"

#include <fmt/format.h>
#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "meters/thread_name.h"

namespace mlpwatt {
namespace {

double read_clock(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// A difference of the wall offset that no slewing explains.
constexpr double kWallStep_s = 0.5;
/// A meter due within this part of its period is read along with one that is due: waking the thread costs
/// several times what a reading does (measured by `make sampler-cost`: 100 us of processor time a wake-up
/// where the second core slept, 1.3 us a file).
constexpr double kEarly = 0.25;

std::chrono::steady_clock::time_point as_time_point(double monotonic_s) {
  return std::chrono::steady_clock::time_point(
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(
          std::chrono::duration<double>(monotonic_s)));
}

}  // namespace

double monotonic_now_s() { return read_clock(CLOCK_MONOTONIC); }
double wall_offset_s() {
  // The mean of two monotonic readings around it belongs to the wall clock's moment.
  const double before = read_clock(CLOCK_MONOTONIC), wall = read_clock(CLOCK_REALTIME);
  return wall - 0.5 * (before + read_clock(CLOCK_MONOTONIC));
}

/// Meters read by one thread, and everything that thread touches: it may outlive the sampler.
struct Sampler::Team {
  struct Member {
    std::unique_ptr<Meter> meter;
    std::string name;
    double poll_s = 1, timeout_s = 1, due_s = 0;
    std::vector<Series> series;
  };
  std::vector<Member> members;
  bool slow = false;
  std::thread thread;

  mutable std::mutex mutex;
  std::condition_variable wake, done;
  bool stopping = false, ended = false;
  std::int64_t marks_wanted = 0, marks_made = 0, reads = 0;
  double cpu_s = 0, wall_offset = 0;
  std::function<double()> wall_offset_now;
  Member* reading = nullptr;  ///< the one whose read is going on
  double reading_since_s = 0;

  static void run(const std::shared_ptr<Team>& team) {
    name_meter_thread(team->slow ? team->members.front().name : "fast");
    std::unique_lock lock(team->mutex);
    while (!team->stopping) {
      const std::int64_t wanted = team->marks_wanted;
      const bool marking = wanted > team->marks_made;
      for (Member& member : team->members) {
        if (team->stopping) break;
        if (marking || member.due_s - kEarly * member.poll_s <= monotonic_now_s()) team->read(member, lock);
      }
      if (marking) {
        team->marks_made = wanted;
        team->done.notify_all();
      }
      team->cpu_s = read_clock(CLOCK_THREAD_CPUTIME_ID);
      const auto next = std::min_element(team->members.begin(), team->members.end(),
                                         [](const Member& a, const Member& b) { return a.due_s < b.due_s; });
      team->wake.wait_until(lock, as_time_point(next->due_s), [&] {
        return team->stopping || team->marks_wanted > team->marks_made || next->due_s <= monotonic_now_s();
      });
    }
    team->ended = true;
    team->done.notify_all();
  }

  void read(Member& member, std::unique_lock<std::mutex>& lock) {
    reading = &member;
    reading_since_s = monotonic_now_s();
    lock.unlock();
    std::vector<Reading> readings = member.meter->read(member.timeout_s);
    const double offset = wall_offset_now();
    lock.lock();
    reading = nullptr;
    ++reads;
    const double now = monotonic_now_s();
    // A meter that is read late is not read more often afterwards.
    member.due_s += member.poll_s * std::max(1.0, std::ceil((now - member.due_s) / member.poll_s));
    const bool stepped = std::fabs(offset - wall_offset) > kWallStep_s;
    if (stepped) wall_offset = offset;
    for (Member& each : members)
      for (Series& series : each.series)
        if (stepped) series.wall_steps_s.push_back(now);
    for (std::size_t i = 0; i < member.series.size(); ++i) {
      Reading missing;
      missing.monotonic_s = now;
      missing.reason = fmt::format("{}: {}: the meter returned {} of {} readings", member.name,
                                   member.series[i].channel.domain, readings.size(), member.series.size());
      member.series[i].readings.push_back(i < readings.size() ? std::move(readings[i]) : std::move(missing));
    }
    done.notify_all();
  }
};

Sampler::Sampler(std::vector<std::unique_ptr<Meter>> meters, SamplerOptions options)
    : options_(std::move(options)) {
  std::shared_ptr<Team> fast;
  for (std::unique_ptr<Meter>& meter : meters) {
    std::shared_ptr<Team> team = meter->slow() ? std::make_shared<Team>() : fast;
    if (!team) team = fast = std::make_shared<Team>();
    if (std::find(teams_.begin(), teams_.end(), team) == teams_.end()) teams_.push_back(team);
    team->slow = meter->slow();
    Team::Member member;
    member.name = meter->name();
    member.poll_s = std::max(1e-3, meter->poll_period_s());
    member.timeout_s = meter->slow() ? options_.slow_timeout_s : options_.fast_timeout_s;
    member.due_s = monotonic_now_s();
    for (const Channel& channel : meter->channels())
      member.series.push_back({member.name, channel, member.poll_s, {}, {}});
    member.meter = std::move(meter);
    team->members.push_back(std::move(member));
  }
  for (const auto& team : teams_) {
    team->wall_offset_now = options_.wall_offset;
    team->wall_offset = options_.wall_offset();
    team->thread = std::thread(Team::run, team);
  }
}

Sampler::~Sampler() { stop(); }

void Sampler::mark() {
  for (const auto& team : teams_) {
    if (team->slow) continue;
    std::unique_lock lock(team->mutex);
    const std::int64_t wanted = ++team->marks_wanted;
    team->wake.notify_all();
    team->done.wait_until(lock, as_time_point(monotonic_now_s() + options_.mark_timeout_s),
                          [&] { return team->marks_made >= wanted || team->ended; });
  }
}

void Sampler::wait_past(double t, double deadline_s) {
  for (const auto& team : teams_) {
    std::unique_lock lock(team->mutex);
    team->done.wait_until(lock, as_time_point(deadline_s), [&] {
      return team->ended ||
             std::all_of(team->members.begin(), team->members.end(), [&](const Team::Member& each) {
               return std::all_of(each.series.begin(), each.series.end(), [&](const Series& series) {
                 return !series.readings.empty() && series.readings.back().monotonic_s > t;
               });
             });
    });
  }
}

std::vector<Series> Sampler::series(double from_s) const {
  std::vector<Series> all;
  for (const auto& team : teams_) {
    const std::lock_guard lock(team->mutex);
    const double now = monotonic_now_s();
    for (const Team::Member& member : team->members)
      for (const Series& series : member.series) {
        Series copy{series.meter, series.channel, series.poll_period_s, {}, series.wall_steps_s};
        // stamps of a device's own may be disordered: no search by halves
        std::copy_if(series.readings.begin(), series.readings.end(), std::back_inserter(copy.readings),
                     [&](const Reading& reading) { return reading.monotonic_s >= from_s; });
        if (team->reading == &member && now - team->reading_since_s > member.timeout_s) {
          Reading hanging;
          hanging.monotonic_s = now;
          hanging.reason =
              fmt::format("{}: no answer for {:.1f} s", member.name, now - team->reading_since_s);
          copy.readings.push_back(std::move(hanging));
        }
        all.push_back(std::move(copy));
      }
  }
  return all;
}

void Sampler::forget(double t) {
  for (const auto& team : teams_) {
    const std::lock_guard lock(team->mutex);
    for (Team::Member& member : team->members)
      for (Series& series : member.series) {
        std::erase_if(series.readings, [&](const Reading& reading) { return reading.monotonic_s < t; });
        std::erase_if(series.wall_steps_s, [&](double step) { return step < t; });
      }
  }
}

void Sampler::stop() {
  for (const auto& team : teams_) {
    const std::lock_guard lock(team->mutex);
    team->stopping = true;
    team->wake.notify_all();
  }
  for (const auto& team : teams_) {
    if (!team->thread.joinable()) continue;
    std::unique_lock lock(team->mutex);
    // An ordinary read is over in milliseconds; a hanging one may never be.
    const bool ended = team->done.wait_until(lock, as_time_point(monotonic_now_s() + options_.fast_timeout_s),
                                             [&] { return team->ended; });
    lock.unlock();
    if (ended)
      team->thread.join();
    else
      team->thread.detach();
  }
}

double Sampler::cpu_s() const {
  double sum = 0;
  for (const auto& team : teams_) {
    const std::lock_guard lock(team->mutex);
    sum += team->cpu_s;
    for (const Team::Member& member : team->members) sum += member.meter->cpu_s();
  }
  return sum;
}

std::int64_t Sampler::reads() const {
  std::int64_t sum = 0;
  for (const auto& team : teams_) {
    const std::lock_guard lock(team->mutex);
    sum += team->reads;
  }
  return sum;
}

}  // namespace mlpwatt
