#pragma once
// The text of a file that a program left; "" where there is none.

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace mlpwatt::testing {

inline std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

}  // namespace mlpwatt::testing
