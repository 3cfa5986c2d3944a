// The results file: what is written is what is read, and nothing that goes wrong costs a row.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5_hl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "harness/record/hdf5.h"
#include "harness/record/reader.h"
#include "harness/record/writer.h"
#include "harness/text.h"
#include "tests/harness/records.h"
#include "tests/support/temporary_folder.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>

#include <optional>
#endif

namespace mlpwatt::testing {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string bytes_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  return names;
}

/// what() of the RecordError that `action` must throw: one line that names the file.
template <class Action>
std::string error_of(const std::string& path, Action action) {
  try {
    action();
  } catch (const RecordError& error) {
    EXPECT_THAT(error.what(), HasSubstr(path));
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no RecordError about " << path;
  return "";
}

Contents random_contents(std::size_t rows, std::uint64_t seed) {
  Contents contents;
  for (const Table* table : all_tables()) contents.rows(*table) = random_rows(*table, rows, seed++);
  return contents;
}

void expect_same(const Contents& read, const Contents& written) {
  for (const Table* table : all_tables())
    EXPECT_TRUE(same_bits(read.rows(*table), written.rows(*table))) << table->group();
}

class RoundTrip : public ::testing::TestWithParam<std::tuple<bool, std::size_t>> {};

TEST_P(RoundTrip, EveryTableEveryKindOfValue) {
  const auto [in_memory, rows] = GetParam();
  const TemporaryFolder folder;
  const std::string path = folder.path("x.h5");
  const Contents written = random_contents(rows, 11);
  WriterOptions options{in_memory, {}};
  for (const Table* table : all_tables())
    options.expected_rows[table->group()] = static_cast<std::int64_t>(rows);
  Writer writer(path, options);
  for (const Table* table : all_tables()) {
    // in uneven parts, the first of them empty
    const std::vector<Row>& all = written.rows(*table);
    for (std::size_t at = 0, part = 0; at < all.size() || part == 0; at += part, part = 2 * part + 1) {
      const std::size_t end = std::min(at + part, all.size());
      writer.append(*table, {all.begin() + static_cast<std::ptrdiff_t>(std::min(at, end)),
                             all.begin() + static_cast<std::ptrdiff_t>(end)});
    }
    EXPECT_EQ(writer.rows(*table), static_cast<std::int64_t>(rows));
  }
  EXPECT_FALSE(std::filesystem::exists(path)) << "there before commit()";
  writer.commit();
  expect_same(read_file(path), written);
  const Reader reader(path);
  EXPECT_THAT(reader.problems(), IsEmpty());
  EXPECT_THAT(reader.unknown_columns(), IsEmpty());
  EXPECT_THAT(names_in(folder.path()), ElementsAre("x.h5"));
}

INSTANTIATE_TEST_SUITE_P(Record, RoundTrip,
                         ::testing::Combine(::testing::Bool(), ::testing::Values(0, 1, 2, 7, 1500)),
                         [](const auto& tested) {
                           return std::string(std::get<0>(tested.param) ? "in_memory_" : "streamed_") +
                                  std::to_string(std::get<1>(tested.param));
                         });

TEST(Record, PartsOfATableAreRead) {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.h5");
  Contents contents;
  contents.rows(curves_table()) = random_rows(curves_table(), 40, 3);
  contents.rows(runs_table()) = random_rows(runs_table(), 40, 4);
  write_file(path, contents);
  const Reader reader(path);
  EXPECT_EQ(reader.count(curves_table()), 40);
  const std::vector<Row>& all = contents.rows(curves_table());
  for (const auto& [first, count] : {std::pair{0, 40}, {0, 1}, {39, 1}, {13, 20}, {40, 0}})
    EXPECT_TRUE(same_bits(reader.rows(curves_table(), first, count),
                          {all.begin() + first, all.begin() + first + count}));
  error_of(path, [&] { reader.rows(curves_table(), 39, 2); });
}

TEST(Record, TextThatIsNotUtf8IsMadeSo) {
  for (const auto& [given, kept] :
       std::vector<std::pair<std::string, std::string>>{{"plain µ漢\U0001F50C", "plain µ漢\U0001F50C"},
                                                        {"\xff", "?"},
                                                        {"a\x80z", "a?z"},
                                                        {"\xc3", "?"},
                                                        {"\xc3(", "?("},
                                                        {"\xe2\x82", "??"},
                                                        {"\xc0\xaf", "??"},       // an overlong slash
                                                        {"\xe0\x80\xaf", "???"},  // the same in three bytes
                                                        {"\xf0\x80\x80\xaf", "????"},  // and in four
                                                        {"\xed\xa0\x80", "???"},       // a surrogate
                                                        {"\xed\x9f\xbf", "\xed\x9f\xbf"},
                                                        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
                                                        {"\xf4\x90\x80\x80", "????"},  // beyond U+10FFFF
                                                        {"\xf5\x80\x80\x80", "????"},
                                                        {std::string("nul\0.", 5), "nul?."}}) {
    EXPECT_EQ(valid_utf8(given), kept);
    const TemporaryFolder folder;
    Contents contents;
    contents.rows(runs_table()).emplace_back(runs_table());
    contents.rows(runs_table())[0].set("command", given);
    write_file(folder.path("x.h5"), contents);
    EXPECT_EQ(read_file(folder.path("x.h5")).rows(runs_table())[0].text("command"), kept);
  }
}

TEST(Record, AnExistingFileIsAppendedTo) {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.h5");
  Contents expected;
  for (int sitting = 0; sitting < 3; ++sitting) {
    RecordFile file(path);
    EXPECT_EQ(file.runs(), 2 * sitting);
    for (int i = 0; i < 2; ++i) {
      // the same two meters and machine in the first two sittings
      Record record = random_record(static_cast<std::uint64_t>(10 * sitting + i));
      const Record known = random_record(sitting < 2 ? 100 : 200);
      record.machine = known.machine;
      record.meters = known.meters;
      expected.add(record);
      file.append(record);
      expect_same(read_file(path), expected);
      EXPECT_THAT(Reader(path).problems(), IsEmpty());
    }
  }
  EXPECT_EQ(expected.rows(runs_table()).size(), 6u);
  EXPECT_EQ(expected.rows(machine_table()).size(), 2u);
  EXPECT_EQ(expected.rows(meters_table()).size(), 4u);
  EXPECT_EQ(expected.rows(samples_table()).size(), 30u);
  EXPECT_THAT(names_in(folder.path()), ElementsAre("x.h5")) << "neither lock nor temporary file stays";
}

TEST(Record, ReferencesBetweenTablesAreCompleted) {
  Contents contents;
  Record record = random_record(1);
  record.samples[0].set("meter_row", 1);
  record.samples[1].set("meter_row", 0);
  contents.add(record);
  std::swap(record.meters[0], record.meters[1]);
  contents.add(record);
  const std::vector<Row>& samples = contents.rows(samples_table());
  EXPECT_EQ(samples[0].integer("meter_row"), 1);
  EXPECT_EQ(samples[1].integer("meter_row"), 0);
  EXPECT_EQ(samples[5].integer("meter_row"), 0) << "the meters of the second record come in another order";
  EXPECT_EQ(samples[6].integer("meter_row"), 1);
  EXPECT_EQ(samples[6].integer("run_row"), 1);
  EXPECT_EQ(contents.rows(curves_table())[3].integer("run_row"), 1);
}

TEST(Record, TheLastRecordCanBeReplaced) {
  const TemporaryFolder folder;
  RecordFile file(folder.path("x.h5"));
  Contents expected;
  expected.add(random_record(1));
  expected.add(random_record(3));
  file.append(random_record(1));
  Record growing = random_record(3);
  growing.curve.resize(1, Row(curves_table()));
  file.append(growing);
  file.replace_last(random_record(3));
  expect_same(read_file(file.path()), expected);
}

// --- what is refused

TEST(Record, WhatIsNotOursIsRefusedAndLeftAlone) {
  const TemporaryFolder folder;
  const std::string text = folder.path("text"), empty = folder.path("empty"), cut = folder.path("cut.h5"),
                    other = folder.path("other.h5"), odd = folder.path("odd.h5");
  std::ofstream(text) << "not a results file\n";
  std::ofstream{empty};
  Contents contents = random_contents(3, 1);
  write_file(cut, contents);
  std::filesystem::resize_file(cut, std::filesystem::file_size(cut) / 2);
  hdf5::quiet();
  { const hdf5::Id file(H5Fcreate(other.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose); }
  {
    const hdf5::Id file(H5Fcreate(odd.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
    hdf5::write_attribute(file.get(), "mlpwatt_schema", std::string("1"), odd);
  }
  for (const std::string& path : {text, empty, cut, other, odd}) {
    const std::string before = bytes_of(path);
    error_of(path, [&] { const Reader reader(path); });
    error_of(path, [&] { const RecordFile file(path); });
    EXPECT_EQ(bytes_of(path), before) << path;
  }
  EXPECT_THAT(error_of(other, [&] { const Reader reader(other); }),
              HasSubstr("not a results file of mlpwatt"));
  error_of(folder.path("none.h5"), [&] { const Reader reader(folder.path("none.h5")); });
  error_of(folder.path(), [&] { const RecordFile file(folder.path()); });
  error_of(folder.path("none/x.h5"), [&] { const RecordFile file(folder.path("none/x.h5")); });
  error_of(text + "/x.h5", [&] { const RecordFile file(text + "/x.h5"); });
  EXPECT_EQ(names_in(folder.path()).size(), 5u) << "no lock stays behind a refusal";
}

void edit(const std::string& path, const std::function<void(hid_t)>& change) {
  hdf5::quiet();
  const hdf5::Id file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
  ASSERT_TRUE(file);
  change(file.get());
}

hdf5::Id open_dataset(hid_t file, const std::string& name) {
  hdf5::Id dataset(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose);
  EXPECT_TRUE(dataset) << name;
  return dataset;
}

/// @param attach to the group's dimension scale
void create_dataset(hid_t file, const std::string& name, hid_t type, std::vector<hsize_t> size,
                    const std::string& scale = "") {
  const hdf5::Id space(H5Screate_simple(static_cast<int>(size.size()), size.data(), nullptr), H5Sclose);
  const hdf5::Id dataset(
      H5Dcreate2(file, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose);
  ASSERT_TRUE(dataset) << name;
  if (scale.empty()) return;
  ASSERT_GE(H5DSattach_scale(dataset.get(), open_dataset(file, scale).get(), 0), 0);
}

void resize(hid_t file, const std::string& name, hsize_t rows) {
  ASSERT_GE(H5Dset_extent(open_dataset(file, name).get(), &rows), 0);
}

void write_integer(hid_t file, const std::string& name, hsize_t row, std::int64_t value) {
  const hdf5::Id dataset = open_dataset(file, name);
  const hdf5::Id space(H5Dget_space(dataset.get()), H5Sclose), one(H5Screate(H5S_SCALAR), H5Sclose);
  const hsize_t count = 1;
  H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &row, nullptr, &count, nullptr);
  ASSERT_GE(H5Dwrite(dataset.get(), H5T_NATIVE_INT64, one.get(), space.get(), H5P_DEFAULT, &value), 0);
}

void set_units(hid_t file, const std::string& name, const std::string& units) {
  const hdf5::Id dataset = open_dataset(file, name);
  H5Adelete(dataset.get(), "units");
  if (!units.empty()) hdf5::write_attribute(dataset.get(), "units", units, name);
}

TEST(Record, AnotherSchemaVersionIsRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.h5");
  write_file(path, random_contents(1, 1));
  edit(path, [&](hid_t file) {
    H5Adelete(file, "mlpwatt_schema");
    hdf5::write_attribute(file, "mlpwatt_schema", std::int64_t{kSchemaVersion + 1}, path);
  });
  const std::string before = bytes_of(path);
  for (const std::string& said : {error_of(path, [&] { const Reader reader(path); }),
                                  error_of(path, [&] { const RecordFile file(path); })})
    EXPECT_THAT(said, AllOf(HasSubstr("version 2"), HasSubstr("version 1")));
  EXPECT_EQ(bytes_of(path), before);
}

TEST(Record, ColumnsAppendingWouldDropAreRefusedAndReadAround) {
  for (const std::string unknown : {"/runs/mood", "/weather"}) {
    const TemporaryFolder folder;
    const std::string path = folder.path("x.h5");
    const Contents written = random_contents(4, 5);
    write_file(path, written);
    edit(path, [&](hid_t file) { create_dataset(file, unknown, H5T_NATIVE_DOUBLE, {4}); });
    const std::string before = bytes_of(path);
    EXPECT_THAT(error_of(path, [&] { const RecordFile file(path); }), HasSubstr(unknown));
    EXPECT_EQ(bytes_of(path), before);
    EXPECT_THAT(Reader(path).unknown_columns(), ElementsAre(unknown));
    EXPECT_THAT(Reader(path).problems(), IsEmpty());
    expect_same(read_file(path), written);
  }
}

TEST(Record, AnOlderFileWithoutAColumnOrTableGetsThem) {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.h5");
  {
    RecordFile file(path);
    file.append(random_record(1));
  }
  edit(path, [&](hid_t file) {
    H5Ldelete(file, "runs/floor_s", H5P_DEFAULT);
    H5Ldelete(file, "runs/depth", H5P_DEFAULT);
    H5Ldelete(file, "curves", H5P_DEFAULT);
  });
  {
    RecordFile file(path);
    file.append(random_record(2));
  }
  EXPECT_THAT(Reader(path).problems(), IsEmpty());
  const Contents read = read_file(path);
  EXPECT_TRUE(std::isnan(read.rows(runs_table())[0].real("floor_s")));
  EXPECT_EQ(read.rows(runs_table())[0].integer("depth"), kAbsentInteger);
  EXPECT_EQ(read.rows(runs_table())[0].text("command"), random_record(1).run.text("command"));
  EXPECT_EQ(read.rows(curves_table()).size(), 3u);
}

TEST(Record, ASecondWriterIsLockedOut) {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.h5");
  {
    RecordFile first(path);
    EXPECT_THAT(error_of(path, [&] { const RecordFile second(path); }), HasSubstr("another mlpwatt"));
    const RecordFile elsewhere(folder.path("y.h5"));
    first.append(random_record(1));
    error_of(path, [&] { const RecordFile second(path); });
    EXPECT_EQ(read_file(path).rows(runs_table()).size(), 1u) << "readers need no lock";
  }
  EXPECT_EQ(RecordFile(path).runs(), 1);
}

TEST(Record, WhatADeadWriterLeftIsNoObstacle) {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.h5");
  std::ofstream(folder.path(".x.h5.tmp")) << "half a file";
  std::ofstream(folder.path(".x.h5.lock")) << "";
  RecordFile(path).append(random_record(1));
  EXPECT_EQ(RecordFile(path).runs(), 1);
  EXPECT_THAT(names_in(folder.path()), ElementsAre("x.h5"));
}

// --- failed writes

/// Writes beyond so many bytes of a file fail, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

TEST(Record, AFailedWriteLeavesTheOldFileAndTheNextOneWorks) {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.h5");
  RecordFile file(path);
  Contents expected;
  expected.add(random_record(1));
  file.append(random_record(1));
  const std::string before = bytes_of(path);
  for (const auto& [limit, replace] :
       {std::pair{before.size(), false}, {before.size() / 2, true}, {1ul, false}}) {
    const FileSizeLimit full(limit);
    // larger than what there is: the same record and many samples
    Record record = random_record(2);
    for (int i = 0; i < 3000; ++i) record.samples.push_back(record.samples[0]);
    const std::string said = error_of(
        path, [&, replacing = replace] { replacing ? file.replace_last(record) : file.append(record); });
    EXPECT_THAT(said, HasSubstr("File too large"));
    EXPECT_EQ(bytes_of(path), before);
    EXPECT_EQ(file.runs(), 1);
    EXPECT_FALSE(std::filesystem::exists(folder.path(".x.h5.tmp")));
  }
  expected.add(random_record(3));
  file.append(random_record(3));
  const Contents read = read_file(path);
  for (const Table* table : {&runs_table(), &samples_table(), &curves_table()})
    EXPECT_EQ(read.rows(*table).size(), expected.rows(*table).size()) << table->group();
  EXPECT_THAT(Reader(path).problems(), IsEmpty());
}

TEST(Record, AFailedStreamLeavesTheOldFile) {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.h5");
  write_file(path, random_contents(2, 1));
  const std::string before = bytes_of(path);
  // In a child: a file that cannot be written cannot be closed, so libhdf5 keeps what it could not write in
  // memory for good.
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const FileSizeLimit full(before.size() / 2);
    const std::string said = error_of(path, [&] {
      Writer writer(path, {false, {}});
      writer.append(runs_table(), random_rows(runs_table(), 500, 1));
      writer.commit();
    });
    _exit(said.find("File too large") == std::string::npos ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "it was to fail with 'File too large'";
  EXPECT_EQ(bytes_of(path), before);
  EXPECT_THAT(names_in(folder.path()), ElementsAre("x.h5"));
  EXPECT_THAT(Reader(path).problems(), IsEmpty());
}

TEST(Record, WithoutCommitNothingChanges) {
  for (const bool in_memory : {false, true}) {
    const TemporaryFolder folder;
    const std::string path = folder.path("x.h5");
    write_file(path, random_contents(2, 1));
    const std::string before = bytes_of(path);
    {
      Writer writer(path, {in_memory, {}});
      writer.append(runs_table(), random_rows(runs_table(), 5, 1));
    }
    EXPECT_EQ(bytes_of(path), before);
    EXPECT_THAT(names_in(folder.path()), ElementsAre("x.h5"));
  }
}

TEST(Record, ATargetThatVanishesIsSaid) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.path("sub"));
  const std::string path = folder.path("sub/x.h5");
  RecordFile file(path);
  file.append(random_record(1));
  std::filesystem::remove_all(folder.path("sub"));
  EXPECT_THAT(error_of("x.h5", [&] { file.append(random_record(2)); }),
              HasSubstr("No such file or directory"));
  std::filesystem::create_directories(path);  // a folder of that name
  EXPECT_THAT(error_of(path, [&] { file.append(random_record(2)); }), HasSubstr("rename"));
  EXPECT_THAT(names_in(folder.path("sub")), ElementsAre("x.h5"));
}

// --- damage

struct Damage {
  const char* label;
  std::string found;  ///< how the one problem begins
  std::function<void(hid_t)> inflict;
};

class Damages : public ::testing::TestWithParam<Damage> {};

TEST_P(Damages, AreFound) {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.h5");
  write_file(path, random_contents(6, 2));
  ASSERT_THAT(Reader(path).problems(), IsEmpty());
  edit(path, GetParam().inflict);
#if defined(__SANITIZE_ADDRESS__)
  // libhdf5 does not free what it holds when it follows a reference to a scale that is gone
  std::optional<__lsan::ScopedDisabler> kept;
  if (GetParam().label == std::string("scale_that_is_none")) {
    H5garbage_collect();
    kept.emplace();
  }
#endif
  const std::vector<std::string> problems = Reader(path).problems();
  ASSERT_FALSE(problems.empty());
  EXPECT_TRUE(problems.front().starts_with(GetParam().found)) << problems.front();
}

void replace(hid_t file, const std::string& name, hid_t type, const std::vector<hsize_t>& size,
             const std::string& scale) {
  H5Ldelete(file, name.c_str(), H5P_DEFAULT);
  create_dataset(file, name, type, size, scale);
}

void detach(hid_t file, const std::string& name, const std::string& scale) {
  ASSERT_GE(H5DSdetach_scale(open_dataset(file, name).get(), open_dataset(file, scale).get(), 0), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Record, Damages,
    ::testing::Values(
        Damage{"no_table", "/samples: no dimension scale",
               [](hid_t file) { H5Ldelete(file, "samples", H5P_DEFAULT); }},
        Damage{"no_scale", "/runs: no dimension scale",
               [](hid_t file) { H5Ldelete(file, "runs/run", H5P_DEFAULT); }},
        Damage{"no_column", "/runs/step_s: missing",
               [](hid_t file) { H5Ldelete(file, "runs/step_s", H5P_DEFAULT); }},
        Damage{"integer_for_real", "/runs/step_s: not float64",
               [](hid_t file) { replace(file, "runs/step_s", H5T_NATIVE_INT64, {6}, "runs/run"); }},
        Damage{"real_for_integer", "/runs/steps: not int64",
               [](hid_t file) { replace(file, "runs/steps", H5T_NATIVE_DOUBLE, {6}, "runs/run"); }},
        Damage{"fixed_length_text", "/runs/name: not variable-length string",
               [](hid_t file) { replace(file, "runs/name", H5T_C_S1, {6}, "runs/run"); }},
        Damage{"a_group_for_a_column", "/runs/step_s: not float64",
               [](hid_t file) {
                 H5Ldelete(file, "runs/step_s", H5P_DEFAULT);
                 const hdf5::Id group(H5Gcreate2(file, "runs/step_s", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                                      H5Gclose);
               }},
        Damage{"short_column", "/runs/step_s: 5 rows where run has 6",
               [](hid_t file) { resize(file, "runs/step_s", 5); }},
        Damage{"long_column", "/runs/step_s: 7 rows where run has 6",
               [](hid_t file) { resize(file, "runs/step_s", 7); }},
        Damage{"short_scale", "/runs/name: 6 rows where run has 4",
               [](hid_t file) { resize(file, "runs/run", 4); }},
        Damage{"two_dimensions", "/runs/step_s:",
               [](hid_t file) {
                 replace(file, "runs/step_s", H5T_NATIVE_DOUBLE, {6, 1}, "runs/run");
               }},
        Damage{"scale_not_attached", "/runs/step_s: not attached",
               [](hid_t file) { detach(file, "runs/step_s", "runs/run"); }},
        Damage{"scale_of_another_table", "/curves/seconds: not attached",
               [](hid_t file) {
                 detach(file, "curves/seconds", "curves/point");
                 H5DSattach_scale(open_dataset(file, "curves/seconds").get(),
                                  open_dataset(file, "runs/run").get(), 0);
               }},
        Damage{"scale_that_is_none", "/curves/point: not a dimension scale",
               [](hid_t file) { replace(file, "curves/point", H5T_NATIVE_INT64, {6}, ""); }},
        Damage{"rows_numbered_wrongly", "/runs/run: 17 in row 3",
               [](hid_t file) { write_integer(file, "runs/run", 3, 17); }},
        Damage{"other_units", "/runs/step_s: units are 'ms', not 's'",
               [](hid_t file) { set_units(file, "runs/step_s", "ms"); }},
        Damage{"no_units", "/runs/step_s: units are '', not 's'",
               [](hid_t file) { set_units(file, "runs/step_s", ""); }},
        Damage{"reference_beyond_the_end", "/runs/machine_row: row 6 of /machine",
               [](hid_t file) { write_integer(file, "runs/machine_row", 2, 6); }},
        Damage{"negative_reference", "/curves/run_row: row -1 of /runs",
               [](hid_t file) { write_integer(file, "curves/run_row", 0, -1); }}),
    [](const auto& tested) { return std::string(tested.param.label); });

TEST(Record, EveryDamageIsNamedNotOnlyTheFirst) {
  const TemporaryFolder folder;
  const std::string path = folder.path("x.h5");
  write_file(path, random_contents(6, 2));
  edit(path, [](hid_t file) {
    replace(file, "curves/seconds", H5T_NATIVE_INT64, {6}, "curves/point");
    write_integer(file, "curves/run_row", 5, 1000);
    resize(file, "samples/value", 1);
    H5Ldelete(file, "machine/cores", H5P_DEFAULT);
  });
  EXPECT_THAT(Reader(path).problems(),
              ElementsAre(HasSubstr("/machine/cores"), HasSubstr("/samples/value"),
                          HasSubstr("/curves/run_row"), HasSubstr("/curves/seconds")));
}

TEST(Record, DamagedColumnsAreNotReadAsValues) {
  for (const bool wrong_type : {false, true}) {
    const TemporaryFolder folder;
    const std::string path = folder.path("x.h5");
    write_file(path, random_contents(6, 2));
    edit(path, [&](hid_t file) {
      wrong_type ? replace(file, "runs/step_s", H5T_NATIVE_INT64, {6}, "runs/run")
                 : resize(file, "runs/step_s", 5);
    });
    const std::string before = bytes_of(path);
    EXPECT_THAT(error_of(path, [&] { read_file(path); }), HasSubstr("step_s"));
    EXPECT_THAT(error_of(path, [&] { const RecordFile file(path); }), HasSubstr("step_s"));
    EXPECT_EQ(bytes_of(path), before);
  }
}

// --- rows in memory

TEST(Row, RefusesWrongNamesAndTypes) {
  Row row(runs_table());
  EXPECT_THROW(row.set("no_such_column", 1.0), std::logic_error);
  EXPECT_THROW(row.set("step_s", 1), std::logic_error);
  EXPECT_THROW(row.set("steps", 1.0), std::logic_error);
  EXPECT_THROW(row.set("name", 1), std::logic_error);
  EXPECT_THROW(table_of("none"), std::logic_error);
  EXPECT_TRUE(std::isnan(row.real("step_s")));
  EXPECT_EQ(row.integer("steps"), kAbsentInteger);
  EXPECT_EQ(row.text("name"), "");
  EXPECT_THROW(Table("g", "d", "", {{"a", Type::kReal, "1", "", ""}, {"a", Type::kReal, "1", "", ""}}),
               std::logic_error);
}

}  // namespace
}  // namespace mlpwatt::testing
