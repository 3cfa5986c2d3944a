#pragma once
// A row as a JSON object: absent values are left out, and so are references to rows of other tables.

#include <nlohmann/json.hpp>

#include "harness/record/table.h"

namespace mlpwatt {

nlohmann::ordered_json row_json(const Row& row);

}  // namespace mlpwatt
