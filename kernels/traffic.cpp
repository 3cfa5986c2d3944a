#include "kernels/traffic.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace mlpwatt {

namespace {

/// Of a capacity: until when nothing is lost, and from when everything is.
constexpr double kFirstLoss = 0.75, kLastHit = 1.5;

/// Share of data that a level of this capacity still holds when `distance_bytes` were touched since. Full
/// associativity and true LRU would drop from 1 to 0 at the capacity; real sets and policies lose lines
/// earlier and keep some longer.
double held_share(double distance_bytes, double capacity_bytes) {
  return std::clamp((kLastHit - distance_bytes / capacity_bytes) / (kLastHit - kFirstLoss), 0.0, 1.0);
}

}  // namespace

double Traffic::bytes_beyond(std::size_t i) const {
  return i + 1 >= bytes.size()
             ? 0
             : std::accumulate(bytes.begin() + static_cast<std::ptrdiff_t>(i) + 1, bytes.end(), 0.0);
}

ReuseTrace::ReuseTrace(const Hierarchy& hierarchy, int threads) : hierarchy_(hierarchy), threads_(threads) {
  if (threads < 1) throw std::invalid_argument("traffic: at least one thread needed");
}

int ReuseTrace::add(Array array) {
  array.team_bytes = std::max(array.team_bytes, array.private_bytes);
  arrays_.push_back(array);
  return static_cast<int>(arrays_.size()) - 1;
}

void ReuseTrace::touch(int array, double times, double remote) {
  const Array& a = arrays_.at(static_cast<std::size_t>(array));
  events_.push_back({array, times * a.private_bytes, 0, 0, remote});
}

void ReuseTrace::touch_fresh(int array, double extent_bytes, double private_extent_bytes) {
  const Array& a = arrays_.at(static_cast<std::size_t>(array));
  const double own = private_extent_bytes >= 0 ? private_extent_bytes : extent_bytes / threads_;
  events_.push_back({array, a.private_bytes, own, extent_bytes, 0});
}

void ReuseTrace::again(double bytes, double private_bytes, double team_bytes) {
  if (bytes > 0) events_.push_back({-1, bytes, private_bytes, std::max(team_bytes, private_bytes), 0});
}

void ReuseTrace::again_beyond_l1(double bytes, double private_bytes, double team_bytes) {
  const double beyond = hierarchy_.levels.empty()
                            ? 0
                            : kLastHit * static_cast<double>(hierarchy_.levels.front().capacity_bytes);
  again(bytes, std::max(private_bytes, beyond), std::max(team_bytes, beyond));
}

void ReuseTrace::serve(Traffic& traffic, double bytes, double private_bytes, double team_bytes,
                       double remote) const {
  double left = 1;
  for (std::size_t i = 0; i < hierarchy_.levels.size() && left > 0; ++i) {
    const CacheLevel& level = hierarchy_.levels[i];
    const int sharing = std::clamp(level.shared_by_cores, 1, threads_);
    const double distance = std::min(team_bytes, sharing * private_bytes);
    double held =
        level.capacity_bytes > 0 ? held_share(distance, static_cast<double>(level.capacity_bytes)) : 0;
    if (sharing < threads_ || threads_ == 1) {
      // What another thread wrote is in its cache; a level both see is the first that can serve it.
      if (threads_ > 1) held *= 1 - remote;
    }
    traffic.bytes[i] += bytes * left * held;
    left *= 1 - held;
  }
  traffic.bytes.back() += bytes * left;
}

Traffic ReuseTrace::per_step() const {
  Traffic traffic;
  for (const CacheLevel& level : hierarchy_.levels) traffic.levels.push_back(level.name);
  traffic.levels.push_back("memory");
  traffic.bytes.assign(traffic.levels.size(), 0);
  traffic.threads = threads_;

  // Arrays touched since the last touch of the array at hand, itself included: the events between, going
  // around the end of the step.
  const std::size_t count = events_.size();
  std::vector<char> seen(arrays_.size());
  for (std::size_t e = 0; e < count; ++e) {
    const Event& event = events_[e];
    if (event.array < 0) {
      serve(traffic, event.bytes, event.private_bytes, event.team_bytes, 0);
      continue;
    }
    std::fill(seen.begin(), seen.end(), 0);
    double private_bytes = event.private_bytes, team_bytes = event.team_bytes;
    for (std::size_t back = 1; back <= count; ++back) {
      const int other = events_[(e + count - back) % count].array;
      if (other < 0) continue;
      if (!seen[static_cast<std::size_t>(other)]) {
        seen[static_cast<std::size_t>(other)] = 1;
        private_bytes += arrays_[static_cast<std::size_t>(other)].private_bytes;
        team_bytes += arrays_[static_cast<std::size_t>(other)].team_bytes;
      }
      if (other == event.array) break;
    }
    serve(traffic, event.bytes, private_bytes, team_bytes, event.remote);
  }
  // Register traffic counts once, at L1: the touches above are its first accesses, already counted there
  // where L1 holds the data.
  double moved = 0;
  for (double& bytes : traffic.bytes) bytes *= threads_, moved += bytes;
  traffic.bytes[0] = std::max(traffic.bytes[0], register_bytes_ * threads_ - (moved - traffic.bytes[0]));
  return traffic;
}

}  // namespace mlpwatt
