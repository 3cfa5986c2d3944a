#include "kernels/nearest.h"

#include <algorithm>
#include <cctype>
#include <numeric>

namespace mlpwatt {

namespace {
std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}
}  // namespace

int edit_distance(const std::string& a_in, const std::string& b_in) {
  const std::string a = lower(a_in), b = lower(b_in);
  const std::size_t columns = b.size() + 1;
  std::vector<int> table((a.size() + 1) * columns);
  const auto at = [&](std::size_t i, std::size_t j) -> int& { return table[i * columns + j]; };
  for (std::size_t i = 0; i <= a.size(); ++i) at(i, 0) = static_cast<int>(i);
  for (std::size_t j = 0; j <= b.size(); ++j) at(0, j) = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i)
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int replace = at(i - 1, j - 1) + (a[i - 1] == b[j - 1] ? 0 : 1);
      at(i, j) = std::min({replace, at(i - 1, j) + 1, at(i, j - 1) + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        at(i, j) = std::min(at(i, j), at(i - 2, j - 2) + 1);
    }
  return at(a.size(), b.size());
}

std::vector<std::string> nearest_names(const std::string& value, const std::vector<std::string>& candidates,
                                       int count) {
  const std::string wanted = lower(value);
  std::vector<int> distance;
  for (const std::string& candidate : candidates) {
    const std::string name = lower(candidate);
    const bool part = wanted.size() >= 3 && name.size() >= 3 &&
                      (name.find(wanted) != std::string::npos || wanted.find(name) != std::string::npos);
    distance.push_back(part ? 1 : edit_distance(wanted, name));
  }
  std::vector<std::size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t l, std::size_t r) { return distance[l] < distance[r]; });
  std::vector<std::string> nearest;
  for (const std::size_t i : order) {
    if (static_cast<int>(nearest.size()) >= count) break;
    nearest.push_back(candidates[i]);
  }
  return nearest;
}

std::string unknown_name(const std::string& kind, const std::string& value,
                         const std::vector<std::string>& candidates, int count) {
  std::string text = "unknown " + kind + " '" + value + "'";
  const char* separator = "; nearest: ";
  for (const std::string& name : nearest_names(value, candidates, count)) {
    text += separator + name;
    separator = ", ";
  }
  return text;
}

}  // namespace mlpwatt
