#include "harness/record/schema_text.h"

#include <fmt/format.h>

#include <stdexcept>

#include "harness/record/table.h"

namespace mlpwatt {
namespace {

constexpr const char* kBegin = "<!-- columns: made by `make schema`, checked by a test -->\n";
constexpr const char* kEnd = "<!-- end of columns -->\n";

const char* type_name(Type type) {
  switch (type) {
    case Type::kReal:
      return "float64";
    case Type::kInteger:
      return "int64";
    case Type::kOptionalInteger:
      return "int64, may be absent";
    case Type::kText:
      return "string";
  }
  return "";
}

}  // namespace

std::string schema_markdown() {
  std::string text;
  for (const Table* table : all_tables()) {
    text += fmt::format("### /{}\n\n{} Dimension scale: `{}`.\n\n", table->group(), table->description(),
                        table->dimension());
    text += "| column | type | unit | provenance | meaning |\n|---|---|---|---|---|\n";
    for (const Column& column : table->columns()) {
      const std::string meaning =
          column.description.empty()
              ? column.long_name
              : column.long_name + (column.long_name.empty() ? "" : ": ") + column.description;
      text += fmt::format("| `{}` | {} | {} | {} | {} |\n", column.name, type_name(column.type), column.unit,
                          column.provenance, meaning);
    }
    text += '\n';
  }
  return text;
}

nlohmann::ordered_json schema_json() {
  nlohmann::ordered_json tables;
  for (const Table* table : all_tables()) {
    nlohmann::ordered_json columns;
    for (const Column& column : table->columns())
      columns[column.name] = {{"type", type_name(column.type)},
                              {"unit", column.unit},
                              {"provenance", column.provenance},
                              {"long_name", column.long_name},
                              {"description", column.description}};
    tables[table->group()] = {
        {"dimension", table->dimension()}, {"description", table->description()}, {"columns", columns}};
  }
  return tables;
}

std::string with_schema(const std::string& document) {
  const std::size_t begin = document.find(kBegin), end = document.find(kEnd);
  if (begin == std::string::npos || end == std::string::npos || end < begin)
    throw std::runtime_error(fmt::format("the document has no lines '{}' and '{}' to put the columns between",
                                         std::string(kBegin).substr(0, 16), std::string(kEnd).substr(0, 22)));
  return document.substr(0, begin) + kBegin + '\n' + schema_markdown() + document.substr(end);
}

}  // namespace mlpwatt
