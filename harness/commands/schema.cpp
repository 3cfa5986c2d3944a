// mlpwatt schema: every column of the results file, from the declarations the writer uses.

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <fstream>
#include <memory>
#include <ostream>
#include <sstream>

#include "harness/program.h"
#include "harness/record/schema_text.h"

namespace mlpwatt {
namespace {

int schema(const std::string& document, Context& context) {
  if (document.empty()) {
    context.out << schema_markdown();
    return kExitOk;
  }
  std::ifstream in(document);
  if (!in) throw UsageError("schema: cannot read '" + document + "'");
  std::ostringstream old;
  old << in.rdbuf();
  context.out << with_schema(old.str());
  return kExitOk;
}

const CommandRegistration registration{
    "schema", "every column of the results file, as Markdown", [](CLI::App& app) -> Action {
      auto document = std::make_shared<std::string>();
      app.add_option("--within", *document,
                     "print this document with its columns section renewed (results/SCHEMA.md)");
      return [document](Context& context) { return schema(*document, context); };
    }};

}  // namespace
}  // namespace mlpwatt
