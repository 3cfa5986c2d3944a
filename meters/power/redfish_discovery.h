#pragma once
// Where a Redfish service keeps a node's power.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "meters/power/http.h"
#include "meters/power/meter.h"

namespace mlpwatt {

/// One number in a page of the service; several make a sum.
struct RedfishTerm {
  std::string path;
  nlohmann::json::json_pointer value;
  std::optional<nlohmann::json::json_pointer> stamp;
};

struct RedfishSource {
  Channel channel;
  std::vector<RedfishTerm> terms;
  double factor = 1;
  std::string chassis;
};

/// Looks in each chassis (or the wanted one) in this order: EnvironmentMetrics with the sensor behind it,
/// Power/PowerControl, the sum of the power supplies' inputs. @param root "https://host", without
/// "/redfish/v1". Errors: OpenError when there is no service or no power; what HttpClient throws.
std::vector<RedfishSource> discover_redfish(HttpClient& http, const std::string& root, double timeout_s,
                                            const std::string& wanted_chassis);

}  // namespace mlpwatt
