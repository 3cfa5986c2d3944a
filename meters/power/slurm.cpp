// Inside a Slurm job: what the cluster's own energy accounting (acct_gather_energy) says of this node,
// through `scontrol show node`. Optional: most clusters do not collect it, and then say so by sentinels.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "meters/counters/child_process.h"
#include "meters/power/bounded_meter.h"
#include "meters/power/settings.h"

namespace mlpwatt {
namespace {

using State = MeterProbe::State;

/// NO_VAL and NO_VAL64, the accounting's words for "none", and what scontrol prints for them.
bool is_none(const std::string& text) {
  return text.empty() || text == "n/s" || text == "N/A" || text == "NO_VAL" || text == "4294967294" ||
         text == "4294967295" || text == "18446744073709551614";
}

/// The text after "KEY=" up to the next space; "" when there is none.
std::string value_of(const std::string& answer, const std::string& key) {
  std::istringstream words(answer);
  for (std::string word; words >> word;)
    if (word.rfind(key + "=", 0) == 0) return word.substr(key.size() + 1);
  return "";
}

class SlurmDevice final : public Device {
 public:
  SlurmDevice(std::vector<std::string> command, Channel channel)
      : command_(std::move(command)), channel_(std::move(channel)) {}

  std::vector<Reading> read(double timeout_s) override {
    const std::string output_path = folder_.path() + "/answer";
    ChildProcess child(command_, {"SLURM_TIME_FORMAT=standard"}, output_path);
    child.wait_until(ChildProcess::Clock::now() + std::chrono::duration_cast<ChildProcess::Clock::duration>(
                                                      std::chrono::duration<double>(timeout_s)));
    if (const std::string failure = child.failure(); !failure.empty())
      throw std::runtime_error(command_[0] + " " + failure);
    std::ostringstream answer;
    answer << std::ifstream(output_path).rdbuf();
    const std::string watts = value_of(answer.str(), "CurrentWatts");
    if (is_none(watts))
      return {
          failed_reading(fmt::format("CurrentWatts is {}: this cluster gathers no energy of its nodes "
                                     "(AcctGatherEnergyType in slurm.conf)",
                                     watts.empty() ? "missing" : watts))};
    const std::optional<double> number = parse_number(watts);
    if (!number) return {failed_reading("CurrentWatts is \"" + watts.substr(0, 40) + "\", no number")};
    return {checked_reading(channel_, *number)};
  }

 private:
  ScratchFolder folder_;
  std::vector<std::string> command_;
  Channel channel_;
};

std::unique_ptr<Meter> open_one(Settings& settings) {
  std::vector<std::string> command;
  for (const nlohmann::json& word : settings.list("command")) {
    if (!word.is_string()) settings.refuse("command", "the program and its arguments, as texts");
    command.push_back(word.get<std::string>());
  }
  Channel channel;
  channel.domain = "node";
  channel.place = "Slurm accounting";
  channel.resolution = 1;
  channel.update_period_s = 30;  // slurm.conf's example of AcctGatherNodeFreq
  channel.accuracy_relative = 0.05;
  channel.accuracy_source = "assumed: that of the BMC or RAPL behind it is not known here";
  declare_channel(settings, channel);
  const double poll_s = settings.number("poll_s", 10, 0.01, 3600);
  const double timeout_s = settings.number("timeout_s", 10, 0.05, 600);
  settings.finish();
  if (command.empty()) {
    const char *job = std::getenv("SLURM_JOB_ID"), *node = std::getenv("SLURMD_NODENAME");
    if (job == nullptr || node == nullptr) throw OpenError(State::kAbsent, "slurm: not inside a Slurm job");
    command = {"scontrol", "--oneliner", "show", "node", node};
  }
  if (find_program(command[0]).empty())
    throw OpenError(State::kAbsent, fmt::format("slurm: there is no program {}", command[0]));
  auto device = std::make_shared<SlurmDevice>(command, channel);
  return BoundedMeter::answering(
      "slurm", {channel}, device,
      BoundedOptions{.poll_period_s = poll_s, .least_spacing_s = std::min(1.0, 0.9 * poll_s), .attempts = 1},
      timeout_s);
}

MeterProbe open(const nlohmann::json& config) { return open_devices("slurm", config, open_one); }

const MeterRegistration registration{
    {.name = "slurm", .summary = "node power as Slurm accounts it, inside a job", .rank = 70, .open = open}};

}  // namespace
}  // namespace mlpwatt
