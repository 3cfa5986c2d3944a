#pragma once
// Which file results go to when nobody says.

#include <string>

namespace mlpwatt {

/// results/<host>-<YYYY-MM-DD>.h5 in the working folder (UTC), the folder made when it is missing.
/// An existing file is appended to.
std::string default_output(const std::string& host);

}  // namespace mlpwatt
