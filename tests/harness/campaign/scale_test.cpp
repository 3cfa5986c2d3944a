// The full grid on many nodes, simulated with step times that were measured.

#include <gtest/gtest.h>

#include <algorithm>
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

TEST(Scale, TheFullGridOn256NodesIsBalanced) {
  const Calibration calibration = recorded_calibration();
  const TimeModel& model = calibration.model("cpu", "", 0);
  const Hierarchy hierarchy = recorded_hierarchy();
  const std::map<std::string, double> measured = measured_steps();
  ASSERT_GE(measured.size(), 100u);
  const Plan settings;
  const Grid grid = make_grid({});
  std::vector<double> predicted_step_s;
  for (const GridPoint& point : grid.points)
    predicted_step_s.push_back(model.step_s(
        point.network, 256, all_datasets()[static_cast<std::size_t>(point.dataset)].observations, hierarchy));
  std::vector<std::size_t> known;
  for (std::size_t i = 0; i < grid.points.size(); ++i)
    if (measured.contains(grid.points[i].entry.benchmark)) known.push_back(i);
  ASSERT_EQ(known.size(), measured.size());

  // Each configuration's step takes as much longer than predicted as that of the measured one nearest to it.
  std::vector<double> planned_s, taken_s;
  for (std::size_t i = 0; i < grid.points.size(); ++i) {
    const GridPoint& point = grid.points[i];
    const std::size_t nearest =
        *std::min_element(known.begin(), known.end(), [&](std::size_t a, std::size_t b) {
          return distance(grid.points[a].coordinates, point.coordinates) <
                 distance(grid.points[b].coordinates, point.coordinates);
        });
    const double ratio = measured.at(grid.points[nearest].entry.benchmark) / predicted_step_s[nearest];
    const std::int64_t parameters = point.network.parameters();
    planned_s.push_back(model.run_s(predicted_step_s[i], parameters, settings.protocol));
    taken_s.push_back(model.run_s(ratio * predicted_step_s[i], parameters, settings.protocol));
  }
  for (const int nodes : {16, 64, 256, 1024}) {
    const std::vector<int> shard_of = shard_by_longest_first(taken_s, nodes);
    const Balance balance = balance_of(shard_loads(taken_s, shard_of, nodes));
    // What errors of the prediction cost is reported: it depends on how quiet the machine was when recorded.
    const Balance unforeseen =
        balance_of(shard_loads(taken_s, shard_by_longest_first(planned_s, nodes), nodes));
    std::printf("%d nodes: %.0f s, imbalance %.3f %%; cut by predictions alone %.1f %%\n", nodes,
                balance.wall_s, 100 * balance.imbalance, 100 * unforeseen.imbalance);
    if (nodes <= 256) {
      EXPECT_LT(balance.imbalance, 0.05) << nodes;
    }
    // by turns, what one would do without knowing times
    std::vector<int> by_turns;
    for (std::size_t i = 0; i < planned_s.size(); ++i)
      by_turns.push_back(static_cast<int>(i % static_cast<std::size_t>(nodes)));
    EXPECT_LT(balance.imbalance, balance_of(shard_loads(taken_s, by_turns, nodes)).imbalance) << nodes;
  }
}

}  // namespace
}  // namespace mlpwatt::testing
