#include "kernels/dataset.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "kernels/dataset_parts.h"
#include "kernels/random.h"
#include "kernels/reference.h"
#include "kernels/sha256.h"

namespace mlpwatt {
namespace {

namespace fs = std::filesystem;

/// Sets or (with nullptr) clears an environment variable until the end of the scope.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old, had_ = true;
    value == nullptr ? unsetenv(name) : setenv(name, value, 1);
  }
  ~ScopedVariable() { had_ ? setenv(name_, old_.c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::string old_;
  bool had_ = false;
};

class DatasetFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "mlpwatt-dataset-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string write(const std::string& name, const std::string& text) const {
    const fs::path path = dir_ / name;
    fs::create_directories(path.parent_path());
    gzFile file = gzopen(path.c_str(), "wb");
    EXPECT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())), static_cast<int>(text.size()));
    gzclose(file);
    return path.string();
  }
  std::string error_of(const std::string& text) const {
    const std::string path = write("bad.tsv.gz", text);
    try {
      read_table(path);
    } catch (const std::runtime_error& error) {
      const std::string what = error.what();
      EXPECT_EQ(what.rfind(path, 0), 0u) << what;
      EXPECT_EQ(what.find('\n'), std::string::npos);
      return what.substr(std::min(path.size(), what.size()));
    }
    return "no error";
  }
  fs::path dir_;
};

TEST_F(DatasetFile, ReadsWhatIsThere) {
  const PmlbTable unix_lines = read_table(write("a.tsv.gz", "a\tb\ttarget\n1\t-2.5e1\t0\n.5\t6\t1\n"));
  EXPECT_EQ(unix_lines.columns, (std::vector<std::string>{"a", "b", "target"}));
  EXPECT_EQ(unix_lines.rows, 2);
  EXPECT_EQ(unix_lines.values, (std::vector<double>{1, -25, 0, 0.5, 6, 1}));
  // carriage returns, and no newline at the end
  const PmlbTable dos = read_table(write("b.tsv.gz", "a\tb\ttarget\r\n1\t-2.5e1\t0\r\n.5\t6\t1"));
  EXPECT_EQ(dos.columns, unix_lines.columns);
  EXPECT_EQ(dos.values, unix_lines.values);
}

TEST_F(DatasetFile, EachFaultNamesFileAndLine) {
  EXPECT_EQ(error_of("a\ttarget\n1\t2\nx1\t3\n"), ", line 3: column 'a': 'x1' is not a finite number");
  EXPECT_EQ(error_of("a\ttarget\n1\t2 \n"), ", line 2: column 'target': '2 ' is not a finite number");
  EXPECT_EQ(error_of("a\ttarget\n\t2\n"), ", line 2: column 'a': '' is not a finite number");
  EXPECT_EQ(error_of("a\ttarget\nnan\t2\n"), ", line 2: column 'a': 'nan' is not a finite number");
  EXPECT_EQ(error_of("a\ttarget\n1e999\t2\n"), ", line 2: column 'a': '1e999' is not a finite number");
  EXPECT_EQ(error_of("a\tb\ttarget\n1\t2\t3\n1\t2\n"), ", line 3: 2 cells, but the header has 3");
  EXPECT_EQ(error_of("a\ttarget\n1\t2\t3\n"), ", line 2: 3 cells, but the header has 2");
  EXPECT_EQ(error_of("a\ttarget\n1\t2\t\n"), ", line 2: 3 cells, but the header has 2");
  EXPECT_EQ(error_of("a\tb\n1\t2\n"), ", line 1: the last column must be 'target', not 'b'");
  EXPECT_EQ(error_of("target\ta\n1\t2\n"), ", line 1: the last column must be 'target', not 'a'");
  EXPECT_EQ(error_of("a\ttarget\n"), ": a header but no rows");
  EXPECT_EQ(error_of(""), ", line 1: the last column must be 'target', but there is no header");
}

TEST_F(DatasetFile, DamagedArchives) {
  std::string text = "a\ttarget\n";
  RandomStream stream(1);
  for (int i = 0; i < 5000; ++i) text += std::to_string(stream() % 100000) + "\t1\n";
  const std::string path = write("cut.tsv.gz", text);
  EXPECT_EQ(read_table(path).rows, 5000);
  const auto expect_error = [&](const std::string& part) {
    try {
      read_table(path);
      FAIL() << "no error, expected: " << part;
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  const auto whole = fs::file_size(path);
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(whole / 2));
    file << "garbage garbage garbage";
  }
  expect_error("damaged gzip file");
  write("cut.tsv.gz", text);
  fs::resize_file(path, whole / 2);
  expect_error("truncated");
  fs::resize_file(path, 20);
  expect_error("truncated");
  std::ofstream(path) << "a\ttarget\n1\t2\n";
  expect_error("not a gzip file");
  std::ofstream(path) << "version https://git-lfs.github.com/spec/v1\noid sha256:0\n";
  expect_error("Git LFS pointer");
  fs::remove(path);
  expect_error("cannot be opened");
}

