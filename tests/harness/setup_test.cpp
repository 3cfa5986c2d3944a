// harness/setup/deps.sh on machines made of stand-in tools, and what the Makefile says it has: nothing is
// installed, nothing is built.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/shell.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// A machine with nothing but the tools that deps.sh is written in, and what a test adds.
class Deps : public ::testing::Test {
 protected:
  Deps() {
    fs::create_directory(folder_.path("bin"));
    for (const char* name : {"dirname", "awk", "sort", "tr", "mktemp", "rm", "tail", "true"}) {
      std::string path = shell(std::string("env which ") + name).out;
      path.erase(path.find_last_not_of('\n') + 1);
      fs::create_symlink(path, folder_.path(std::string("bin/") + name));
    }
  }
  void tool(const std::string& name, const std::string& body) const {
    const std::string path = folder_.path("bin/" + name);
    std::ofstream(path) << "#!/bin/sh\n" << body << '\n';
    fs::permissions(path, fs::perms::owner_all);
  }
  /// Debian without two packages; apt-get notes what it is asked for.
  void debian(const std::string& user_id, const std::string& sudo) const {
    tool("dpkg-query",
         "case \"$*\" in *libfmt-dev*|*libhwloc-dev*) exit 1 ;; esac\n"
         "printf 'install ok installed'");
    tool("id", "echo " + user_id);
    tool("sudo", sudo);
    tool("apt-get", "echo \"$*\" >> " + folder_.path("apt"));
  }
  /// Neither apt nor any library or program.
  void bare() const {
    tool("pkg-config", "exit 1");
    tool("python3", "exit 1");
  }
  Shell deps(const std::string& arguments) const {
    return shell("env -i PATH=" + folder_.path("bin") + " TMPDIR=" + folder_.path() +
                 " harness/setup/deps.sh " + arguments);
  }
  std::string asked_of_apt() const {
    std::stringstream text;
    text << std::ifstream(folder_.path("apt")).rdbuf();
    return text.str();
  }
  const TemporaryFolder folder_;
};

TEST_F(Deps, WithoutRightsItStopsWithTheLineToType) {
  debian("1000", "exit 1");
  const Shell run = deps("build");
  EXPECT_EQ(run.status, 1);
  EXPECT_EQ(run.out,
            "mlpwatt: missing packages and no right to install them. Type:\n"
            "  sudo apt-get install --no-install-recommends libfmt-dev libhwloc-dev\n");
  EXPECT_EQ(asked_of_apt(), "");
}

TEST_F(Deps, WithRightsItInstallsWhatIsMissingByName) {
  for (const char* user : {"0", "1000"}) {
    debian(user, "[ \"$1\" = -n ] && shift && exec \"$@\"");
    fs::remove(folder_.path("apt"));
    const Shell run = deps("build meter");
    EXPECT_EQ(run.status, 0) << run.out;
    EXPECT_EQ(asked_of_apt(), "install -y --no-install-recommends libfmt-dev libhwloc-dev\n") << user;
  }
}

TEST_F(Deps, WhatIsThereIsLeftAlone) {
  debian("0", "exit 1");
  const Shell run = deps("read data");
  EXPECT_EQ(run.status, 0);
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(asked_of_apt(), "");
}

TEST_F(Deps, AptThatFailsIsAnErrorAndOfOptionalGroupsAWord) {
  debian("0", "exit 1");
  tool("apt-get", "echo 'E: Unable to locate package'; exit 100");
  const Shell run = deps("build");
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.out, HasSubstr("E: Unable to locate package"));
  const Shell optional = deps("--optional build");
  EXPECT_EQ(optional.status, 0);
  EXPECT_THAT(optional.out, HasSubstr("without libfmt-dev libhwloc-dev"));
}

TEST_F(Deps, ElsewhereItSaysTheLinesForDnfAndSpack) {
  bare();
  const Shell build = deps("build meter read");
  EXPECT_EQ(build.status, 1);
  EXPECT_THAT(build.out,
              AllOf(HasSubstr("mlpwatt: cannot find: benchmark papi hdf5 hwloc CLI11"),
                    HasSubstr("\n  sudo dnf install "), HasSubstr(" hwloc-devel "),
                    HasSubstr("\n  spack install "), HasSubstr("&& spack load "),
                    HasSubstr(" nlohmann-json "), HasSubstr(" py-xarray "), Not(HasSubstr("gtest"))));
  const Shell test = deps("test");
  EXPECT_EQ(test.status, 1);
  EXPECT_THAT(test.out, AllOf(HasSubstr("cannot find: gtest gmock"), HasSubstr(" python3-scipy"),
                              HasSubstr(" gtest-devel "), HasSubstr(" gmock-devel "),
                              HasSubstr(" googletest "), HasSubstr(" py-scipy ")));
}

