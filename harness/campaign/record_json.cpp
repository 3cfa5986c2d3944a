#include "harness/campaign/record_json.h"

#include <nlohmann/json.hpp>

#include "harness/record/error.h"
#include "harness/run/row_json.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

Json value_json(const Value& value) {
  if (const auto* whole = std::get_if<std::int64_t>(&value); whole != nullptr && *whole == kAbsentInteger)
    return nullptr;
  return std::visit([](const auto& held) { return Json(held); }, value);  // NaN becomes null
}

void set_value(Row& row, const Column& column, const Json& json) {
  if (json.is_null()) return;
  if (column.type == Type::kReal)
    row.set(column.name, json.get<double>());
  else if (column.type == Type::kText)
    row.set(column.name, json.get<std::string>());
  else
    row.set(column.name, json.get<std::int64_t>());
}

Row parse_row(const Table& table, const Json& object) {
  Row row(table);
  for (const auto& [name, value] : object.items())
    set_value(row, table.columns().at(table.index(name)), value);
  return row;
}

/// Series column by column: names once, not in every row.
Json series_json(const Table& table, const std::vector<Row>& rows) {
  Json object = Json::object();
  if (rows.empty()) return object;
  for (std::size_t c = 0; c < table.columns().size(); ++c) {
    Json values = Json::array();
    for (const Row& row : rows) values.push_back(value_json(row.value(c)));
    object[table.columns()[c].name] = std::move(values);
  }
  return object;
}

std::vector<Row> parse_series(const Table& table, const Json& object) {
  std::vector<Row> rows;
  for (const auto& [name, values] : object.items()) {
    const Column& column = table.columns().at(table.index(name));
    while (rows.size() < values.size()) rows.emplace_back(table);
    for (std::size_t i = 0; i < values.size(); ++i) set_value(rows[i], column, values[i]);
  }
  return rows;
}

}  // namespace

std::string record_json(const Record& record) {
  Json meters = Json::array();
  for (const Row& meter : record.meters) meters.push_back(row_json(meter));
  const Json object{{"mlpwatt_schema", kSchemaVersion},
                    {"run", row_json(record.run)},
                    {"machine", row_json(record.machine)},
                    {"meters", meters},
                    {"energies", series_json(energies_table(), record.energies)},
                    {"samples", series_json(samples_table(), record.samples)},
                    {"curve", series_json(curves_table(), record.curve)}};
  return object.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

Record parse_record(const std::string& text, const std::string& path) {
  try {
    const Json object = Json::parse(text);
    if (object.at("mlpwatt_schema") != kSchemaVersion)
      throw RecordError("schema version " + object.at("mlpwatt_schema").dump() + ", this program reads " +
                        std::to_string(kSchemaVersion));
    Record record;
    record.run = parse_row(runs_table(), object.at("run"));
    record.machine = parse_row(machine_table(), object.at("machine"));
    for (const Json& meter : object.at("meters")) record.meters.push_back(parse_row(meters_table(), meter));
    record.energies = parse_series(energies_table(), object.at("energies"));
    record.samples = parse_series(samples_table(), object.at("samples"));
    record.curve = parse_series(curves_table(), object.at("curve"));
    return record;
  } catch (const std::exception& error) {
    throw RecordError(path + ": not a record of a campaign: " + error.what());
  }
}

}  // namespace mlpwatt
