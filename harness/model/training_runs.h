#pragma once
// Configurations of training steps and the work the model explains them by; and the rows of a results file
// that are such steps.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "harness/record/record_file.h"
#include "kernels/cost.h"
#include "kernels/hierarchy.h"
#include "kernels/network.h"
#include "kernels/traffic.h"

namespace mlpwatt::model {

/// One training step to be explained or predicted.
struct Configuration {
  std::string backend = "cpu", dataset, shape, algorithm, isa;
  std::string device;  ///< a GPU's name; "" for the processor, or where nobody said
  std::int64_t size = 0;
  int depth = 0, batch = 256, threads = 1;
  std::int64_t dataset_rows = 0;
  Network network;
  std::string name() const;  ///< "mnist/rectangle/4096/4", batch and threads where not the usual
};

/// The four levels a coefficient can belong to; a machine without one never touches it.
const std::vector<std::string>& level_names();  ///< L1 L2 L3 memory

/// What one step does, averaged over an epoch as the record's Cost is. Bytes are by level_names().
struct StepWork {
  double layers = 0, flops = 0, parameters = 0, compulsory_bytes = 0;
  std::vector<double> placement_bytes;  ///< (a) each working set counted once, where the study's rule puts it
  Placement placement;
  WorkingSets working_sets;
  bool has_traffic = false;           ///< the algorithm has a traffic model
  std::vector<double> traffic_bytes;  ///< (c) all threads together
  double issued_flops = 0, tiles = 0, roots = 0, barriers = 0, imbalance = 1;
};

/// Errors: std::invalid_argument as place() and the traffic models.
StepWork step_work(const Configuration& configuration, const Hierarchy& hierarchy);

/// Which of several repetitions' values stands for the configuration.
enum class Statistic {
  kMedian,
  kQuickest,  ///< the least: what the machine can do when nobody interferes
};
const char* to_string(Statistic statistic);  ///< "median", "quickest"

/// One row of a file that is a training step that ran.
struct TrainingRun {
  std::int64_t run_row = 0, machine_row = 0;
  Configuration configuration;
  StepWork work;
  double step_s = 0;  ///< over repetitions: their median, or the quickest
  int repetitions = 1;
  Statistic statistic = Statistic::kMedian;  ///< of the repetitions
  std::vector<double> repeat_ratios;  ///< each repetition's time over their median, where there are several
  std::map<std::string, double> energy_j;  ///< per step by provenance: "measured", "modelled"; absent if none
  /// (b) per step by provenance, "measured" or "simulated"; by level_names(), L1 not counted.
  std::map<std::string, std::vector<double>> counter_bytes;
};

/// Repetitions of one configuration on one machine become one run.
std::vector<TrainingRun> merge_repetitions(std::vector<TrainingRun> runs,
                                           Statistic statistic = Statistic::kMedian);

/// For each row of /machine the first one of the same machine: what a step costs depends on these columns;
/// others (memory a virtual machine is lent, governor, kernel release) may change between sittings.
std::vector<std::int64_t> same_machines(const std::vector<Row>& machines);

/// The hierarchy a row of /machine describes.
Hierarchy hierarchy_of(const Row& machine);
/// Whether a row of /runs has its device's hierarchy.
bool describes_device(const Row& run);
/// Whether it is known what a row of /runs was computed in: a processor is what its machine describes, a
/// device what its row does, or the machine where that stands for the device (imported nodes).
bool knows_hierarchy(const Row& machine, const Row& run);
/// What a row of /runs was computed in: its device's hierarchy where the row describes one, else its
/// machine's.
Hierarchy hierarchy_of(const Row& machine, const Row& run);

/// Whether a row of /runs is a training step that ran.
bool is_training_step(const Row& run);
/// Rows of its batch: its column, else its command line's, else the study's 256.
int batch_of(const Row& run);

/// The configuration of a row of /runs; of its algorithm the name, without how it was tuned.
/// Errors: std::invalid_argument when the row is none, or names what this program does not know.
Configuration configuration_of(const Row& run);

/// Rows with status ok of the training families. Rows this program cannot explain are counted in `skipped`
/// by reason.
/// @param flagged_energies take energies with quality flags as well; else such a row has a time only
std::vector<TrainingRun> training_runs(const Contents& contents,
                                       std::map<std::string, int>* skipped = nullptr,
                                       bool flagged_energies = false);

}  // namespace mlpwatt::model