TEST_F(Deps, ElsewhereWhatIsThereIsLeftAlone) {
  tool("pkg-config", "exit 0");
  EXPECT_EQ(deps("build meter read").out, "");
  tool("python3", "exit 0");
  tool("snmpd", "exit 0");
  const Shell all = deps("build meter read test");
  EXPECT_EQ(all.status, 0);
  EXPECT_EQ(all.out, "");
}

TEST_F(Deps, ElsewhereFetchingNeedsCurlOrWget) {
  bare();
  const Shell neither = deps("data");
  EXPECT_EQ(neither.status, 1);
  EXPECT_THAT(neither.out,
              AllOf(HasSubstr("cannot find: curl."), HasSubstr("sudo dnf install ca-certificates curl")));
  tool("wget", "exit 0");
  EXPECT_EQ(deps("data").status, 0);
}

// --- the Makefile

/// @param arguments of a make of its own, that shares nothing with one that runs the tests
Shell make(const std::string& arguments) {
  const char* build = std::getenv("MLPWATT_BUILD");
  return shell("env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make --no-print-directory BUILD=" +
               std::string(build == nullptr ? "build" : build) + " " + arguments);
}

/// First groups of all matches, line by line.
std::set<std::string> names_in(const std::string& text, const std::string& expression) {
  std::set<std::string> names;
  const std::regex wanted(expression);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);)
    if (std::smatch found; std::regex_search(line, found, wanted)) names.insert(found[1]);
  return names;
}

TEST(Makefile, HelpListsEveryTargetWithADescription) {
  const Shell help = make("help");
  ASSERT_EQ(help.status, 0) << help.out;
  const std::set<std::string> listed = names_in(help.out, "^  make ([a-z][a-z._-]*) +[^ ].*");
  EXPECT_GT(listed.size(), 20u);
  // what make itself holds for phony, and every plain target of the file
  const Shell database = make("-n -p help");
  const std::string line = *names_in(database.out, "^\\.PHONY: (.*)").begin();
  std::istringstream phony(line);
  std::set<std::string> targets{std::istream_iterator<std::string>(phony), {}};
  EXPECT_GT(targets.size(), 20u);
  std::stringstream makefile;
  makefile << std::ifstream("Makefile").rdbuf();
  targets.merge(names_in(makefile.str(), "^([a-z][a-z-]*):( |$)"));
  for (const char* inner : {"FORCE", "need-nvcc"}) targets.erase(inner);
  for (const std::string& target : targets)
    EXPECT_TRUE(listed.contains(target)) << "make help says nothing of " << target;
}

TEST(Makefile, OtherFlagsMakeObjectsAnew) {
  const TemporaryFolder folder;
  const auto compiles = [&](const std::string& flags) {
    const Shell run = make("BUILD=" + folder.path() + " " + flags + " " + folder.path("kernels/nearest.o"));
    EXPECT_EQ(run.status, 0) << run.out;
    return run.out.find("CXX   kernels/nearest.cpp") != std::string::npos;
  };
  EXPECT_TRUE(compiles("OPT=-O1"));
  EXPECT_FALSE(compiles("OPT=-O1"));
  EXPECT_TRUE(compiles("OPT=-O0")) << "a row would name flags that its kernels were not compiled with";
  EXPECT_FALSE(compiles("OPT=-O0"));
}

TEST(Makefile, ATargetThatIsNotX86CompilesThePortableKernelsOnly) {
  const auto sources = [](const std::string& target) {
    const Shell run = make("--eval='print-sources: ; @echo $(SOURCES)' " + target + " print-sources");
    EXPECT_EQ(run.status, 0) << run.out;
    return run.out;
  };
  EXPECT_THAT(sources("TARGET=aarch64-linux-gnu"), AllOf(HasSubstr("cpu/gemm/micro_generic.cpp"),
                                                         HasSubstr("cpu/isa.cpp"), Not(HasSubstr("_avx"))));
  EXPECT_THAT(sources("TARGET=x86_64-linux-gnu"),
              AllOf(HasSubstr("_avx512.cpp"), HasSubstr("_avx2.cpp"), HasSubstr("_avx2_nofma.cpp")));
}

/// A program that does `body`, in a folder for the front of PATH.
void stand_in(const TemporaryFolder& folder, const std::string& name, const std::string& body) {
  std::ofstream(folder.path(name)) << "#!/bin/sh\n" << body << '\n';
  fs::permissions(folder.path(name), fs::perms::owner_all);
}

