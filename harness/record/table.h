#pragma once
// What a record is made of. Each table of the file is declared once, here, as a list of columns; the
// writer, the reader, `mlpwatt check` and results/SCHEMA.md all follow this list.
//
// Adding a column: one line in the table's own file, and a set() where its value is known.

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace mlpwatt {

/// Raised when a file breaks these rules; a change of meaning, not an added column.
inline constexpr int kSchemaVersion = 1;

enum class Type {
  kReal,             ///< float64, NaN = absent
  kInteger,          ///< int64, always present
  kOptionalInteger,  ///< int64, kAbsentInteger = absent
  kText,             ///< variable-length UTF-8, empty = absent
};

/// netCDF's own default fill of an int64, so that netCDF tools show it as missing.
inline constexpr std::int64_t kAbsentInteger = -9223372036854775806;
inline constexpr double kAbsentReal = std::numeric_limits<double>::quiet_NaN();

struct Column {
  std::string name;
  Type type = Type::kReal;
  std::string unit;             ///< SI; "1" for pure numbers; empty for text
  std::string long_name;        ///< a few words, for axis labels
  std::string description;      ///< one sentence
  std::string provenance = "";  ///< measured, modelled, simulated, computed, given; empty for identities
  std::string references = "";  ///< the table whose row numbers it holds
};

class Table {
 public:
  /// @param dimension name of the dimension scale that every column is attached to
  /// @param optional a file without rows of it has no such group
  Table(std::string group, std::string dimension, std::string description, std::vector<Column> columns,
        bool optional = false);

  const std::string& group() const { return group_; }
  const std::string& dimension() const { return dimension_; }
  const std::string& description() const { return description_; }
  const std::vector<Column>& columns() const { return columns_; }
  bool optional() const { return optional_; }
  bool has(std::string_view name) const { return index_.contains(std::string(name)); }
  /// Errors: std::logic_error for a name that is not declared.
  std::size_t index(std::string_view name) const;

 private:
  std::string group_, dimension_, description_;
  std::vector<Column> columns_;
  std::unordered_map<std::string, std::size_t> index_;
  bool optional_;
};

const Table& runs_table();               ///< one row a run
const Table& machine_table();            ///< one row a machine that runs in the file were made on
const Table& meters_table();             ///< one row a meter and domain that looked on
const Table& energies_table();           ///< one row a run and meter channel
const Table& samples_table();            ///< raw readings of the meters
const Table& curves_table();             ///< one row an epoch of a training
const Table& model_table();              ///< one row a coefficient of a fitted model
const Table& model_tests_table();        ///< one row a cross-validation of it
const Table& model_predictions_table();  ///< one row a configuration predicted unseen
const std::vector<const Table*>& all_tables();
/// Errors: std::logic_error for a group that is none.
const Table& table_of(const std::string& group);

using Value = std::variant<double, std::int64_t, std::string>;

/// One row, every column absent until set.
class Row {
 public:
  explicit Row(const Table& table);
  const Table& table() const { return *table_; }

  /// Errors: std::logic_error when the column does not exist or holds another type.
  void set(std::string_view name, double value);
  void set(std::string_view name, std::int64_t value);
  void set(std::string_view name, int value) { set(name, std::int64_t{value}); }
  void set(std::string_view name, std::string value);
  void set(std::string_view name, const char* value) { set(name, std::string(value)); }

  double real(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;
  const std::string& text(std::string_view name) const;

  const Value& value(std::size_t column) const { return values_[column]; }
  Value& value(std::size_t column) { return values_[column]; }
  /// NaN equals NaN.
  bool same_values(const Row& other) const;

 private:
  Value& slot(std::string_view name, std::size_t alternative);
  const Table* table_;
  std::vector<Value> values_;
};

}  // namespace mlpwatt
