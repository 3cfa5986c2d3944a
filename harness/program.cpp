#include "harness/program.h"

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cstdlib>
#include <ostream>

#include "harness/build_facts.h"
#include "kernels/nearest.h"

namespace mlpwatt {
namespace {

std::vector<Command>& registry() {
  static std::vector<Command> commands;
  return commands;
}

/// Whatever a library says, the person reads one line.
std::string one_line(std::string text) {
  for (char& c : text)
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

/// "run", or "" when parsing never reached a command.
const CLI::App* chosen_command(const CLI::App& app) {
  for (const CLI::App* sub : app.get_subcommands())
    if (sub->parsed()) return sub;
  return nullptr;
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::string explain(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* command = chosen_command(app);
  if (command == nullptr) {
    std::vector<std::string> names;
    for (const Command& known : commands()) names.push_back(known.name);
    const auto left = app.remaining();
    if (left.empty()) return fmt::format("say which command: {} (mlpwatt --help)", fmt::join(names, ", "));
    if (left[0].starts_with("-")) return unknown_name("option", left[0], option_names(app));
    return unknown_name("command", left[0], names);
  }
  const auto left = command->remaining();
  if (!left.empty()) {  // also when a required option is missing: it was probably misspelt
    const std::string name = left[0].substr(0, left[0].find('='));
    if (name.starts_with("-"))
      return fmt::format("{} (all: mlpwatt {} --help)", unknown_name("option", name, option_names(*command)),
                         command->get_name());
    return fmt::format("unexpected argument '{}' (mlpwatt {} --help)", name, command->get_name());
  }
  return fmt::format("{} (mlpwatt {} --help)", error.what(), command->get_name());
}

/// Quotes an argument for a shell only where it must be.
std::string quoted(const std::string& argument) {
  const bool plain = !argument.empty() && std::all_of(argument.begin(), argument.end(), [](unsigned char c) {
    return std::isalnum(c) ||
           std::string_view("-_=./:,+@%").find(static_cast<char>(c)) != std::string_view::npos;
  });
  if (plain) return argument;
  std::string text = "'";
  for (char c : argument) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

}  // namespace

std::string Context::command_line() const {
  std::string line;
  // What chooses or directs as an option would; nothing that may hold a credential.
  for (const char* name :
       {"BENCHMARK_FILTER", "MLPWATT_ISA", "MLPWATT_DATA", "MLPWATT_METERS", "MLPWATT_PEERS"})
    if (const char* value = std::getenv(name); value != nullptr && *value != '\0')
      line += std::string(name) + "=" + quoted(value) + " ";
  line += "mlpwatt";
  for (const std::string& argument : args) line += " " + quoted(argument);
  return line;
}

const std::vector<Command>& commands() { return registry(); }

CommandRegistration::CommandRegistration(std::string name, std::string summary,
                                         std::function<Action(CLI::App&)> declare) {
  auto& all = registry();
  Command command{std::move(name), std::move(summary), std::move(declare)};
  const auto place = std::lower_bound(all.begin(), all.end(), command,
                                      [](const Command& a, const Command& b) { return a.name < b.name; });
  all.insert(place, std::move(command));
}

int run_program(const std::vector<std::string>& args, std::ostream& out, std::ostream& err, bool terminal) {
  Context context{out, err, args, terminal};
  CLI::App app{"mlpwatt: what training a neural network costs, in time, cache misses and joules", "mlpwatt"};
  app.set_version_flag("--version", "mlpwatt " + build_facts().commit);
  app.require_subcommand(1);
  app.failure_message([](const CLI::App*, const CLI::Error& error) { return std::string(error.what()); });
  std::vector<std::pair<const CLI::App*, Action>> actions;
  for (const Command& command : commands()) {
    CLI::App* sub = app.add_subcommand(command.name, command.summary);
    actions.emplace_back(sub, command.declare(*sub));
  }
  const auto fail = [&](int status, const std::string& message) {
    err << "mlpwatt: " << one_line(message) << '\n' << std::flush;
    return status;
  };
  try {
    // CLI11 takes a vector from its end.
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
    for (const auto& [sub, action] : actions)
      if (sub->parsed()) return action(context);
    return fail(kExitUsage, "say which command (mlpwatt --help)");
  } catch (const CLI::Success& success) {  // --help, --version
    return app.exit(success, out, err);
  } catch (const CLI::ParseError& error) {
    return fail(kExitUsage, explain(app, error));
  } catch (const UsageError& error) {
    return fail(kExitUsage, error.what());
  } catch (const std::invalid_argument& error) {
    return fail(kExitUsage, error.what());
  } catch (const std::exception& error) {
    return fail(kExitFailure, error.what());
  }
}

}  // namespace mlpwatt
