// harness/setup/datasets.sh (`make datasets`) against a file:// mirror made here: no network is touched.

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "kernels/sha256.h"

namespace mlpwatt {
namespace {

namespace fs = std::filesystem;

class DatasetsScript : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "mlpwatt-fetch-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    for (const std::string name : {"first", "second", "third"}) {
      fs::create_directories(dir_ / "mirror" / name);
      std::ofstream(mirror(name)) << "contents of " << name;
    }
    std::ofstream table(dir_ / "table.tsv");
    table << "name\tpmlb_sha256\tpmlb_bytes\n";
    for (const std::string name : {"first", "second", "third"})
      table << name << '\t' << sha256_of_file(mirror(name)) << "\t17\n";
  }
  void TearDown() override { fs::remove_all(dir_); }

  std::string mirror(const std::string& name) const {
    return (dir_ / "mirror" / name / (name + ".tsv.gz")).string();
  }
  fs::path cached(const std::string& name) const {
    return dir_ / "cache/mlpwatt" / name / (name + ".tsv.gz");
  }
  // Exit status; what was said goes to output_.
  int fetch(const std::string& url) {
    const std::string command = "XDG_CACHE_HOME='" + (dir_ / "cache").string() + "' MLPWATT_PMLB_TABLE='" +
                                (dir_ / "table.tsv").string() + "' MLPWATT_PMLB_URL='" + url +
                                "' harness/setup/datasets.sh 2>&1";
    std::FILE* pipe = popen(command.c_str(), "r");
    output_.clear();
    char buffer[256];
    while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) output_ += buffer;
    const int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int fetch() { return fetch("file://" + (dir_ / "mirror").string()); }
  bool nothing_half_written() const {
    if (!fs::exists(dir_ / "cache")) return true;
    for (const auto& entry : fs::recursive_directory_iterator(dir_ / "cache"))
      if (entry.is_regular_file() && entry.path().extension() != ".gz") return false;
    return true;
  }

  fs::path dir_;
  std::string output_;
};

TEST_F(DatasetsScript, FetchesThenKeeps) {
  ASSERT_EQ(fetch(), 0) << output_;
  EXPECT_NE(output_.find("3 fetched, 0 already there"), std::string::npos) << output_;
  for (const std::string name : {"first", "second", "third"})
    EXPECT_EQ(sha256_of_file(cached(name)), sha256_of_file(mirror(name)));
  ASSERT_EQ(fetch(), 0) << output_;
  EXPECT_NE(output_.find("0 fetched, 3 already there"), std::string::npos) << output_;
  EXPECT_TRUE(nothing_half_written());
}

TEST_F(DatasetsScript, ACorruptedFileIsRefusedAndTheRestCanBeResumed) {
  const std::string good = "contents of second";
  std::ofstream(mirror("second")) << "contents of secund";
  EXPECT_EQ(fetch(), 1);
  EXPECT_NE(output_.find("second.tsv.gz is not PMLB's file: sha256"), std::string::npos) << output_;
  EXPECT_TRUE(fs::exists(cached("first")));
  EXPECT_FALSE(fs::exists(cached("second")));
  EXPECT_FALSE(fs::exists(cached("third")));
  EXPECT_TRUE(nothing_half_written());
  std::ofstream(mirror("second")) << good;
  EXPECT_EQ(fetch(), 0) << output_;
  EXPECT_NE(output_.find("2 fetched, 1 already there"), std::string::npos) << output_;
}

TEST_F(DatasetsScript, ADamagedCacheIsRepaired) {
  ASSERT_EQ(fetch(), 0) << output_;
  std::ofstream(cached("third")) << "cut sh";
  ASSERT_EQ(fetch(), 0) << output_;
  EXPECT_NE(output_.find("1 fetched, 2 already there"), std::string::npos) << output_;
  EXPECT_EQ(sha256_of_file(cached("third")), sha256_of_file(mirror("third")));
}

TEST_F(DatasetsScript, NoNetworkIsAClearError) {
  // Port 1 of this machine refuses at once.
  EXPECT_EQ(fetch("http://127.0.0.1:1/datasets"), 1);
  EXPECT_NE(output_.find("cannot fetch http://127.0.0.1:1/datasets/first/first.tsv.gz"), std::string::npos)
      << output_;
  EXPECT_FALSE(fs::exists(cached("first")));
  EXPECT_TRUE(nothing_half_written());
}

TEST_F(DatasetsScript, AFileOfTheMirrorThatIsMissing) {
  fs::remove(mirror("first"));
  EXPECT_EQ(fetch(), 1);
  EXPECT_NE(output_.find("cannot fetch"), std::string::npos) << output_;
  EXPECT_TRUE(nothing_half_written());
}

}  // namespace
}  // namespace mlpwatt