const DatasetInfo kTwoFeatures{"two", 10, 2, 3, Task::kMulticlass};

PmlbTable small_table(int rows) {
  PmlbTable table{"small.tsv.gz", {"a", "constant", "target"}, {}, rows};
  for (int r = 0; r < rows; ++r) {
    table.values.push_back(10.0 + r);
    table.values.push_back(7);
    table.values.push_back(std::vector<double>{4, -1, 9}[static_cast<std::size_t>(r % 3)]);
  }
  return table;
}

TEST(DatasetPrepare, ScalesEncodesAndKeepsRowsTogether) {
  const Dataset data = prepare_dataset(kTwoFeatures, small_table(11), 3);
  ASSERT_EQ(data.x.size(), 22u);
  ASSERT_EQ(data.y.size(), 33u);
  std::set<int> rows;
  for (int r = 0; r < 11; ++r) {
    const int original = static_cast<int>(std::lround(data.x[2 * r] * 10));
    rows.insert(original);
    EXPECT_FLOAT_EQ(data.x[2 * r], static_cast<float>(original) / 10);
    EXPECT_EQ(data.x[2 * r + 1], 0) << "a constant feature";
    // classes in the order of their values: -1, 4, 9
    const int label = std::vector<int>{1, 0, 2}[static_cast<std::size_t>(original % 3)];
    for (int j = 0; j < 3; ++j) EXPECT_EQ(data.y[3 * r + j], j == label ? 1 : 0);
  }
  EXPECT_EQ(rows.size(), 11u) << "every row once";
  EXPECT_EQ(prepare_dataset(kTwoFeatures, small_table(11), 3).x, data.x);
  EXPECT_NE(prepare_dataset(kTwoFeatures, small_table(11), 4).x, data.x);
}

TEST(DatasetPrepare, BinaryAndRegressionTargets) {
  PmlbTable table = small_table(9);
  const Dataset regression = prepare_dataset({"r", 9, 2, 1, Task::kRegression}, table, 1);
  for (const float y : regression.y) EXPECT_TRUE(y == 0.0f || y == 0.5f || y == 1.0f) << y;
  for (std::size_t i = 2; i < table.values.size(); i += 3) table.values[i] = i < 14 ? 1 : 2;
  const Dataset binary = prepare_dataset({"b", 9, 2, 1, Task::kBinary}, table, 1);
  for (int r = 0; r < 9; ++r)
    EXPECT_EQ(binary.y[r], std::lround(binary.x[2 * r] * 8) < 4 ? 0 : 1) << "smaller value is class 0";
  for (std::size_t i = 2; i < table.values.size(); i += 3) table.values[i] = 5;
  for (const float y : prepare_dataset({"r", 9, 2, 1, Task::kRegression}, table, 1).y) EXPECT_EQ(y, 0);
}

