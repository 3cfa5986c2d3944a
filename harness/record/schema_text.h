#pragma once
// The part of results/SCHEMA.md that is made from the tables' declarations, so that code, file and text
// cannot drift apart (a test compares them; `make schema` renews it).

#include <nlohmann/json.hpp>
#include <string>

namespace mlpwatt {

/// One section a table: its description and one line a column (name, type, unit, provenance, meaning).
std::string schema_markdown();
/// The same: tables by name, each with its dimension, description and columns.
nlohmann::ordered_json schema_json();

/// `document` with what stands between its two marker lines replaced by schema_markdown().
/// Errors: std::runtime_error when the markers are not there.
std::string with_schema(const std::string& document);

}  // namespace mlpwatt
