// mlpwatt export: a results file as plain text.

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>

#include "harness/campaign/export.h"
#include "harness/program.h"
#include "harness/record/durable.h"
#include "kernels/nearest.h"

namespace mlpwatt {
namespace {

struct Options {
  std::string file, table = "runs", out;
  std::vector<std::string> columns;
  bool csv = false, json = false;
};

const Table& chosen_table(const std::string& name) {
  std::vector<std::string> names;
  for (const Table* table : all_tables()) {
    if (table->group() == name) return *table;
    names.push_back(table->group());
  }
  throw UsageError(unknown_name("table", name, names));
}

int export_file(const Options& options, Context& context) {
  if (options.csv == options.json) throw UsageError("export: say --csv or --json");
  const TextFormat format = options.csv ? TextFormat::kCsv : TextFormat::kJson;
  const Table& table = chosen_table(options.table);
  const Reader reader(options.file);
  if (options.out.empty()) {
    export_table(reader, table, options.columns, format, context.out);
    context.out.flush();
    if (!context.out) throw std::runtime_error("export: standard output cannot be written");
    return kExitOk;
  }
  const std::string temporary = temporary_name(options.out);
  try {
    std::ofstream file(temporary, std::ios::trunc);
    if (!file) throw std::runtime_error(file_error(options.out, "cannot create", errno));
    export_table(reader, table, options.columns, format, file);
    file.close();
    if (!file) throw std::runtime_error(file_error(options.out, "cannot write", errno));
  } catch (...) {
    std::filesystem::remove(temporary);
    throw;
  }
  put_into_place(options.out);
  return kExitOk;
}

const CommandRegistration registration{
    "export", "a results file as CSV or JSON", [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("file", options->file, "results file")->required();
      app.add_flag("--csv", options->csv, "comma-separated values, RFC 4180");
      app.add_flag("--json", options->json, "an array of objects");
      app.add_option("--columns", options->columns, "names, comma-separated (default: all)")->delimiter(',');
      app.add_option("--table", options->table, "runs, machine, meters, energies, samples, curves ...")
          ->capture_default_str();
      app.add_option("--out", options->out, "a file instead of the standard output");
      return [options](Context& context) { return export_file(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt
