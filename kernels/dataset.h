#pragma once
// The study's 13 tasks: PMLB files (gzip'd TSV, header row, `target` last), or seeded synthetic
// stand-ins of the same size and task when, and only when, they are asked for.

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/network.h"

namespace mlpwatt {

/// One row of the study's dataset table.
struct DatasetInfo {
  std::string name;
  std::int64_t observations = 0;
  int features = 0;
  int outputs = 0;  ///< columns of Y: classes, or 1 for binary and regression
  Task task = Task::kMulticlass;
};

/// The 13 datasets in the study's order.
const std::vector<DatasetInfo>& all_datasets();
/// Errors: std::invalid_argument naming the value and the nearest valid names.
const DatasetInfo& dataset_info(const std::string& name);

enum class DatasetSource {
  kFile,       ///< a PMLB file; missing = error
  kSynthetic,  ///< a seeded stand-in
  kAuto,       ///< the file when there is one, else the stand-in
};
DatasetSource parse_dataset_source(const std::string& name);  ///< "file", "synthetic", "auto"

struct DatasetOptions {
  DatasetSource source = DatasetSource::kFile;
  std::string data_dir;    ///< searched first when not empty
  std::uint64_t seed = 1;  ///< of the split's shuffle and of a stand-in's values
};

/// Features and targets in row-major float32, already scaled, and the split.
/// Rows are in shuffled order: the first train_rows() are the training split.
struct Dataset {
  DatasetInfo info;
  std::string source;     ///< "file" or "synthetic"
  std::string path;       ///< of the file; empty for a stand-in
  std::string checksum;   ///< "sha256:..." of the file, "sha256:..." of the values for a stand-in
  bool official = false;  ///< the checksum is PMLB's own
  std::int64_t rows = 0;
  std::int64_t test_rows = 0;  ///< the last rows; round-half-up of 20 %
  std::vector<float> x;        ///< [rows x features], min-max scaled per feature to [0, 1]
  std::vector<float> y;        ///< [rows x outputs]: one-hot, {0,1}, or target scaled to [0, 1]

  std::int64_t train_rows() const { return rows - test_rows; }
  std::int64_t train_batches(int batch) const { return (train_rows() + batch - 1) / batch; }
  std::int64_t test_batches(int batch) const { return (test_rows + batch - 1) / batch; }
};

/// The sha256 (64 hexadecimal digits) of PMLB's own file of this dataset.
/// Errors: as dataset_info.
const std::string& official_sha256(const std::string& name);

/// Tells where the project's own data lies (the build's source folder, the installed one), for
/// a program that knows. Without it: kernels/data and share/mlpwatt/data beside the folder of the running
/// executable, then kernels/data in the working directory. Not thread-safe: call it first in main().
void set_project_data_dirs(std::vector<std::string> directories);

/// Where dataset files are looked for, in order: options.data_dir, $MLPWATT_DATA, the project's own
/// data (next to the sources or installed), $XDG_CACHE_HOME/mlpwatt (else ~/.cache/mlpwatt).
std::vector<std::string> dataset_search_path(const DatasetOptions& options);

/// Reads NAME/NAME.tsv.gz (or NAME.tsv.gz) from the search path.
/// Errors: std::runtime_error in one line: the dataset, where it was looked for and the remedy
/// (`make datasets`, --data-dir, --dataset-source), or the file, line and what is wrong there.
Dataset load_dataset(const std::string& name, const DatasetOptions& options);

}  // namespace mlpwatt
