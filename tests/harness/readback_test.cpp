// A file that `run` left opens in the tools people use, with labels, units and the values that were written.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "harness/record/record_file.h"
#include "harness/run/row_json.h"
#include "meters/counters/child_process.h"
#include "tests/harness/program.h"
#include "tests/harness/records.h"
#include "tests/support/shell.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::testing {
namespace {

using ::testing::HasSubstr;

/// The integers of the first DATA { ... } of what `h5dump -y` prints.
std::vector<std::int64_t> dumped_integers(const std::string& text) {
  const std::string open = "DATA {";
  const std::size_t first = text.find(open), last = text.find('}', first);
  if (first == std::string::npos || last == std::string::npos) return {};
  std::string list = text.substr(first + open.size(), last - first - open.size());
  std::replace(list.begin(), list.end(), ',', ' ');
  std::istringstream stream(list);
  return {std::istream_iterator<std::int64_t>(stream), {}};
}

/// What every column of /runs must read as: {"columns": {name: {units, long_name, kind}}, "rows": [...]},
/// absent values left out.
nlohmann::json expectations(const std::vector<Row>& rows) {
  nlohmann::json expected{{"columns", nlohmann::json::object()}, {"rows", nlohmann::json::array()}};
  for (const Column& column : runs_table().columns())
    expected["columns"][column.name] = {{"units", column.unit},
                                        {"long_name", column.long_name},
                                        {"kind", column.type == Type::kText   ? "text"
                                                 : column.type == Type::kReal ? "real"
                                                                              : "integer"}};
  for (const Row& row : rows) expected["rows"].push_back(nlohmann::json(row_json(row)));
  return expected;
}

/// Two real runs and three rows of difficult values.
class Readback : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    const Outcome outcome =
        run({"run", "--filter",
             "^cpu/(fma/generic|gemm/nn/64x64x64|mlp_train/wine_quality_white/rectangle/64/2)$", "--window-s",
             "0.01", "--counters", "none", "--out", file()});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    RecordFile records(file());
    for (std::uint64_t seed = 1; seed <= 3; ++seed) records.append(random_record(seed));
    std::ofstream(folder_->path("expected.json")) << expectations(read_file(file()).rows(runs_table()));
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }
  static std::string file() { return folder_->path("x.h5"); }

  /// Output of a tool that must end well.
  static std::string read_with(const std::string& command) {
    const auto [status, text] = shell(command);
    EXPECT_EQ(status, 0) << command << "\n" << text;
    return text;
  }
  /// Runs `reader`, Python that sets `columns`: name -> (values, units, long_name), and compares all of them.
  static void compare_in_python(const std::string& reader) {
    const std::string script = folder_->path("read.py");
    std::ofstream(script) << "path = " << nlohmann::json(file()) << "\n"
                          << reader << R"(
import json, math
expected = json.load(open(path.replace("x.h5", "expected.json")))
assert len(expected["rows"]) == 6
for name, wanted in expected["columns"].items():
    values, units, long_name = columns[name]
    assert (units or "") == wanted["units"], (name, units)
    assert long_name == wanted["long_name"], (name, long_name)
    assert len(values) == 6, (name, len(values))
    for i, row in enumerate(expected["rows"]):
        value = values[i]
        if wanted["kind"] == "text":
            value = value.decode() if isinstance(value, bytes) else str(value)
            assert value == row.get(name, ""), (name, i, value)
        elif name not in row:
            if name.endswith("_row"):
                continue  # references are checked by their tables
            absent = -9223372036854775806
            assert value == absent or math.isnan(value), (name, i, value)
        elif row[name] is None:
            assert math.isinf(value), (name, i, value)
        else:
            assert value == row[name], (name, i, value, row[name])
print("all equal")
)";
    EXPECT_THAT(read_with("/usr/bin/python3 " + script), HasSubstr("all equal"));
  }

  static TemporaryFolder* folder_;
};

TemporaryFolder* Readback::folder_ = nullptr;

#define SKIP_WITHOUT_PROGRAM(name)                    \
  if (find_program(name).empty())                     \
  GTEST_SKIP() << name << " is not installed (group " \
               << "read or test of harness/setup/packages.tsv)"
#define SKIP_WITHOUT_PYTHON(modules)                                 \
  if (shell("/usr/bin/python3 -c 'import " modules "'").status != 0) \
  GTEST_SKIP() << "/usr/bin/python3 has not all of " modules         \
                  " (group read "                                    \
                  "or test of harness/setup/packages.tsv)"

TEST_F(Readback, H5ls) {
  SKIP_WITHOUT_PROGRAM("h5ls");
  const std::string text = read_with("h5ls -r " + file());
  for (const char* line :
       {"/runs                    Group", "/machine", "/curves", "/samples", "/meters",
        "/runs/step_s             Dataset {6/Inf}", "/runs/run                Dataset {6/Inf}"})
    EXPECT_THAT(text, HasSubstr(line));
}

