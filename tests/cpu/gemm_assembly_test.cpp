// The machine code of the register tiles: the hot loop of each full tile holds its FMAs and nothing that goes
// to the stack. Read from the object file by objdump, so it needs no processor that can run it.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <string>
#include <vector>

namespace mlpwatt {
namespace {

struct Loop {
  int fmas = 0, stack = 0, spills = 0, instructions = 0;  // spills: of vectors
};

std::vector<std::string> lines_of(const std::string& command) {
  std::vector<std::string> lines;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return lines;
  std::array<char, 1024> buffer;
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) lines.emplace_back(buffer.data());
  pclose(pipe);
  return lines;
}

/// The innermost loops with at least `least_fmas` of the functions that have `tile` and `access` in their
/// names: the instructions between a backward jump and its target.
std::vector<Loop> hot_loops(const std::vector<std::string>& lines, const std::string& tile,
                            const std::string& access, int least_fmas) {
  static const std::regex header("^([0-9a-f]+) <(.*)>:"), code("^ *([0-9a-f]+):\\s+(\\S+)\\s*(.*)");
  struct Instruction {
    unsigned long address;
    std::string operation, operands;
  };
  std::vector<Instruction> body;
  bool inside = false;
  for (const std::string& line : lines) {
    std::smatch match;
    if (std::regex_search(line, match, header)) {
      const std::string name = match[2];
      inside = name.find(tile) != std::string::npos && name.find(access) != std::string::npos;
    } else if (inside && std::regex_search(line, match, code)) {
      body.push_back({std::stoul(match[1], nullptr, 16), match[2], match[3]});
    }
  }
  std::vector<Loop> found;
  for (std::size_t end = 0; end < body.size(); ++end) {
    if (body[end].operation.front() != 'j') continue;
    std::size_t used = 0;
    unsigned long target = 0;
    try {
      target = std::stoul(body[end].operands, &used, 16);
    } catch (const std::exception&) {
      continue;
    }
    if (target > body[end].address) continue;
    Loop loop;
    bool innermost = true;
    for (std::size_t i = end + 1; i-- > 0 && body[i].address >= target;) {
      const Instruction& in = body[i];
      ++loop.instructions;
      if (i != end && in.operation.front() == 'j') innermost = false;
      if (in.operation.rfind("vfmadd", 0) == 0) ++loop.fmas;
      const bool stack =
          in.operands.find("(%rsp") != std::string::npos || in.operands.find("(%rbp") != std::string::npos;
      loop.stack += stack;
      loop.spills += stack && in.operation.front() == 'v';
    }
    if (innermost && loop.fmas >= least_fmas) found.push_back(loop);
  }
  return found;
}

class GemmAssembly : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::system("command -v objdump >/dev/null 2>&1") != 0) GTEST_SKIP() << "objdump is not installed";
    if (std::getenv("MLPWATT_SANITIZED") != nullptr) GTEST_SKIP() << "sanitizers put checks into the loops";
    const char* build = std::getenv("MLPWATT_BUILD");
    if (build == nullptr) GTEST_SKIP() << "MLPWATT_BUILD does not say where the objects are";
    build_ = build;
#if !defined(__x86_64__)
    GTEST_SKIP() << "no x86-64 build";
#endif
  }
  void expect_clean_loops(const std::string& isa, const std::vector<std::pair<int, int>>& tiles) {
    const std::string object = build_ + "/cpu/gemm/micro_" + isa + ".o";
    ASSERT_TRUE(std::filesystem::exists(object)) << object;
    const std::vector<std::string> lines =
        lines_of("objdump -d --no-show-raw-insn -C '" + object + "' 2>/dev/null");
    ASSERT_GT(lines.size(), 1000u);
    for (const auto& [rows, vectors] : tiles)
      for (int access = 0; access < 3; ++access)  // AccessOfA: rows, strip, lines
        for (const bool b_apart : {false, true}) {
          const std::string name = "AccessOfA)" + std::to_string(access) + (b_apart ? ", true>" : ", false>");
          const std::string tile =
              "tile_fixed<" + std::to_string(rows) + ", " + std::to_string(vectors) + ",";
          const std::string what = isa + ' ' + tile + " (" + name;
          const std::vector<Loop> loops = hot_loops(lines, tile, name, rows * vectors);
          EXPECT_FALSE(loops.empty()) << what;
          for (const Loop& loop : loops) {
            EXPECT_EQ(loop.fmas % (rows * vectors), 0) << what << ": steps are not whole";
            EXPECT_EQ(loop.spills, 0) << what << " spills vectors";
            // Rows of A apart from each other take a pointer for every four: there the count may be left
            // without a register.
            EXPECT_LE(loop.stack, access == 0 ? 1 : 0) << what << " goes to the stack";
            // FMAs, one load a row and a vector (a broadcast may hide in its FMA), what is asked for ahead,
            // and the loop's own few.
            const int steps = loop.fmas / std::max(1, rows * vectors);
            const int pointers = 3 + (access == 0 ? (rows + 3) / 4 : 1);
            const int ahead = (b_apart ? vectors : 0) + (access == 2 ? 1 : 0);
            EXPECT_LE(loop.instructions, steps * (rows * vectors + rows + vectors + pointers + ahead) + 4)
                << what;
          }
        }
  }
  std::string build_;
};

TEST_F(GemmAssembly, Avx2TilesStayInRegisters) { expect_clean_loops("avx2", {{12, 1}, {6, 2}, {4, 3}}); }
TEST_F(GemmAssembly, Avx512TilesStayInRegisters) { expect_clean_loops("avx512", {{28, 1}, {14, 2}, {9, 3}}); }

}  // namespace
}  // namespace mlpwatt
