#include "harness/selection.h"

#include <fmt/format.h>
#include <regex.h>

#include "harness/program.h"
#include "kernels/nearest.h"

namespace mlpwatt {
namespace {

constexpr const char* kSpecial = ".[]{}()*+?|^$\\";

/// POSIX extended, as Google Benchmark's own filter.
class Filter {
 public:
  explicit Filter(const std::string& text) : text_(text) {
    std::string expression = text;
    if (expression.starts_with("-")) {
      negated_ = true;
      expression.erase(0, 1);
    }
    if (expression.empty() || expression == "all") expression.assign(1, '.');  // (= "." makes g++ 12 warn)
    if (const int code = regcomp(&compiled_, expression.c_str(), REG_EXTENDED | REG_NOSUB); code != 0) {
      char reason[200];
      regerror(code, &compiled_, reason, sizeof reason);
      throw UsageError(fmt::format("--filter '{}' is not a regular expression: {}", text, reason));
    }
    literal_ = !negated_ && !text.empty() && text.find_first_of(kSpecial) == std::string::npos;
    if (!negated_ && text.starts_with("^")) {
      const std::size_t end = text.find_first_of(kSpecial, 1);
      prefix_ = text.substr(1, end == std::string::npos ? end : end - 1);
      // a quantifier frees the character before it; an alternative outside brackets frees everything
      if (end != std::string::npos && std::string("*?{").find(text[end]) != std::string::npos &&
          !prefix_.empty())
        prefix_.pop_back();
      int depth = 0;
      for (const char c : text) {
        depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        if (c == '|' && depth == 0) prefix_.clear();
      }
    }
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  ~Filter() { regfree(&compiled_); }

  bool matches(const std::string& name) const {
    return (regexec(&compiled_, name.c_str(), 0, nullptr, 0) == 0) != negated_;
  }
  bool is_exactly(const std::string& name) const { return literal_ && name == text_; }
  /// False when no name that starts with "FAMILY/" can match.
  bool may_match_family(const std::string& family) const {
    const std::string start = family + "/";
    const std::size_t common = std::min(start.size(), prefix_.size());
    return start.compare(0, common, prefix_, 0, common) == 0;
  }
  /// An exact name is looked for in its own family first.
  bool literal_in_family(const std::string& family) const {
    return literal_ && text_.starts_with(family + "/");
  }

 private:
  std::string text_, prefix_;
  bool negated_ = false, literal_ = false;
  regex_t compiled_{};
};

/// Thrown through Family::enumerate to leave it early.
struct Found {
  Benchmark benchmark;
};

}  // namespace

std::vector<Benchmark> select(const std::vector<Family>& families, const RunOptions& options,
                              const Selection& selection) {
  const Filter filter(selection.filter);
  for (const Family& family : families) {
    if (selection.quick || selection.suite || !filter.literal_in_family(family.name)) continue;
    try {
      family.enumerate(options, [&](const Benchmark& benchmark) {
        if (filter.is_exactly(benchmark.name)) throw Found{benchmark};
      });
    } catch (const Found& found) {
      return {found.benchmark};
    }
  }
  std::vector<Benchmark> chosen;
  for (const Family& family : families) {
    if (!filter.may_match_family(family.name)) continue;
    std::vector<Benchmark> matching;
    std::size_t size = 0;
    family.enumerate(options, [&](const Benchmark& benchmark) {
      ++size;
      if ((!selection.quick || benchmark.quick) && filter.matches(benchmark.name))
        matching.push_back(benchmark);
    });
    if (selection.suite && size > kLargeFamily)
      std::erase_if(matching, [](const Benchmark& benchmark) { return !benchmark.quick; });
    chosen.insert(chosen.end(), matching.begin(), matching.end());
  }
  if (!chosen.empty()) return chosen;
  std::vector<std::string> names;
  for (const Family& family : families)
    family.enumerate(options, [&](const Benchmark& benchmark) { names.push_back(benchmark.name); });
  const char* among = selection.quick ? " of the quick suite" : selection.suite ? " of the suite" : "";
  throw UsageError(
      fmt::format("no benchmark{} matches --filter '{}' (nearest: {}; all: mlpwatt list --names)", among,
                  selection.filter, fmt::join(nearest_names(selection.filter, names), ", ")));
}

}  // namespace mlpwatt