TEST(DatasetPrepare, DisagreementsNameTheFile) {
  const auto error_of = [](const DatasetInfo& info, const PmlbTable& table) -> std::string {
    try {
      prepare_dataset(info, table, 1);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_EQ(error_of({"x", 9, 5, 3, Task::kMulticlass}, small_table(9)),
            "small.tsv.gz: 2 features, but 'x' has 5");
  EXPECT_EQ(error_of({"x", 9, 2, 4, Task::kMulticlass}, small_table(9)),
            "small.tsv.gz: 3 different targets, but 'x' has 4 classes");
  EXPECT_EQ(error_of({"x", 9, 2, 1, Task::kBinary}, small_table(9)),
            "small.tsv.gz: 3 different targets, but 'x' has 2 classes");
  EXPECT_EQ(error_of({"x", 9, 2, 1, Task::kRegression}, small_table(2)),
            "small.tsv.gz: 2 rows cannot be split into a training and a test part");
}

TEST(DatasetPrepare, TheShuffleIsTheSameEverywhere) {
  // mt19937_64(1) through our own Fisher-Yates: fixed by the C++ standard and dataset_parts alone.
  std::vector<int> items{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  RandomStream stream(1);
  shuffle(items, stream);
  EXPECT_EQ(items, (std::vector<int>{1, 7, 3, 9, 4, 0, 5, 2, 6, 8}));
}

TEST(DatasetSplit, FourFifthsAndPartialLastBatches) {
  EXPECT_EQ(test_split_rows(10), 2);
  EXPECT_EQ(test_split_rows(12), 2);  // 2.4
  EXPECT_EQ(test_split_rows(13), 3);  // 2.6
  Dataset data;
  data.rows = 4898;  // wine: 979.6 -> 980 test rows, 3918 training rows
  data.test_rows = test_split_rows(data.rows);
  EXPECT_EQ(data.test_rows, 980);
  EXPECT_EQ(data.train_rows(), 3918);
  EXPECT_EQ(data.train_batches(256), 16);  // 15 full ones and 78 rows
  EXPECT_EQ(data.test_batches(256), 4);
  EXPECT_EQ(data.train_batches(3918), 1);
  EXPECT_EQ(data.train_batches(3917), 2);
  EXPECT_EQ(data.train_batches(1), 3918);
}

TEST(DatasetTable, TheThirteenOfTheStudy) {
  ASSERT_EQ(all_datasets().size(), 13u);
  EXPECT_EQ(all_datasets().front().name, "201_pol");
  EXPECT_EQ(all_datasets().back().name, "505_tecator");
  EXPECT_EQ(dataset_info("adult").outputs, 1);
  EXPECT_EQ(dataset_info("adult").task, Task::kBinary);
  EXPECT_EQ(dataset_info("banana").task, Task::kRegression);
  try {
    dataset_info("minst");
    FAIL();
  } catch (const std::invalid_argument& error) {
    EXPECT_EQ(std::string(error.what()).rfind("unknown dataset 'minst'; nearest: mnist", 0), 0u)
        << error.what();
  }
  EXPECT_EQ(parse_dataset_source("auto"), DatasetSource::kAuto);
  EXPECT_THROW(parse_dataset_source("cloud"), std::invalid_argument);
}

// The table in the code against the one `make datasets` uses.
TEST(DatasetTable, ChecksumsAndSizesEqualPmlbsTable) {
  std::ifstream file("kernels/data/PMLB.tsv");
  ASSERT_TRUE(file) << "run the tests from the repository root";
  std::string line;
  std::getline(file, line);
  int seen = 0;
  while (std::getline(file, line)) {
    std::istringstream cells(line);
    std::string name, sum;
    std::int64_t bytes = 0, observations = 0;
    int features = 0;
    cells >> name >> sum >> bytes >> observations >> features;
    EXPECT_EQ(official_sha256(name), sum) << name;
    EXPECT_EQ(dataset_info(name).observations, observations) << name;
    EXPECT_EQ(dataset_info(name).features, features) << name;
    EXPECT_EQ(sum.size(), 64u);
    ++seen;
  }
  EXPECT_EQ(seen, 13);
}

TEST(DatasetTable, Sha256OfAKnownText) {
  Sha256 hash;
  hash.add("a", 1);
  hash.add("bc", 2);
  EXPECT_EQ(hash.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_THROW(sha256_of_file("/nonexistent"), std::runtime_error);
}

TEST(DatasetShipped, WineQualityWhiteLoads) {
  const ScopedVariable data("MLPWATT_DATA", nullptr), cache("XDG_CACHE_HOME", "/nonexistent");
  const Dataset wine = load_dataset("wine_quality_white", {});
  EXPECT_EQ(wine.rows, 4898);
  EXPECT_EQ(wine.source, "file");
  EXPECT_EQ(wine.checksum, "sha256:540c68f7385eb9f1313635c7194ba476c285b545cedb0656a38430e01e6f47cc");
  EXPECT_FALSE(wine.official);
  std::vector<float> low(11, 2), high(11, -1);
  for (std::size_t i = 0; i < wine.x.size(); ++i) {
    ASSERT_TRUE(wine.x[i] >= 0 && wine.x[i] <= 1);
    low[i % 11] = std::min(low[i % 11], wine.x[i]);
    high[i % 11] = std::max(high[i % 11], wine.x[i]);
  }
  EXPECT_EQ(low, std::vector<float>(11, 0));
  EXPECT_EQ(high, std::vector<float>(11, 1));
  for (std::int64_t r = 0; r < wine.rows; ++r) {
    float sum = 0;
    for (int j = 0; j < 7; ++j) sum += wine.y[static_cast<std::size_t>(r * 7 + j)];
    ASSERT_EQ(sum, 1);
  }
}

class SearchPath : public DatasetFile {
 protected:
  std::string place(const std::string& folder, int marker) const {
    std::string text = "a\tb\ttarget\n";  // banana: two features, a regression
    for (int r = 0; r < marker; ++r)
      text += std::to_string(r) + "\t" + std::to_string(r % 7) + "\t" + std::to_string(r % 5) + "\n";
    write(folder + "/banana/banana.tsv.gz", text);
    return (dir_ / folder).string();
  }
};

TEST_F(SearchPath, OptionThenVariableThenProjectThenCache) {
  const std::string option = place("option", 10), variable = place("variable", 20),
                    project = place("project", 30), cache = place("cache/mlpwatt", 40);
  const ScopedVariable data("MLPWATT_DATA", variable.c_str());
  const ScopedVariable home("XDG_CACHE_HOME", (dir_ / "cache").c_str());
  set_project_data_dirs({project});
  DatasetOptions options;
  options.data_dir = option;
  EXPECT_EQ(dataset_search_path(options), (std::vector<std::string>{option, variable, project, cache}));
  EXPECT_EQ(load_dataset("banana", options).rows, 10);
  fs::remove_all(option);
  EXPECT_EQ(load_dataset("banana", options).rows, 20);
  fs::remove_all(variable);
  EXPECT_EQ(load_dataset("banana", options).rows, 30);
  fs::remove_all(project);
  const Dataset last = load_dataset("banana", options);
  EXPECT_EQ(last.rows, 40);
  EXPECT_EQ(last.checksum, "sha256:" + sha256_of_file(last.path));
  fs::remove_all(cache);
  try {
    load_dataset("banana", options);
    FAIL();
  } catch (const std::runtime_error& error) {
    const std::string what = error.what();
    for (const std::string& part : {std::string("'banana'"), option, variable, project, cache,
                                    std::string("make datasets"), std::string("--dataset-source synthetic")})
      EXPECT_NE(what.find(part), std::string::npos) << what;
  }
  options.source = DatasetSource::kAuto;
  EXPECT_EQ(load_dataset("banana", options).source, "synthetic");
  set_project_data_dirs({});
}

TEST_F(SearchPath, ABrokenFileIsNeverReplacedSilently) {
  const std::string folder = place("data", 10);
  write("data/banana.tsv.gz", "a\tb\ttarget\n");  // NAME/NAME.tsv.gz is found first
  DatasetOptions options;
  options.data_dir = folder;
  options.source = DatasetSource::kAuto;
  EXPECT_EQ(load_dataset("banana", options).source, "file");
  fs::remove_all(dir_ / "data/banana");
  EXPECT_THROW(load_dataset("banana", options), std::runtime_error);  // found flat, and has no rows
}

TEST(DatasetSynthetic, HasTheSizeAndTaskOfEveryDataset) {
  DatasetOptions options;
  options.source = DatasetSource::kSynthetic;
  for (const DatasetInfo& info : all_datasets()) {
    if (info.name == "mnist") continue;  // 55 million values; same code
    const Dataset data = load_dataset(info.name, options);
    EXPECT_EQ(data.source, "synthetic");
    EXPECT_FALSE(data.official);
    EXPECT_TRUE(data.path.empty());
    EXPECT_EQ(data.checksum.size(), 7u + 64);
    ASSERT_EQ(data.rows, info.observations);
    ASSERT_EQ(data.x.size(), static_cast<std::size_t>(info.observations * info.features)) << info.name;
    ASSERT_EQ(data.y.size(), static_cast<std::size_t>(info.observations * info.outputs)) << info.name;
    for (const float x : data.x) ASSERT_TRUE(x >= 0 && x <= 1) << info.name;
    std::vector<std::int64_t> counts(static_cast<std::size_t>(std::max(2, info.outputs)));
    for (std::size_t i = 0; i < data.y.size(); ++i) {
      ASSERT_TRUE(data.y[i] >= 0 && data.y[i] <= 1);
      if (info.task == Task::kMulticlass && data.y[i] == 1)
        ++counts[i % static_cast<std::size_t>(info.outputs)];
      if (info.task == Task::kBinary) ++counts[static_cast<std::size_t>(data.y[i])];
    }
    if (info.task == Task::kRegression) continue;
    for (const std::int64_t count : counts) EXPECT_GT(count, info.observations / 50) << info.name;
  }
}

TEST(DatasetSynthetic, SameSeedSameValues) {
  DatasetOptions options;
  options.source = DatasetSource::kSynthetic;
  const Dataset a = load_dataset("505_tecator", options), b = load_dataset("505_tecator", options);
  EXPECT_EQ(a.checksum, b.checksum);
  EXPECT_EQ(a.x, b.x);
  EXPECT_EQ(a.y, b.y);
  options.seed = 2;
  EXPECT_NE(load_dataset("505_tecator", options).checksum, a.checksum);
}

TEST(DatasetSynthetic, CanBeLearned) {
  const DatasetInfo info{"s", 600, 6, 3, Task::kMulticlass};
  const Dataset data = synthetic_dataset(info, 5);
  const Network network = make_network(Shape::kRectangle, 512, 3, 6, 3, Task::kMulticlass);
  reference::Trainer trainer(network, reference::initial_parameters(network, 1), {1e-2});
  for (int step = 0; step < 150; ++step) trainer.step(data.x.data(), data.y.data(), data.train_rows());
  const auto test =
      trainer.evaluate(&data.x[data.train_rows() * 6], &data.y[data.train_rows() * 3], data.test_rows);
  EXPECT_GT(test.accuracy, 0.7);  // guessing gives a third
}

}  // namespace
}  // namespace mlpwatt
