#include "harness/record/reader.h"

#include <fmt/format.h>
#include <hdf5_hl.h>

#include <algorithm>

#include "harness/record/hdf5.h"

namespace mlpwatt {
namespace {

using hdf5::Id;
using hdf5::own;
using hdf5::require;

/// Columns are judged in parts, so that memory stays flat.
constexpr std::int64_t kChunkRows = 65536;

bool has_link(hid_t parent, const std::string& name) {
  return H5Lexists(parent, name.c_str(), H5P_DEFAULT) > 0;
}

std::vector<std::string> links_of(hid_t group) {
  std::vector<std::string> names;
  H5Literate(
      group, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr,
      [](hid_t, const char* name, const H5L_info_t*, void* data) -> herr_t {
        static_cast<std::vector<std::string>*>(data)->push_back(name);
        return 0;
      },
      &names);
  return names;
}

bool type_fits(hid_t stored, Type type) {
  const H5T_class_t kind = H5Tget_class(stored);
  switch (type) {
    case Type::kReal:
      return kind == H5T_FLOAT;
    case Type::kInteger:
    case Type::kOptionalInteger:
      return kind == H5T_INTEGER;
    case Type::kText:
      return kind == H5T_STRING && H5Tis_variable_str(stored) > 0;
  }
  return false;
}

haddr_t address_of(hid_t object) {
  H5O_info_t info{};
  return H5Oget_info2(object, &info, H5O_INFO_BASIC) < 0 ? HADDR_UNDEF : info.addr;
}

/// Whether the dataset's one dimension has this scale and no other.
bool is_only_scale(const Id& dataset, const Id& scale) {
  if (H5DSget_num_scales(dataset.get(), 0) != 1) return false;
  // H5DSis_attached would walk the scale's references to every other column, for every column
  haddr_t wanted = address_of(scale.get());
  const herr_t same = H5DSiterate_scales(
      dataset.get(), 0, nullptr,
      [](hid_t, unsigned, hid_t attached, void* address) -> herr_t {
        return address_of(attached) == *static_cast<haddr_t*>(address) ? 1 : 0;
      },
      &wanted);
  return same == 1 && wanted != HADDR_UNDEF;
}

const char* type_text(Type type) {
  switch (type) {
    case Type::kReal:
      return "float64";
    case Type::kInteger:
    case Type::kOptionalInteger:
      return "int64";
    case Type::kText:
      return "variable-length string";
  }
  return "";
}

}  // namespace

struct Reader::State {
  std::string path;
  Id file;

  Id open_group(const Table& table) const {
    if (!has_link(file.get(), table.group())) return {};
    return Id(H5Gopen2(file.get(), table.group().c_str(), H5P_DEFAULT), H5Gclose);
  }

  std::int64_t length(const Id& dataset) const {
    const Id space(H5Dget_space(dataset.get()), H5Sclose);
    return space && H5Sget_simple_extent_ndims(space.get()) == 1 ? H5Sget_simple_extent_npoints(space.get())
                                                                 : -1;
  }

  /// Hands each value of rows first .. first+count-1 to `take(i, Value)`.
  template <class Take>
  void read_column(const Id& group, const Column& column, std::int64_t first, std::int64_t count,
                   const Take& take) const {
    const Id dataset = own(H5Dopen2(group.get(), column.name.c_str(), H5P_DEFAULT), H5Dclose, path,
                           "opening " + column.name);
    const Id stored(H5Dget_type(dataset.get()), H5Tclose);
    if (!type_fits(stored.get(), column.type))
      throw RecordError(fmt::format("{}: column {} is not {}", path, column.name, type_text(column.type)));
    const Id space(H5Dget_space(dataset.get()), H5Sclose);
    const hsize_t start = static_cast<hsize_t>(first), size = static_cast<hsize_t>(count);
    require(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &start, nullptr, &size, nullptr), path,
            "selecting rows of " + column.name);
    if (H5Sselect_valid(space.get()) <= 0)
      throw RecordError(fmt::format("{}: column {} is shorter than its dimension", path, column.name));
    const Id memory(H5Screate_simple(1, &size, nullptr), H5Sclose);
    const auto read = [&](hid_t type, void* data) {
      require(H5Dread(dataset.get(), type, memory.get(), space.get(), H5P_DEFAULT, data), path,
              "reading " + column.name);
    };
    const auto rows = static_cast<std::size_t>(count);
    if (column.type == Type::kReal) {
      std::vector<double> values(rows);
      read(H5T_NATIVE_DOUBLE, values.data());
      for (std::size_t i = 0; i < rows; ++i) take(i, Value(values[i]));
    } else if (column.type == Type::kText) {
      const Id type = hdf5::text_type();
      std::vector<char*> values(rows, nullptr);
      read(type.get(), values.data());
      for (std::size_t i = 0; i < rows; ++i)
        take(i, Value(std::string(values[i] == nullptr ? "" : values[i])));
      H5Dvlen_reclaim(type.get(), memory.get(), H5P_DEFAULT, values.data());
    } else {
      std::vector<std::int64_t> values(rows);
      read(H5T_NATIVE_INT64, values.data());
      for (std::size_t i = 0; i < rows; ++i) take(i, Value(values[i]));
    }
  }

  /// What is wrong with the dimension scale itself; "" = nothing.
  std::string scale_problem(const Table& table, const Id& group, const Id& scale, std::int64_t rows) const {
    const std::string name = "/" + table.group() + "/" + table.dimension();
    const Id stored(scale ? H5Dget_type(scale.get()) : -1, H5Tclose);
    if (!scale || !type_fits(stored.get(), Type::kInteger) || H5DSis_scale(scale.get()) <= 0)
      return name + ": not a dimension scale of int64";
    std::string wrong;
    for (std::int64_t first = 0; first < rows && wrong.empty(); first += kChunkRows)
      read_column(group, {table.dimension(), Type::kInteger}, first, std::min(kChunkRows, rows - first),
                  [&](std::size_t i, const Value& value) {
                    const std::int64_t row = first + static_cast<std::int64_t>(i);
                    if (wrong.empty() && std::get<std::int64_t>(value) != row)
                      wrong = fmt::format("{}: {} in row {}", name, std::get<std::int64_t>(value), row);
                  });
    return wrong;
  }
};