TEST(Makefile, ANativeHopperBuildHasTheKernelsOfSm90a) {
  const auto flags = [](const std::string& capability, const std::string& arch) {
    const TemporaryFolder folder;
    stand_in(folder, "nvidia-smi", "echo " + capability);
    return shell(
               "export PATH=" + folder.path() + ":$PATH; make --no-print-directory BUILD=" +
               std::string(std::getenv("MLPWATT_BUILD") == nullptr ? "build" : std::getenv("MLPWATT_BUILD")) +
               " NVCC=/bin/true GPU_ARCH=" + arch +
               " --eval='print-gencode: ; @echo $(GENCODE)' print-gencode")
        .out;
  };
  EXPECT_THAT(flags("9.0", "native"), HasSubstr("-arch=sm_90a"));
  EXPECT_THAT(flags("8.6", "native"), HasSubstr("-arch=sm_86"));
  EXPECT_THAT(flags("9.0", "90"), HasSubstr("-arch=sm_90a")) << "sm_90 has no warpgroup products";
  EXPECT_THAT(flags("9.0", "80"), HasSubstr("-arch=sm_80"));
  EXPECT_THAT(flags("", "native"), HasSubstr("GPU_ARCH=native: nvidia-smi names no device"));
  EXPECT_THAT(flags("", ""), AllOf(HasSubstr("code=sm_90a"), HasSubstr("code=compute_90")));
}

TEST(TestGpu, TheSanitizersRunTheTests) {
  const TemporaryFolder folder;
  stand_in(folder, "tests", "echo tests \"$@\" >> " + folder.path("log"));
  const auto run = [&](const std::string& sanitizer) {
    fs::remove(folder.path("log"));
    stand_in(folder, "compute-sanitizer",
             "echo sanitizer \"$@\" small $MLPWATT_SMALL_SHAPES >> " + folder.path("log") + "; " + sanitizer);
    const Shell done = shell("PATH=" + folder.path() + ":$PATH tests/gpu/run.sh " + folder.path("tests") +
                             " --gtest_filter=Some*");
    std::stringstream log;
    log << std::ifstream(folder.path("log")).rdbuf();
    return std::pair{done.status, log.str()};
  };
  const auto [status, log] = run("exit 0");
  EXPECT_EQ(status, 0);
  for (const char* tool : {"memcheck", "racecheck"})
    EXPECT_THAT(log, HasSubstr("sanitizer --tool " + std::string(tool) + " --error-exitcode 1 " +
                               folder.path("tests") + " --gtest_brief=1 --gtest_filter=Some* small 1"));
  EXPECT_THAT(log, HasSubstr("tests --gtest_brief=1 --gtest_filter=Some*"));
  EXPECT_NE(run("exit 1").first, 0) << "what a sanitizer finds fails the target";
}

TEST(Makefile, DatasetsMakesSureOfTheToolsThatFetch) {
  const std::string commands = make("-n datasets").out;
  const std::size_t tools = commands.find("harness/setup/deps.sh data");
  ASSERT_NE(tools, std::string::npos) << commands;
  EXPECT_LT(tools, commands.find("harness/setup/datasets.sh"));
}

TEST(Makefile, ProductsAndStepsRunOnOneCoreAndOnAllUnlessToldHowMany) {
  for (const std::string target : {"gemm", "mlp"}) {
    const auto runs = [&](const std::string& arguments) {
      const std::string commands = make("-n " + target + " OUT=x.h5 " + arguments).out;
      std::vector<std::string> found;
      std::istringstream lines(commands);
      for (std::string line; std::getline(lines, line);)
        if (line.find("mlpwatt run --out x.h5") != std::string::npos) found.push_back(line);
      return found;
    };
    const std::vector<std::string> both = runs("");
    ASSERT_EQ(both.size(), 2u) << target;
    for (const std::string& command : both)
      EXPECT_THAT(command, AllOf(HasSubstr("--suite"), HasSubstr("fma"), HasSubstr(target)));
    EXPECT_THAT(both[0], HasSubstr("--threads 1"));
    EXPECT_THAT(both[1], Not(HasSubstr("--threads")));
    const std::vector<std::string> told = runs("ARGS='--threads 2'");
    ASSERT_EQ(told.size(), 1u) << target;
    EXPECT_THAT(told[0], AllOf(HasSubstr("--suite"), HasSubstr("--threads 2")));
  }
}

TEST(Makefile, APeerThatIsRefusedStopsNothing) {
  for (const std::string target : {"compare", "compare-quick"}) {
    // a program that refuses whatever it is asked: both halves are run, and the target fails
    const Shell outcome = make("-o build MLPWATT='echo asked; false' OUT=x.h5 " + target);
    EXPECT_NE(outcome.status, 0) << outcome.out;
    std::size_t asked = 0;
    for (std::size_t at = outcome.out.find("asked"); at != std::string::npos;
         at = outcome.out.find("asked", at + 1))
      ++asked;
    EXPECT_EQ(asked, 2u) << outcome.out;
  }
}

}  // namespace
}  // namespace mlpwatt::testing
