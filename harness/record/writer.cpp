#include "harness/record/writer.h"

#include <hdf5_hl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "harness/record/durable.h"
#include "harness/record/hdf5.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

using hdf5::Id;
using hdf5::own;
using hdf5::require;

constexpr std::int64_t kMaximumChunkRows = 4096;
/// Columns shorter than this gain nothing from deflate.
constexpr std::int64_t kDeflateRows = 1024;

hid_t memory_type(Type type, const Id& text) {
  switch (type) {
    case Type::kReal:
      return H5T_NATIVE_DOUBLE;
    case Type::kInteger:
    case Type::kOptionalInteger:
      return H5T_NATIVE_INT64;
    case Type::kText:
      return text.get();
  }
  return -1;
}

}  // namespace

struct Writer::State {
  struct OpenTable {
    const Table* table;
    Id group, scale;
    std::vector<Id> columns;
    std::int64_t rows = 0;
  };

  std::string path, temporary;
  WriterOptions options;
  Id file;
  std::map<std::string, OpenTable> tables;

  Id column_properties(const Table& table, const Column& column) const {
    Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    const auto expected = options.expected_rows.find(table.group());
    const std::int64_t rows =
        expected == options.expected_rows.end() ? 1 : std::max<std::int64_t>(1, expected->second);
    const hsize_t chunk = std::bit_ceil(static_cast<std::uint64_t>(std::min(rows, kMaximumChunkRows)));
    H5Pset_chunk(properties.get(), 1, &chunk);
    if (rows >= kDeflateRows) {  // of text, what is compressed are the references to it
      H5Pset_shuffle(properties.get());
      H5Pset_deflate(properties.get(), 4);
    }
    H5Pset_attr_creation_order(properties.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    const double absent_real = kAbsentReal;
    const std::int64_t absent_integer = kAbsentInteger;
    if (column.type == Type::kReal) H5Pset_fill_value(properties.get(), H5T_NATIVE_DOUBLE, &absent_real);
    if (column.type == Type::kOptionalInteger)
      H5Pset_fill_value(properties.get(), H5T_NATIVE_INT64, &absent_integer);
    return properties;
  }

  Id create_column(const OpenTable& open, const Column& column) const {
    const std::string name = open.table->group() + "/" + column.name;
    const Id text = hdf5::text_type();
    const hsize_t none = 0, unlimited = H5S_UNLIMITED;
    const Id space = own(H5Screate_simple(1, &none, &unlimited), H5Sclose, path, name);
    const Id properties = column_properties(*open.table, column);
    Id dataset = own(H5Dcreate2(open.group.get(), column.name.c_str(), memory_type(column.type, text),
                                space.get(), H5P_DEFAULT, properties.get(), H5P_DEFAULT),
                     H5Dclose, path, "creating " + name);
    const auto describe = [&](const char* attribute, const std::string& value) {
      if (!value.empty()) hdf5::write_attribute(dataset.get(), attribute, value, path);
    };
    describe("long_name", column.long_name);
    describe("units", column.unit);
    describe("description", column.description);
    describe("provenance", column.provenance);
    describe("references", column.references);
    // xarray and netCDF learn from this attribute what means "absent"; NaN needs none.
    if (column.type == Type::kOptionalInteger)
      hdf5::write_attribute(dataset.get(), "_FillValue", kAbsentInteger, path);
    return dataset;
  }

  OpenTable& open_table(const Table& table) {
    const auto found = tables.find(table.group());
    if (found != tables.end()) return found->second;
    OpenTable& open = tables[table.group()];
    open.table = &table;
    const Id properties(H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
    H5Pset_link_creation_order(properties.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    H5Pset_attr_creation_order(properties.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
    open.group =
        own(H5Gcreate2(file.get(), table.group().c_str(), H5P_DEFAULT, properties.get(), H5P_DEFAULT),
            H5Gclose, path, "creating group " + table.group());
    hdf5::write_attribute(open.group.get(), "description", table.description(), path);
    // Every column must be attached to a dimension scale, or h5netcdf refuses the whole group.
    open.scale =
        create_column(open, {table.dimension(), Type::kInteger, "1", table.dimension(), "Row number."});
    require(H5DSset_scale(open.scale.get(), table.dimension().c_str()), path, "making a dimension scale");
    for (const Column& column : table.columns()) {
      open.columns.push_back(create_column(open, column));
      require(H5DSattach_scale(open.columns.back().get(), open.scale.get(), 0), path, "attaching the scale");
    }
    return open;
  }

  void write_part(const Id& dataset, hid_t type, std::int64_t first, std::int64_t count, const void* data,
                  const std::string& name) const {
    const hsize_t start = static_cast<hsize_t>(first), size = static_cast<hsize_t>(count);
    const Id space = own(H5Dget_space(dataset.get()), H5Sclose, path, name);
    require(H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, &start, nullptr, &size, nullptr), path, name);
    const Id memory = own(H5Screate_simple(1, &size, nullptr), H5Sclose, path, name);
    require(H5Dwrite(dataset.get(), type, memory.get(), space.get(), H5P_DEFAULT, data), path,
            "writing " + name);
  }

  void write_column(const OpenTable& open, std::size_t i, const std::vector<Row>& rows) const {
    const Column& column = open.table->columns()[i];
    const std::string name = open.table->group() + "/" + column.name;
    const std::int64_t count = static_cast<std::int64_t>(rows.size());
    const Id text = hdf5::text_type();
    const hid_t type = memory_type(column.type, text);
    if (column.type == Type::kReal) {
      std::vector<double> values;
      for (const Row& row : rows) values.push_back(std::get<double>(row.value(i)));
      write_part(open.columns[i], type, open.rows, count, values.data(), name);
    } else if (column.type == Type::kText) {
      std::vector<std::string> texts;
      // Bytes that are not UTF-8 would make readers fail on the whole column.
      for (const Row& row : rows) texts.push_back(valid_utf8(std::get<std::string>(row.value(i))));
      std::vector<const char*> values;
      for (const std::string& value : texts) values.push_back(value.c_str());
      write_part(open.columns[i], type, open.rows, count, values.data(), name);
    } else {
      std::vector<std::int64_t> values;
      for (const Row& row : rows) values.push_back(std::get<std::int64_t>(row.value(i)));
      write_part(open.columns[i], type, open.rows, count, values.data(), name);
    }
  }

  void append(const Table& table, const std::vector<Row>& rows) {
    if (rows.empty() && table.optional()) return;
    OpenTable& open = open_table(table);
    if (rows.empty()) return;
    const std::int64_t count = static_cast<std::int64_t>(rows.size());
    const hsize_t size = static_cast<hsize_t>(open.rows) + static_cast<hsize_t>(count);
    // All columns are extended before any is written: a reader never meets columns of unequal length.
    require(H5Dset_extent(open.scale.get(), &size), path, "extending " + table.group());
    for (const Id& column : open.columns)
      require(H5Dset_extent(column.get(), &size), path, "extending " + table.group());
    std::vector<std::int64_t> numbers;
    for (std::int64_t i = 0; i < count; ++i) numbers.push_back(open.rows + i);
    write_part(open.scale, H5T_NATIVE_INT64, open.rows, count, numbers.data(),
               table.group() + "/" + table.dimension());
    for (std::size_t i = 0; i < table.columns().size(); ++i) write_column(open, i, rows);
    open.rows += count;
  }

  /// Closes everything; in memory mode returns the file's bytes.
  std::vector<char> close() {
    std::vector<char> image;
    require(H5Fflush(file.get(), H5F_SCOPE_GLOBAL), path, "flushing");
    if (options.in_memory) {
      tables.clear();
      require(H5Fflush(file.get(), H5F_SCOPE_GLOBAL), path, "flushing");
      const ssize_t size = H5Fget_file_image(file.get(), nullptr, 0);
      if (size <= 0) throw RecordError(path + ": taking the file's image: " + hdf5::last_error());
      image.resize(static_cast<std::size_t>(size));
      if (H5Fget_file_image(file.get(), image.data(), image.size()) < 0)
        throw RecordError(path + ": taking the file's image: " + hdf5::last_error());
    }
    tables.clear();
    file.reset();
    return image;
  }
};

Writer::Writer(const std::string& path, WriterOptions options) : state_(std::make_unique<State>()) {
  hdf5::quiet();
  state_->path = path;
  state_->temporary = temporary_name(path);
  state_->options = std::move(options);
  const Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  if (state_->options.in_memory)
    H5Pset_fapl_core(access.get(), 1 << 20, false);
  else  // a chunk or two of each of some 200 columns, instead of 1 MiB each
    H5Pset_cache(access.get(), 0, 101, 128 << 10, 1.0);
  const Id creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  // One node of the chunk index per column is allocated whole: at the default width 2 KiB a column, which
  // is most of a small file. Small files have few chunks a column.
  if (state_->options.in_memory) H5Pset_istore_k(creation.get(), 2);
  H5Pset_link_creation_order(creation.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  H5Pset_attr_creation_order(creation.get(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  state_->file = own(H5Fcreate(state_->temporary.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()),
                     H5Fclose, path, "cannot create");
  hdf5::write_attribute(state_->file.get(), "title", "mlpwatt results; layout in results/SCHEMA.md", path);
  hdf5::write_attribute(state_->file.get(), "mlpwatt_schema", std::int64_t{kSchemaVersion}, path);
}

Writer::~Writer() {
  if (state_ == nullptr || !state_->file) return;
  state_->tables.clear();
  state_->file.reset();
  unlink(state_->temporary.c_str());
}

void Writer::append(const Table& table, const std::vector<Row>& rows) { state_->append(table, rows); }

std::int64_t Writer::rows(const Table& table) const {
  const auto found = state_->tables.find(table.group());
  return found == state_->tables.end() ? 0 : found->second.rows;
}

void Writer::commit() {
  State& state = *state_;
  for (const Table* table : all_tables())
    if (!table->optional()) state.open_table(*table);
  if (state.options.in_memory) {
    const std::vector<char> image = state.close();
    write_durably(state.path, {image.data(), image.size()});
    return;
  }
  try {
    state.close();
  } catch (...) {
    unlink(state.temporary.c_str());
    throw;
  }
  put_into_place(state.path);
}

}  // namespace mlpwatt
