#include "kernels/kernel.h"

#include <algorithm>
#include <cstdio>

namespace mlpwatt {

std::string failure_of(const Check& check) {
  if (check.passed && check.error <= check.bound) return "";
  if (!check.detail.empty()) return check.detail;
  char text[80];
  std::snprintf(text, sizeof text, "wrong result: error %.3g, bound %.3g", check.error, check.bound);
  return text;
}

std::string algorithm_name(const std::string& fact) { return fact.substr(0, fact.find(' ')); }

Check check_within(double error, double bound, const std::string& what) {
  Check check;
  check.error = error;
  check.bound = bound;
  check.passed = !(!(error <= bound));
  if (!check.passed) {
    char text[160];
    std::snprintf(text, sizeof text, "error %.3g exceeds the bound %.3g: ", error, bound);
    check.detail = text + what;
  }
  return check;
}

namespace {
std::vector<Family>& registered() {
  static std::vector<Family> families;
  return families;
}
}  // namespace

const std::vector<Family>& catalogue() { return registered(); }

FamilyRegistration::FamilyRegistration(Family family) {
  auto& families = registered();
  const auto after = std::upper_bound(families.begin(), families.end(), family.name,
                                      [](const std::string& name, const Family& f) { return name < f.name; });
  families.insert(after, std::move(family));
}

}  // namespace mlpwatt
