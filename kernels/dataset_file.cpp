// From a PMLB file to scaled, shuffled, split float32 arrays.

#include <zlib.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string_view>

#include "kernels/dataset_parts.h"
#include "kernels/random.h"

namespace mlpwatt {

namespace {

std::string inflate_file(const std::string& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  gzbuffer(file.get(), 1 << 18);
  std::string text;
  std::vector<char> buffer(1 << 20);
  int count = 0;
  while ((count = gzread(file.get(), buffer.data(), static_cast<unsigned>(buffer.size()))) > 0)
    text.append(buffer.data(), static_cast<std::size_t>(count));
  // zlib hands out what it could inflate of a file cut short as if all were well: only the error tells.
  int error = Z_OK;
  const char* message = gzerror(file.get(), &error);
  if (error == Z_BUF_ERROR) throw std::runtime_error(path + ": truncated: the gzip stream ends too soon");
  if (count < 0 || error != Z_OK) throw std::runtime_error(path + ": damaged gzip file: " + message);
  if (gzdirect(file.get()) != 0)
    throw std::runtime_error(path + ": not a gzip file" +
                             (text.rfind("version https://git-lfs", 0) == 0
                                  ? " but a Git LFS pointer: fetch the file itself (`make datasets`)"
                                  : ""));
  return text;
}

// Cuts the first field off `rest`.
std::string_view next_field(std::string_view& rest, char separator) {
  const std::size_t end = rest.find(separator);
  const std::string_view field = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
  return field;
}

std::string_view next_line(std::string_view& rest) {
  std::string_view line = next_field(rest, '\n');
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

[[noreturn]] void fail_at(const std::string& path, std::int64_t line, const std::string& what) {
  throw std::runtime_error(path + ", line " + std::to_string(line) + ": " + what);
}

double parse_cell(const PmlbTable& table, std::int64_t line, std::size_t column, std::string_view cell) {
  double value = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (error != std::errc() || end != cell.data() + cell.size() || !std::isfinite(value))
    fail_at(table.path, line,
            "column '" + table.columns[column] + "': '" + std::string(cell.substr(0, 40)) +
                "' is not a finite number");
  return value;
}

void parse_row(PmlbTable& table, std::int64_t line, std::string_view row) {
  std::size_t column = 0;
  for (std::size_t start = 0; start <= row.size(); ++column) {
    const std::size_t end = std::min(row.find('\t', start), row.size());
    if (column < table.columns.size())
      table.values.push_back(parse_cell(table, line, column, row.substr(start, end - start)));
    start = end + 1;
  }
  if (column != table.columns.size())
    fail_at(table.path, line,
            std::to_string(column) + " cells, but the header has " + std::to_string(table.columns.size()));
  ++table.rows;
}

// Per column: value -> (value - smallest) / (largest - smallest); a constant column becomes 0.
struct Scaling {
  std::vector<double> smallest, largest;

  explicit Scaling(const PmlbTable& table)
      : smallest(table.values.begin(),
                 table.values.begin() + static_cast<std::ptrdiff_t>(table.columns.size())),
        largest(smallest) {
    const std::size_t columns = table.columns.size();
    for (std::int64_t r = 0; r < table.rows; ++r)
      for (std::size_t c = 0; c < columns; ++c) {
        const double value = table.values[static_cast<std::size_t>(r) * columns + c];
        smallest[c] = std::min(smallest[c], value);
        largest[c] = std::max(largest[c], value);
      }
  }
  // Halved first: the range of two finite doubles may not be finite.
  float scaled(std::size_t column, double value) const {
    const double range = largest[column] / 2 - smallest[column] / 2;
    return range > 0 ? static_cast<float>((value / 2 - smallest[column] / 2) / range) : 0.0f;
  }
};

std::vector<double> distinct_targets(const DatasetInfo& info, const PmlbTable& table) {
  std::vector<double> distinct;
  for (std::size_t i = table.columns.size() - 1; i < table.values.size(); i += table.columns.size())
    distinct.push_back(table.values[i]);
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  const std::size_t wanted = info.task == Task::kBinary ? 2 : static_cast<std::size_t>(info.outputs);
  if (info.task != Task::kRegression && distinct.size() != wanted)
    throw std::runtime_error(table.path + ": " + std::to_string(distinct.size()) +
                             " different targets, but '" + info.name + "' has " + std::to_string(wanted) +
                             " classes");
  return distinct;
}

}  // namespace

PmlbTable read_table(const std::string& path) {
  const std::string text = inflate_file(path);
  PmlbTable table;
  table.path = path;
  std::string_view rest = text;
  std::string_view header = next_line(rest);
  while (!header.empty()) table.columns.emplace_back(next_field(header, '\t'));
  if (table.columns.empty() || table.columns.back() != "target")
    fail_at(path, 1,
            "the last column must be 'target'" +
                (table.columns.empty() ? std::string(", but there is no header")
                                       : ", not '" + table.columns.back().substr(0, 40) + "'"));
  table.values.reserve(static_cast<std::size_t>(std::count(rest.begin(), rest.end(), '\n') + 1) *
                       table.columns.size());
  for (std::int64_t line = 2; !rest.empty(); ++line) parse_row(table, line, next_line(rest));
  if (table.rows == 0) throw std::runtime_error(path + ": a header but no rows");
  return table;
}

std::int64_t test_split_rows(std::int64_t rows) { return (2 * rows + 5) / 10; }

Dataset prepare_dataset(const DatasetInfo& info, const PmlbTable& table, std::uint64_t seed) {
  const std::size_t columns = table.columns.size(), features = columns - 1;
  if (features != static_cast<std::size_t>(info.features))
    throw std::runtime_error(table.path + ": " + std::to_string(features) + " features, but '" + info.name +
                             "' has " + std::to_string(info.features));
  Dataset dataset;
  dataset.info = info;
  dataset.rows = table.rows;
  dataset.test_rows = test_split_rows(table.rows);
  if (dataset.test_rows < 1 || dataset.train_rows() < 1)
    throw std::runtime_error(table.path + ": " + std::to_string(table.rows) +
                             " rows cannot be split into a training and a test part");
  const std::vector<double> classes = distinct_targets(info, table);
  const Scaling scaling(table);

  std::vector<std::int64_t> order(static_cast<std::size_t>(table.rows));
  std::iota(order.begin(), order.end(), 0);
  RandomStream stream(seed);
  shuffle(order, stream);

  const std::size_t outputs = static_cast<std::size_t>(info.outputs);
  dataset.x.resize(order.size() * features);
  dataset.y.assign(order.size() * outputs, 0.0f);
  for (std::size_t r = 0; r < order.size(); ++r) {
    const double* row = &table.values[static_cast<std::size_t>(order[r]) * columns];
    for (std::size_t c = 0; c < features; ++c) dataset.x[r * features + c] = scaling.scaled(c, row[c]);
    const double target = row[features];
    if (info.task == Task::kRegression) {
      dataset.y[r * outputs] = scaling.scaled(features, target);
      continue;
    }
    const auto rank = std::lower_bound(classes.begin(), classes.end(), target) - classes.begin();
    if (info.task == Task::kBinary)
      dataset.y[r] = static_cast<float>(rank);
    else
      dataset.y[r * outputs + static_cast<std::size_t>(rank)] = 1.0f;
  }
  return dataset;
}

}  // namespace mlpwatt
