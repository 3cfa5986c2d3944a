#pragma once
// Datasets for kernels: the runs of a sitting mostly train on the same one.

#include <memory>
#include <string>

#include "kernels/dataset.h"

namespace mlpwatt {

/// As load_dataset(), but the last one loaded is kept and handed out again while name and options are the
/// same.
/// Errors: as load_dataset().
std::shared_ptr<const Dataset> shared_dataset(const std::string& name, const DatasetOptions& options);

}  // namespace mlpwatt
