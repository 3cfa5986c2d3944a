#include "harness/run/row_json.h"

#include <cmath>

namespace mlpwatt {

nlohmann::ordered_json row_json(const Row& row) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  const std::vector<Column>& columns = row.table().columns();
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (const auto* number = std::get_if<double>(&row.value(i)); number != nullptr && !std::isnan(*number))
      object[columns[i].name] = *number;
    if (!columns[i].references.empty()) continue;
    if (const auto* whole = std::get_if<std::int64_t>(&row.value(i));
        whole != nullptr && *whole != kAbsentInteger)
      object[columns[i].name] = *whole;
    if (const auto* text = std::get_if<std::string>(&row.value(i)); text != nullptr && !text->empty())
      object[columns[i].name] = *text;
  }
  return object;
}

}  // namespace mlpwatt