TEST_F(Readback, H5dump) {
  SKIP_WITHOUT_PROGRAM("h5dump");
  const std::string text = read_with("h5dump -d /runs/name -d /runs/step_s " + file());
  for (const char* part : {"\"cpu/fma/generic\"", "ATTRIBUTE \"units\"", "\"s\"", "\"time per step\"",
                           "DIMENSION_LIST", "H5T_CSET_UTF8", "H5T_IEEE_F64LE"})
    EXPECT_THAT(text, HasSubstr(part));
  EXPECT_THAT(read_with("h5dump -a /mlpwatt_schema " + file()), HasSubstr("(0): 1"));
  std::vector<std::int64_t> written;
  const Contents contents = read_file(file());
  for (const Row& row : contents.rows(runs_table())) written.push_back(row.integer("steps"));
  ASSERT_EQ(written.size(), 6u);
  EXPECT_GT(written[0], 0) << "a run that was measured";
  EXPECT_EQ(dumped_integers(read_with("h5dump -y -d /runs/steps " + file())), written);
}

TEST_F(Readback, Ncdump) {
  SKIP_WITHOUT_PROGRAM("ncdump");
  const std::string text = read_with("ncdump -h " + file());
  for (const char* part : {"group: runs {", "run = UNLIMITED ; // (6 currently)", "double step_s(run) ;",
                           "string step_s:units = \"s\" ;", "string name(run) ;", "group: curves {",
                           "string step_s:long_name = \"time per step\" ;"})
    EXPECT_THAT(text, HasSubstr(part));
  std::size_t variables = 0;
  for (const Column& column : runs_table().columns())
    variables += text.find(" " + column.name + "(run) ;") != std::string::npos ? 1 : 0;
  EXPECT_EQ(variables, runs_table().columns().size()) << "netCDF drops silently what it cannot read";
}

TEST_F(Readback, H5py) {
  SKIP_WITHOUT_PYTHON("h5py");
  compare_in_python(R"(
import h5py
def text(value): return value.decode() if isinstance(value, bytes) else value
file = h5py.File(path, "r")
runs = file["runs"]
assert list(runs["run"][...]) == [0, 1, 2, 3, 4, 5]
assert all(runs[n].dims[0][0] == runs["run"] for n in runs if n != "run")
columns = {n: (runs[n][...], text(runs[n].attrs.get("units", "")), text(runs[n].attrs["long_name"]))
           for n in runs if n != "run"}
)");
}

const char* const kXarray = R"(
import xarray
runs = xarray.open_dataset(path, engine=engine, group="runs")
assert dict(runs.sizes) == {"run": 6}, runs.sizes
assert list(runs["run"].values) == [0, 1, 2, 3, 4, 5]
assert all(runs[n].dims == ("run",) for n in runs.data_vars)
frame = runs.to_dataframe()
assert frame.shape == (6, len(runs.data_vars)) and frame.index.name == "run"
assert frame.loc[0, "status"] == "ok"
for group, dimension in (("machine", "machine"), ("meters", "meter"), ("samples", "sample"), ("curves", "point")):
    other = xarray.open_dataset(path, engine=engine, group=group)
    assert list(other.sizes) == [dimension] and len(other.to_dataframe()) > 0, group
# exact integers: masked, they would be doubles
raw = xarray.open_dataset(path, engine=engine, group="runs", mask_and_scale=False)
columns = {n: (raw[n].values, raw[n].attrs.get("units", ""), raw[n].attrs["long_name"]) for n in raw.data_vars}
)";

TEST_F(Readback, XarrayThroughNetcdf4) {
  SKIP_WITHOUT_PYTHON("xarray, netCDF4");
  compare_in_python(std::string("engine = 'netcdf4'") + kXarray);
}

TEST_F(Readback, XarrayThroughH5netcdf) {
  SKIP_WITHOUT_PYTHON("xarray, h5netcdf");
  compare_in_python(std::string("engine = 'h5netcdf'") + kXarray);
}

TEST_F(Readback, XarrayShowsAbsentIntegersAsMissing) {
  SKIP_WITHOUT_PYTHON("xarray, netCDF4, h5netcdf");
  const std::string script = folder_->path("absent.py");
  std::ofstream(script) << "path = " << nlohmann::json(file()) << R"(
import math, xarray
for engine in ("netcdf4", "h5netcdf"):
    depth = xarray.open_dataset(path, engine=engine, group="runs")["depth"].values
    kinds = [math.isnan(d) for d, n in zip(depth, range(3))]
    assert sorted(kinds) == [False, True, True], (engine, depth)  # of three runs only the training has one
print("as expected")
)";
  EXPECT_THAT(read_with("/usr/bin/python3 " + script), HasSubstr("as expected"));
}

}  // namespace
}  // namespace mlpwatt::testing
