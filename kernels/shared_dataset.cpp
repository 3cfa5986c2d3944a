#include "kernels/shared_dataset.h"

#include <mutex>

namespace mlpwatt {

std::shared_ptr<const Dataset> shared_dataset(const std::string& name, const DatasetOptions& options) {
  static std::mutex mutex;
  static std::string last_key;
  static std::shared_ptr<const Dataset> last;
  const std::string key = name + '\n' + options.data_dir + '\n' +
                          std::to_string(static_cast<int>(options.source)) + '\n' +
                          std::to_string(options.seed);
  const std::lock_guard lock(mutex);
  if (key != last_key) {
    last = std::make_shared<const Dataset>(load_dataset(name, options));
    last_key = key;
  }
  return last;
}

}  // namespace mlpwatt
