#include "harness/record/table.h"

#include <cmath>
#include <stdexcept>

namespace mlpwatt {
namespace {

std::size_t alternative_of(Type type) { return type == Type::kReal ? 0 : type == Type::kText ? 2 : 1; }

}  // namespace

Table::Table(std::string group, std::string dimension, std::string description, std::vector<Column> columns,
             bool optional)
    : group_(std::move(group)),
      dimension_(std::move(dimension)),
      description_(std::move(description)),
      columns_(std::move(columns)),
      optional_(optional) {
  for (std::size_t i = 0; i < columns_.size(); ++i)
    if (!index_.emplace(columns_[i].name, i).second || columns_[i].name == dimension_)
      throw std::logic_error("column declared twice: " + group_ + "/" + columns_[i].name);
}

std::size_t Table::index(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  if (found == index_.end()) throw std::logic_error("no column " + group_ + "/" + std::string(name));
  return found->second;
}

const std::vector<const Table*>& all_tables() {
  static const std::vector<const Table*> tables{
      &runs_table(),   &machine_table(), &meters_table(),      &energies_table(),         &samples_table(),
      &curves_table(), &model_table(),   &model_tests_table(), &model_predictions_table()};
  return tables;
}

const Table& table_of(const std::string& group) {
  for (const Table* table : all_tables())
    if (table->group() == group) return *table;
  throw std::logic_error("no table " + group);
}

Row::Row(const Table& table) : table_(&table) {
  values_.reserve(table.columns().size());
  for (const Column& column : table.columns()) switch (column.type) {
      case Type::kReal:
        values_.emplace_back(kAbsentReal);
        break;
      case Type::kInteger:
        values_.emplace_back(std::int64_t{0});
        break;
      case Type::kOptionalInteger:
        values_.emplace_back(kAbsentInteger);
        break;
      case Type::kText:
        values_.emplace_back(std::string());
        break;
    }
}

Value& Row::slot(std::string_view name, std::size_t alternative) {
  const std::size_t i = table_->index(name);
  if (alternative_of(table_->columns()[i].type) != alternative)
    throw std::logic_error("wrong type for column " + table_->group() + "/" + std::string(name));
  return values_[i];
}

void Row::set(std::string_view name, double value) { slot(name, 0) = value; }
void Row::set(std::string_view name, std::int64_t value) { slot(name, 1) = value; }
void Row::set(std::string_view name, std::string value) { slot(name, 2) = std::move(value); }

double Row::real(std::string_view name) const { return std::get<double>(values_[table_->index(name)]); }
std::int64_t Row::integer(std::string_view name) const {
  return std::get<std::int64_t>(values_[table_->index(name)]);
}
const std::string& Row::text(std::string_view name) const {
  return std::get<std::string>(values_[table_->index(name)]);
}

bool Row::same_values(const Row& other) const {
  if (table_ != other.table_) return false;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const double* mine = std::get_if<double>(&values_[i]);
    const double* theirs = std::get_if<double>(&other.values_[i]);
    const bool both_nan = mine != nullptr && theirs != nullptr && std::isnan(*mine) && std::isnan(*theirs);
    if (!both_nan && values_[i] != other.values_[i]) return false;
  }
  return true;
}

}  // namespace mlpwatt
