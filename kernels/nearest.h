#pragma once
// "Did you mean": the valid names nearest to a wrong one, for error messages.

#include <string>
#include <vector>

namespace mlpwatt {

/// Letters to insert, delete, replace or swap with a neighbour to get from a to b (case ignored).
int edit_distance(const std::string& a, const std::string& b);

/// The up to `count` candidates nearest to `value`, best first; ties keep the candidates' order. A
/// candidate that contains `value` (or the other way round) counts as near. Never empty unless candidates is.
std::vector<std::string> nearest_names(const std::string& value, const std::vector<std::string>& candidates,
                                       int count = 3);

/// "unknown KIND 'VALUE'; nearest: a, b, c": the one line of every command's unknown-name error.
std::string unknown_name(const std::string& kind, const std::string& value,
                         const std::vector<std::string>& candidates, int count = 3);

}  // namespace mlpwatt
