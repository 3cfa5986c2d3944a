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

struct Options {
  std::string document;
  bool json = false;
};

int schema(const Options& options, Context& context) {
  const std::string& document = options.document;
  if (options.json && !document.empty()) throw UsageError("schema: --json and --within exclude each other");
  if (options.json) {
    context.out << schema_json().dump(2) << '\n';
    return kExitOk;
  }
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
      auto options = std::make_shared<Options>();
      app.add_option("--within", options->document,
                     "print this document with its columns section renewed (results/SCHEMA.md)");
      app.add_flag("--json", options->json, "one JSON object");
      return [options](Context& context) { return schema(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt
