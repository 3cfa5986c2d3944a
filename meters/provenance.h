#pragma once
// How a number came to be. Numbers of different provenance never share a column.

#include <string>

namespace mlpwatt {

enum class Provenance {
  kMeasured,   ///< read from an instrument or a hardware or kernel counter of this machine
  kModelled,   ///< computed from a formula and a table, not from this run's behaviour
  kSimulated,  ///< counted by executing the same code on a simulated machine
};

inline std::string to_string(Provenance provenance) {
  switch (provenance) {
    case Provenance::kMeasured:
      return "measured";
    case Provenance::kModelled:
      return "modelled";
    case Provenance::kSimulated:
      return "simulated";
  }
  return "unknown";
}

}  // namespace mlpwatt
