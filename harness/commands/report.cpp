// mlpwatt report: one self-contained page of figures from results files. The figures are Python (matplotlib,
// h5py); this command finds them and runs Debian's Python on them.

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <ostream>

#include "harness/build_facts.h"
#include "harness/model/advice.h"
#include "harness/program.h"
#include "harness/record/reader.h"

extern char** environ;

namespace mlpwatt {
namespace {

constexpr const char* kPython = "/usr/bin/python3";

struct Options {
  std::vector<std::string> files, only;
  std::string out = "report.html", figures;
  bool flagged_energies = false, json = false;
};

/// results/report/report.py of the sources this was built from, else the installed one.
std::string find_script() {
  const BuildFacts& build = build_facts();
  for (const std::string& folder : {build.source_dir + "/results", build.prefix + "/share/mlpwatt"})
    if (const std::string path = folder + "/report/report.py"; std::filesystem::exists(path)) return path;
  throw std::runtime_error(
      fmt::format("report/report.py is neither in {}/results nor in {}/share/mlpwatt; make install "
                  "puts it there",
                  build.source_dir, build.prefix));
}

/// Its own output goes where ours goes. @return the exit status, or 128 + the signal
int run(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (const int error = posix_spawn(&child, arguments[0], nullptr, nullptr, arguments.data(), environ);
      error != 0)
    throw std::runtime_error(fmt::format("{}: {}", command[0], std::strerror(error)));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// What the files' models advise, in a file of its own for the script; gone with it.
class AdviceFile {
 public:
  explicit AdviceFile(const std::vector<std::string>& files)
      : path_((std::filesystem::temp_directory_path() / "mlpwatt-advice-XXXXXX").string()) {
    const int descriptor = mkstemp(path_.data());
    if (descriptor < 0) throw std::runtime_error("cannot make " + path_ + ": " + std::strerror(errno));
    close(descriptor);
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const std::string& file : files)
      for (auto& one : model::advise(file)) all.push_back(std::move(one));
    std::ofstream(path_) << all;
  }
  ~AdviceFile() { std::remove(path_.c_str()); }
  AdviceFile(const AdviceFile&) = delete;
  AdviceFile& operator=(const AdviceFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

int report(const Options& options, Context& context) {
  for (const std::string& file : options.files) {
    if (!std::filesystem::exists(file)) throw UsageError("no file " + file);
    Reader{file};  // says what is wrong with it before Python does
  }
  if (std::system((std::string(kPython) + " -c 'import h5py, matplotlib' >/dev/null 2>&1").c_str()) != 0)
    throw std::runtime_error(
        fmt::format("{} has no h5py or no matplotlib; install python3-h5py and python3-matplotlib", kPython));
  const AdviceFile advice(options.files);
  std::vector<std::string> command{kPython, find_script(), options.out, "--advice", advice.path()};
  if (!options.figures.empty()) command.insert(command.end(), {"--figures", options.figures});
  if (options.flagged_energies) command.push_back("--flagged-energies");
  if (options.json) command.push_back("--json");
  for (const std::string& name : options.only) command.insert(command.end(), {"--only", name});
  command.insert(command.end(), options.files.begin(), options.files.end());
  context.out << std::flush;
  return run(command) == 0 ? kExitOk : kExitFailure;
}

const CommandRegistration registration{
    "report", "one self-contained HTML page of figures and tables from results files",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("files", options->files, "results files")->required();
      app.add_option("-o,--out", options->out, "the page")->capture_default_str();
      app.add_option("--figures", options->figures, "folder for every figure as SVG and PNG");
      app.add_option("--only", options->only, "only this figure; may be given again");
      app.add_flag("--flagged-energies", options->flagged_energies,
                   "show energies with quality flags as well (under_sampled, stuck ...)");
      app.add_flag("--json", options->json,
                   "one JSON object: the page, and each figure with why it is missing");
      return [options](Context& context) { return report(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt
