#include "kernels/dataset.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "kernels/dataset_parts.h"
#include "kernels/nearest.h"
#include "kernels/sha256.h"

namespace mlpwatt {

namespace {

namespace fs = std::filesystem;

struct Known {
  DatasetInfo info;
  std::string sha256;  // of PMLB's file; a test compares with kernels/data/PMLB.tsv
};

const std::vector<Known>& known() {
  constexpr Task kMulti = Task::kMulticlass, kBinary = Task::kBinary, kRegression = Task::kRegression;
  static const std::vector<Known> table{
      {{"201_pol", 15000, 48, 1, kRegression},
       "bfd1b9c6e5f6314f6ddfc285ace11381570ad688c6c857562c3155a4e478530d"},
      {{"529_pollen", 3848, 4, 1, kRegression},
       "2e9414f0216e75296ba4211c567dd8a60d269273b38f8e00bd8fea3a37d2e654"},
      {{"537_houses", 20640, 8, 1, kRegression},
       "d383fd58bb79760ffaf0b615942fd47d926a19e75a8f980b79fbe9ad479d9cbf"},
      {{"connect_4", 67557, 42, 3, kMulti},
       "e283074e1123d23361332bd83414c172640d2596fc076d1e20e8f4a64a658137"},
      {{"mnist", 70000, 784, 10, kMulti}, "5b1d8788d9512819fd46d1acf1e86e70cb5f4418c8e8bfe299ebd3abf2188217"},
      {{"sleep", 105908, 13, 5, kMulti}, "da326113ba8074a5931eb92db0c9acbe8a0ffff62aa916b11a761bdef11231ce"},
      {{"wine_quality_white", 4898, 11, 7, kMulti},
       "0d39f17afc3a1712bd6c460aa941aed7835b3feb142538adfdd31ddc2451d60d"},
      {{"adult", 48842, 14, 1, kBinary}, "fb8bc76eafa39558b6044907f23416faf99099cefb8afd06a2cf5afbdae1b506"},
      {{"nursery", 12958, 8, 4, kMulti}, "5e56c09fc2c6a983c031879fe7de5fc945c44db2ca65f10fc5f5b6fc770489ff"},
      {{"splice", 3188, 60, 3, kMulti}, "30f7c126059de9f5962c41bbfbdee2926ea9432e4d620930ce6db79a43885510"},
      {{"294_satellite_image", 6435, 36, 1, kRegression},
       "4a65cdd640642af2c5d3c6a53b61e563156feb14bd26486dc9d5f47140c0690f"},
      {{"banana", 5300, 2, 1, kRegression},  // two classes in PMLB; a regression in the study's index
       "546c047502ad902c099a627f831f338bc77e824d2e7cadcc2733bd3d6a0a949e"},
      {{"505_tecator", 240, 124, 1, kRegression},
       "4a2bfb8dd7b1b617c1d7ffe8ae85a3dade9178e5d5dd6aa049189843321e1ff3"}};
  return table;
}

const Known& find_known(const std::string& name) {
  const auto found =
      std::find_if(known().begin(), known().end(), [&](const Known& k) { return k.info.name == name; });
  if (found != known().end()) return *found;
  std::vector<std::string> names;
  for (const Known& k : known()) names.push_back(k.info.name);
  throw std::invalid_argument(unknown_name("dataset", name, names));
}

std::vector<std::string>& chosen_project_dirs() {
  static std::vector<std::string> directories;
  return directories;
}

std::vector<std::string> project_data_dirs() {
  if (!chosen_project_dirs().empty()) return chosen_project_dirs();
  std::vector<std::string> directories;
  std::error_code error;
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    const fs::path above = executable.parent_path().parent_path();
    directories.push_back((above / "kernels" / "data").string());
    directories.push_back((above / "share" / "mlpwatt" / "data").string());
  }
  directories.push_back("kernels/data");
  return directories;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The first of the search path's files of this name; empty when there is none.
std::string find_file(const std::string& name, const std::vector<std::string>& directories) {
  for (const fs::path directory : directories)
    for (const fs::path& path : {directory / name / (name + ".tsv.gz"), directory / (name + ".tsv.gz")}) {
      std::error_code error;
      if (fs::exists(path, error) && !fs::is_directory(path, error)) return path.string();
    }
  return "";
}

Dataset load_file(const Known& entry, const std::string& path, std::uint64_t seed) {
  const std::string sum = sha256_of_file(path);
  Dataset dataset = prepare_dataset(entry.info, read_table(path), seed);
  dataset.source = "file";
  dataset.path = path;
  dataset.checksum = "sha256:" + sum;
  dataset.official = sum == entry.sha256;
  return dataset;
}

}  // namespace

const std::vector<DatasetInfo>& all_datasets() {
  static const std::vector<DatasetInfo> infos = [] {
    std::vector<DatasetInfo> list;
    for (const Known& k : known()) list.push_back(k.info);
    return list;
  }();
  return infos;
}

const DatasetInfo& dataset_info(const std::string& name) { return find_known(name).info; }

const std::string& official_sha256(const std::string& name) { return find_known(name).sha256; }

DatasetSource parse_dataset_source(const std::string& name) {
  if (name == "file") return DatasetSource::kFile;
  if (name == "synthetic") return DatasetSource::kSynthetic;
  if (name == "auto") return DatasetSource::kAuto;
  throw std::invalid_argument(unknown_name("dataset source", name, {"file", "synthetic", "auto"}));
}

void set_project_data_dirs(std::vector<std::string> directories) {
  chosen_project_dirs() = std::move(directories);
}

std::vector<std::string> dataset_search_path(const DatasetOptions& options) {
  std::vector<std::string> path;
  if (!options.data_dir.empty()) path.push_back(options.data_dir);
  if (const std::string data = variable("MLPWATT_DATA"); !data.empty()) path.push_back(data);
  for (const std::string& directory : project_data_dirs()) path.push_back(directory);
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty())
    path.push_back(cache + "/mlpwatt");
  else if (const std::string home = variable("HOME"); !home.empty())
    path.push_back(home + "/.cache/mlpwatt");
  return path;
}

Dataset load_dataset(const std::string& name, const DatasetOptions& options) {
  const Known& entry = find_known(name);
  if (options.source == DatasetSource::kSynthetic) return synthetic_dataset(entry.info, options.seed);
  const std::vector<std::string> directories = dataset_search_path(options);
  // A file that is there but broken stays an error with kAuto too: nothing is replaced silently.
  if (const std::string path = find_file(name, directories); !path.empty())
    return load_file(entry, path, options.seed);
  if (options.source == DatasetSource::kAuto) return synthetic_dataset(entry.info, options.seed);
  std::string places;
  for (const std::string& directory : directories) places += (places.empty() ? "" : ", ") + directory;
  throw std::runtime_error("dataset '" + name + "': no " + name + ".tsv.gz in " + places +
                           "; fetch it with `make datasets`, name its folder with --data-dir, or take a "
                           "stand-in with --dataset-source synthetic");
}

}  // namespace mlpwatt
