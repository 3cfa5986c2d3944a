// The full grid on many nodes, simulated with step times that were measured.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "harness/campaign/grid.h"
#include "harness/campaign/predict.h"
#include "harness/campaign/shard.h"
#include "tests/harness/campaign/records.h"

namespace mlpwatt::testing {
namespace {

// Recorded by tests/harness/campaign/measured/record.sh, which says on what machine: a calibration, and a
// space-filling sample of the grid, run as a campaign that was planned with it.
const std::string kFolder = "tests/harness/campaign/measured/";

Calibration recorded_calibration() {
  return parse_calibration(nlohmann::json::parse(read_text(kFolder + "calibration.json")));
}

/// Measured step time of each benchmark in runs.csv: "name,step_s".
std::map<std::string, double> measured_steps() {
  std::map<std::string, double> steps;
  std::istringstream file(read_text(kFolder + "runs.csv"));
  std::string line;
  std::getline(file, line);
  while (std::getline(file, line)) {
    const std::size_t comma = line.find(',');
    steps[line.substr(0, comma)] = std::stod(line.substr(comma + 1));
  }
  return steps;
}

/// The machine the recording was made on, as far as the model looks at it.
Hierarchy recorded_hierarchy() {
  Hierarchy hierarchy;
  std::istringstream words(read_text(kFolder + "hierarchy.txt"));
  words >> hierarchy.cores;
  hierarchy.hardware_threads = hierarchy.cores;
  CacheLevel level;
  while (words >> level.name >> level.capacity_bytes >> level.shared_by_cores)
    hierarchy.levels.push_back(level);
  return hierarchy;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

/// The full grid, as predicted and as the recording says it would have gone.
struct Recorded {
  std::vector<double> planned_s, taken_s;        ///< of each configuration's run
  std::vector<double> planned_step, taken_step;  ///< of the measured ones: seconds a step
  std::vector<std::size_t> known;                ///< which these are
};

const Recorded& recorded() {
  static const Recorded record = [] {
    Recorded made;
    const Calibration calibration = recorded_calibration();
    const TimeModel& model = calibration.model("cpu", "", 0);
    const Hierarchy hierarchy = recorded_hierarchy();
    const std::map<std::string, double> measured = measured_steps();
    const Plan settings;
    const Grid grid = make_grid({});
    std::vector<double> step_s;
    for (const GridPoint& point : grid.points)
      step_s.push_back(model.step_s(point.network, 256,
                                    all_datasets()[static_cast<std::size_t>(point.dataset)].observations,
                                    hierarchy));
    for (std::size_t i = 0; i < grid.points.size(); ++i) {
      const auto found = measured.find(grid.points[i].entry.benchmark);
      if (found == measured.end()) continue;
      made.known.push_back(i);
      made.planned_step.push_back(step_s[i]);
      made.taken_step.push_back(found->second);
    }
    // Each configuration's step takes as much longer than predicted as that of the measured one nearest to
    // it.
    for (std::size_t i = 0; i < grid.points.size(); ++i) {
      const GridPoint& point = grid.points[i];
      const auto far = [&](std::size_t k) {
        return distance(grid.points[made.known[k]].coordinates, point.coordinates);
      };
      std::size_t nearest = 0;
      for (std::size_t k = 1; k < made.known.size(); ++k)
        if (far(k) < far(nearest)) nearest = k;
      const double ratio = made.taken_step[nearest] / made.planned_step[nearest];
      const std::int64_t parameters = point.network.parameters();
      made.planned_s.push_back(model.run_s(step_s[i], parameters, settings.protocol));
      made.taken_s.push_back(model.run_s(ratio * step_s[i], parameters, settings.protocol));
    }
    return made;
  }();
  return record;
}

/// Cut by predictions, a shard a node.
Balance cut_by(const std::vector<double>& durations_s, int nodes) {
  return balance_of(shard_loads(recorded().taken_s, shard_by_longest_first(durations_s, nodes), nodes));
}

/// Without knowing times: by turns.
Balance by_turns(const std::vector<double>& taken_s, int nodes) {
  std::vector<int> shard_of;
  for (std::size_t i = 0; i < taken_s.size(); ++i)
    shard_of.push_back(static_cast<int>(i % static_cast<std::size_t>(nodes)));
  return balance_of(shard_loads(taken_s, shard_of, nodes));
}

/// Cut by predictions, and handed out while they take what they take.
Balance handed_out_shards(int nodes, int per_node) {
  const std::vector<int> shard_of = shard_by_longest_first(recorded().planned_s, nodes, per_node);
  return balance_of(handed_out(shard_loads(recorded().taken_s, shard_of, nodes * per_node), nodes));
}

TEST(Scale, PredictionsAreOfUse) {
  const Recorded& record = recorded();
  ASSERT_EQ(record.known.size(), measured_steps().size());
  ASSERT_GE(record.known.size(), 100u);
  std::vector<double> errors;
  for (std::size_t i = 0; i < record.known.size(); ++i)
    errors.push_back(std::fabs(record.planned_step[i] / record.taken_step[i] - 1));
  std::sort(errors.begin(), errors.end());
  const double median = errors[errors.size() / 2];
  std::printf(
      "step predicted / measured - 1 over %zu configurations: median %.1f %%, 90th percentile %.1f %%\n",
      errors.size(), 100 * median, 100 * errors[errors.size() * 9 / 10]);
  // the recorded machine was shared, and so were its calibration and its runs
  EXPECT_LT(median, 0.75);
  for (const int nodes : {16, 64, 256}) {
    const Balance predicted = cut_by(record.planned_s, nodes), turns = by_turns(record.taken_s, nodes);
    std::printf("%d nodes, a shard each: imbalance %.2f %% cut by predictions, %.2f %% by turns\n", nodes,
                100 * predicted.imbalance, 100 * turns.imbalance);
    // at 256 a node's hundred runs are too few for such errors to even out: what handing out is for
    if (nodes <= 64) {
      EXPECT_LT(predicted.imbalance, turns.imbalance) << nodes;
    }
    EXPECT_LT(handed_out_shards(nodes, kShardsPerNode).imbalance, 0.5 * turns.imbalance) << nodes;
  }
}

TEST(Scale, WereTimesKnownTheFullGridOn256NodesWouldBeBalanced) {
  for (const int nodes : {16, 64, 256, 1024}) {
    const Balance balance = cut_by(recorded().taken_s, nodes);
    std::printf("%d nodes: %.0f s, imbalance %.3f %%\n", nodes, balance.wall_s, 100 * balance.imbalance);
    if (nodes <= 256) {
      EXPECT_LT(balance.imbalance, 0.05) << nodes;
    }
    EXPECT_LT(balance.imbalance, by_turns(recorded().taken_s, nodes).imbalance) << nodes;
  }
}

// What a campaign does: shards are cut by predictions, and Slurm hands the next one to the node that is free.
// What starting a task costs is not in it.
TEST(Scale, HandedOutByTheSchedulerTheFullGridOn256NodesIsBalanced) {
  for (const int nodes : {16, 64, 256, 1024})
    for (const int per_node : {1, 2, 3, 4, 6, 8, 12}) {
      if (static_cast<std::size_t>(nodes) * static_cast<std::size_t>(per_node) > recorded().taken_s.size())
        continue;
      const Balance balance = handed_out_shards(nodes, per_node);
      std::printf("%4d nodes x %2d shards%s: %.0f s, imbalance %.2f %%\n", nodes, per_node,
                  per_node == kShardsPerNode ? " (the default)" : "", balance.wall_s,
                  100 * balance.imbalance);
      if (nodes <= 256 && per_node == kShardsPerNode) {
        EXPECT_LT(balance.imbalance, 0.05) << nodes;
        EXPECT_LT(balance.imbalance, handed_out_shards(nodes, 1).imbalance) << nodes;
      }
    }
}

}  // namespace
}  // namespace mlpwatt::testing
