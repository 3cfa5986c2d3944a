#pragma once
// Datasets and networks small enough for the emulator.

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/dataset.h"
#include "kernels/network.h"
#include "kernels/random.h"

namespace mlpwatt::gpu {

/// Two unequal numbers of anything prime, so that an index swapped anywhere shows.
inline Dataset small_data(int features, int outputs, Task task, std::int64_t train_rows,
                          std::int64_t test_rows = 9) {
  Dataset data;
  data.info = {"small", train_rows + test_rows, features, outputs, task};
  data.rows = train_rows + test_rows;
  data.test_rows = test_rows;
  RandomStream stream(7);
  for (std::int64_t r = 0; r < data.rows; ++r) {
    for (int f = 0; f < features; ++f) data.x.push_back(static_cast<float>(uniform_unit(stream)));
    const auto right =
        static_cast<int>(uniform_below(stream, static_cast<std::uint64_t>(std::max(outputs, 2))));
    for (int o = 0; o < outputs; ++o)
      data.y.push_back(task == Task::kMulticlass ? (o == right ? 1.0f : 0.0f)
                       : task == Task::kBinary   ? static_cast<float>(right)
                                                 : static_cast<float>(uniform_unit(stream)));
  }
  return data;
}

inline Network network_of(int inputs, std::vector<int> widths, Task task, bool residual = false) {
  Network network;
  network.inputs = inputs;
  network.widths = std::move(widths);
  network.task = task;
  network.residual = residual;
  return network;
}

}  // namespace mlpwatt::gpu