Reader::Reader(const std::string& path) : state_(std::make_unique<State>()) {
  hdf5::quiet();
  state_->path = path;
  state_->file = own(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose, path, "cannot open");
  const std::int64_t version = hdf5::read_integer_attribute(state_->file.get(), "mlpwatt_schema", -1);
  if (version == -1)
    throw RecordError(path + ": not a results file of mlpwatt (attribute mlpwatt_schema is missing)");
  if (version != kSchemaVersion)
    throw RecordError(
        fmt::format("{}: schema version {}, this program reads version {}", path, version, kSchemaVersion));
}

Reader::~Reader() = default;

std::int64_t Reader::count(const Table& table) const {
  const Id group = state_->open_group(table);
  if (!group || !has_link(group.get(), table.dimension())) return 0;
  const Id scale(H5Dopen2(group.get(), table.dimension().c_str(), H5P_DEFAULT), H5Dclose);
  return scale ? std::max<std::int64_t>(0, state_->length(scale)) : 0;
}

std::vector<Row> Reader::rows(const Table& table, std::int64_t first, std::int64_t count) const {
  std::vector<Row> rows(static_cast<std::size_t>(count), Row(table));
  const Id group = state_->open_group(table);
  if (count == 0 || !group) return rows;
  for (std::size_t i = 0; i < table.columns().size(); ++i)
    if (has_link(group.get(), table.columns()[i].name))
      state_->read_column(group, table.columns()[i], first, count,
                          [&](std::size_t row, Value value) { rows[row].value(i) = std::move(value); });
  return rows;
}

std::vector<Value> Reader::column(const Table& table, std::string_view name, std::int64_t first,
                                  std::int64_t count) const {
  const std::size_t index = table.index(name);
  std::vector<Value> values(static_cast<std::size_t>(count), Row(table).value(index));
  const Id group = state_->open_group(table);
  if (count > 0 && group && has_link(group.get(), table.columns()[index].name))
    state_->read_column(group, table.columns()[index], first, count,
                        [&](std::size_t row, Value value) { values[row] = std::move(value); });
  return values;
}

std::optional<std::int64_t> Reader::wrong_reference(const Table& table, const Column& column,
                                                    std::int64_t rows) const {
  const std::int64_t targets = count(table_of(column.references));
  for (std::int64_t first = 0; first < rows; first += kChunkRows)
    for (const Value& value : this->column(table, column.name, first, std::min(kChunkRows, rows - first)))
      if (const auto target = std::get<std::int64_t>(value); target < 0 || target >= targets) return target;
  return std::nullopt;
}

std::vector<std::string> Reader::problems() const {
  std::vector<std::string> found;
  for (const Table* table : all_tables()) {
    const Id group = state_->open_group(*table);
    if (!group && table->optional()) continue;
    if (!group || !has_link(group.get(), table->dimension())) {
      found.push_back(fmt::format("/{}: no dimension scale {}", table->group(), table->dimension()));
      continue;
    }
    const std::int64_t rows = count(*table);
    const Id scale(H5Dopen2(group.get(), table->dimension().c_str(), H5P_DEFAULT), H5Dclose);
    if (const std::string wrong = state_->scale_problem(*table, group, scale, rows); !wrong.empty())
      found.push_back(wrong);
    for (const Column& column : table->columns()) {
      const std::string name = "/" + table->group() + "/" + column.name;
      if (!has_link(group.get(), column.name)) {
        found.push_back(name + ": missing");
        continue;
      }
      const Id dataset(H5Dopen2(group.get(), column.name.c_str(), H5P_DEFAULT), H5Dclose);
      const Id stored(dataset ? H5Dget_type(dataset.get()) : -1, H5Tclose);
      if (!dataset || !type_fits(stored.get(), column.type))
        found.push_back(fmt::format("{}: not {}", name, type_text(column.type)));
      else if (state_->length(dataset) != rows)
        found.push_back(fmt::format("{}: {} rows where {} has {}", name, state_->length(dataset),
                                    table->dimension(), rows));
      else if (!is_only_scale(dataset, scale))
        found.push_back(name + ": not attached to its dimension scale");
      else if (hdf5::read_text_attribute(dataset.get(), "units") != column.unit)
        found.push_back(fmt::format("{}: units are '{}', not '{}'", name,
                                    hdf5::read_text_attribute(dataset.get(), "units"), column.unit));
      else if (!column.references.empty()) {
        if (const auto wrong = wrong_reference(*table, column, rows); wrong)
          found.push_back(fmt::format("{}: row {} of /{} does not exist", name, *wrong, column.references));
      }
    }
  }
  return found;
}

std::vector<std::string> Reader::unknown_columns() const {
  std::vector<std::string> found;
  for (const std::string& name : links_of(state_->file.get())) {
    const auto is_known = [&](const Table* table) { return table->group() == name; };
    const auto table = std::find_if(all_tables().begin(), all_tables().end(), is_known);
    if (table == all_tables().end()) {
      found.push_back("/" + name);
      continue;
    }
    const Id group = state_->open_group(**table);
    for (const std::string& column : links_of(group.get()))
      if (column != (*table)->dimension() && !(*table)->has(column))
        found.push_back("/" + name + "/" + column);
  }
  return found;
}

}  // namespace mlpwatt
