#pragma once
// Where found timings are kept between sittings: a JSON file of the user's, keyed by host, meter and domain.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "meters/calibration.h"

namespace mlpwatt {

/// $MLPWATT_CALIBRATION, else mlpwatt/calibration.json under $XDG_CONFIG_HOME or ~/.config.
std::string default_calibration_path();

/// Name of this machine, as timings are kept under.
std::string calibration_host();

/// Empty when there is no such file. Errors: std::invalid_argument naming the file and what is wrong in it.
std::vector<ChannelTiming> read_calibrations(const std::string& path);

/// The file's text with `found` in the place of older ones of the same host, meter and domain.
std::string calibration_text(std::vector<ChannelTiming> known, const std::vector<ChannelTiming>& found);

nlohmann::ordered_json timing_json(const ChannelTiming& timing);

/// The meter with its channels' timing as found on this host; itself when nothing is known of it.
std::unique_ptr<Meter> calibrated(std::unique_ptr<Meter> meter, const std::vector<ChannelTiming>& known,
                                  const std::string& host);

}  // namespace mlpwatt
