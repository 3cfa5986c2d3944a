// mlpwatt attach-power: a power log that another program wrote, attached to the runs of a finished file as if
// its meter had looked on.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>
#include <set>

#include "harness/options.h"
#include "harness/program.h"
#include "harness/record/record_file.h"
#include "harness/run/power_rows.h"
#include "meters/power/hours_off.h"
#include "meters/power/power_log.h"

namespace mlpwatt {
namespace {

struct Options {
  std::string file, log, node, name = "csv_log", domain = "node";
  PowerLogFormat format;
  double period_s = 0, averaging_s = -1, lag_s = 0, idle_w = -1, accuracy = 0.05;
  bool instant = false, replace = false;
  bool lag_given = false, accuracy_given = false, json = false;
};

std::string short_name(const std::string& host) { return host.substr(0, host.find('.')); }

/// One node's log, and the channel its lines are.
struct NodeLog : PowerLog {
  Channel channel;
  bool covers(double begin_s, double end_s) const {
    return !lines.empty() && lines.front().wall_s <= end_s + channel.update_period_s &&
           lines.back().wall_s >= begin_s;
  }
  /// Why its lines about that time (of the wall clock) may be another time's; "" = they are not.
  std::string doubt(double begin_s, double end_s) const {
    const double from_s = begin_s + channel.lag_s, to_s = end_s + channel.lag_s + channel.update_period_s;
    for (const DoubtfulTime& each : doubtful)
      if (each.begin_s <= to_s && each.end_s >= from_s) return each.reason;
    return "";
  }
};

NodeLog read_node(const Options& options, const std::string& node) {
  PowerLogFormat format = options.format;
  format.node = node;
  NodeLog log{read_power_log(options.log, format), {}};
  Channel& channel = log.channel;
  channel.domain = options.domain;
  channel.parent = options.domain == "node" ? "" : "node";
  channel.update_period_s = options.period_s > 0 ? options.period_s : log.period_s;
  if (!(channel.update_period_s > 0))
    throw UsageError(fmt::format("{}: one line says nothing about how often {} is read; give --period-s",
                                 options.log, node));
  channel.update_period_known = Known::kDeclared;  // by the log's own stamps
  channel.kind = options.instant ? ReadingKind::kInstantPower : ReadingKind::kAveragePower;
  channel.averaging_s = options.averaging_s >= 0 ? options.averaging_s
                        : options.instant        ? 0
                                                 : channel.update_period_s;
  channel.lag_s = options.lag_s;
  channel.lag_known = options.lag_given ? Known::kDeclared : Known::kAssumed;
  channel.accuracy_relative = options.accuracy;
  channel.accuracy_source = options.accuracy_given ? "--accuracy" : "assumed";
  channel.stamped_by_device = true;
  return log;
}

/// Times of a run: its window and the idle times around it, by the wall clock and by its own monotonic one.
struct RunTimes {
  double wall_offset_s = 0;
  Interval window, busy;  ///< busy: with the warm-up
  std::vector<Interval> idle;
};

RunTimes times_of(const Row& run) {
  RunTimes times;
  times.wall_offset_s =
      1e-9 * static_cast<double>(run.integer("start_realtime_ns") - run.integer("start_monotonic_ns"));
  times.window = window_of(run);
  const double warm_s = std::isnan(run.real("warm_up_s")) ? 0 : run.real("warm_up_s");
  times.busy = {times.window.begin_s - warm_s, times.window.end_s};
  if (const double idle_s = run.real("idle_s"); idle_s > 0)
    times.idle = {{times.busy.begin_s - idle_s, times.busy.begin_s},
                  {times.window.end_s, times.window.end_s + idle_s}};
  return times;
}

Series series_of(const Options& options, const NodeLog& log, const RunTimes& times) {
  Series series{options.name, log.channel, log.channel.update_period_s, {}, {}};
  const double margin_s = kLogMarginPeriods * log.channel.update_period_s + log.channel.lag_s;
  double from_s = times.window.begin_s - margin_s, to_s = times.window.end_s + margin_s;
  for (const Interval& idle : times.idle) {
    from_s = std::min(from_s, idle.begin_s - log.channel.update_period_s);
    to_s = std::max(to_s, idle.end_s + log.channel.update_period_s + log.channel.lag_s);
  }
  for (const LoggedPower& line : log.lines) {
    Reading reading;
    reading.monotonic_s = line.wall_s - times.wall_offset_s;
    if (reading.monotonic_s < from_s || reading.monotonic_s > to_s) continue;
    reading.value = line.watts;
    // the reader names the live meter of such logs
    reading.reason = line.watts ? "" : options.name + line.reason.substr(line.reason.find(':'));
    reading.device_stamp = std::llround(line.wall_s * 1e6);
    series.readings.push_back(std::move(reading));
  }
  return series;
}

ChannelEnergy energy_of(const Options& options, const NodeLog& log, const Series& series,
                        const RunTimes& times) {
  ChannelEnergy energy{series.meter, series.channel, integrate(series, times.window), {}, {}};
  const auto doubt = [&](const Interval& time) {
    return log.doubt(time.begin_s + times.wall_offset_s, time.end_s + times.wall_offset_s);
  };
  if (const std::string why = doubt(times.window); !why.empty()) {
    energy.gross.flags |= kClockJump;
    // before whatever else may be wrong with lines that may not be the run's
    energy.gross.reason = fmt::format("{}: {}: {}", series.meter, series.channel.domain, why);
  }
  std::vector<Energy> idle_times;
  unsigned idle_flags = 0;
  for (const Interval& idle : times.idle) {
    const Interval settled{idle.begin_s + series.channel.averaging_s, idle.end_s};
    if (settled.length_s() > 0) idle_times.push_back(integrate(series, settled));
    if (!doubt(idle).empty()) idle_flags |= kClockJump;
    flag_stand(energy.gross, series, idle, times.window);
  }
  energy.idle = idle_power(idle_times);
  energy.idle.flags |= idle_flags;
  if (options.idle_w >= 0) energy.idle = {options.idle_w, 0, 0};
  energy.net = without_idle(energy.gross, energy.idle, series.channel);
  return energy;
}

/// Everything a file holds, with the log's rows added run by run.
class Attachment {
 public:
  Attachment(const Options& options, const Contents& contents)
      : options_(options),
        runs_(contents.rows(runs_table())),
        meters_(contents.rows(meters_table())),
        energies_(contents.rows(energies_table())),
        samples_(contents.rows(samples_table())) {}

  void attach_all() {
    const std::vector<std::string> nodes = nodes_of_power_log(options_.log);
    if (nodes.empty()) throw UsageError(options_.log + ": no line timestamp,node,watts");
    std::set<std::string> hosts;
    for (std::size_t run = 0; run < runs_.size(); ++run) {
      const Row& row = runs_[run];
      if (row.text("status") != "ok" || std::isnan(row.real("duration_s"))) continue;
      hosts.insert(row.text("host"));
      const std::string node = node_of(row.text("host"), nodes);
      if (node.empty()) {
        ++elsewhere;
        continue;
      }
      if (!logs_.contains(node)) logs_.emplace(node, read_node(options_, node));
      attach(static_cast<std::int64_t>(run), logs_.at(node));
    }
    if (attached + already > 0) return;
    if (elsewhere > 0 && outside == 0)
      throw UsageError(fmt::format("{} is of node(s) {}, the runs of {} are of {}: name the node with --node",
                                   options_.log, fmt::join(nodes, ", "), options_.file,
                                   fmt::join(hosts, ", ")));
    if (outside > 0) throw UsageError(no_overlap());
    throw UsageError(options_.file + ": no run that ended well");
  }

  void write(RecordFile& file) const {
    file.replace({{&runs_table(), runs_},
                  {&meters_table(), meters_},
                  {&energies_table(), energies_},
                  {&samples_table(), samples_}});
  }

  /// One line for the person, where the log's stamps seem to be another zone's; else "".
  std::string warning() const {
    const std::optional<int> hours = hours_off(loads_);
    if (!hours) return "";
    return fmt::format(
        "{} does not show the run(s) where they were, but all of them {} h {}: are its stamps local times "
        "(--timezone America/Denver) or its clock off (--offset {:.0f})? --replace attaches it again\n",
        options_.log, std::abs(*hours), *hours < 0 ? "earlier" : "later",
        options_.format.offset_s - 3600.0 * *hours);
  }

  int attached = 0, already = 0, outside = 0, elsewhere = 0, flagged = 0;
  std::string first_flag;

 private:
  std::string node_of(const std::string& host, const std::vector<std::string>& nodes) const {
    if (!options_.node.empty())
      return std::find(nodes.begin(), nodes.end(), options_.node) != nodes.end() ? options_.node : "";
    for (const std::string& node : nodes)
      if (node == host || short_name(node) == short_name(host)) return node;
    return "";
  }

  std::string no_overlap() const {
    double begin_s = 1e300, end_s = -1e300;
    for (const auto& [node, log] : logs_)
      if (!log.lines.empty())
        begin_s = std::min(begin_s, log.lines.front().wall_s),
        end_s = std::max(end_s, log.lines.back().wall_s);
    double run_s = 1e300;
    for (const Row& row : runs_)
      if (row.text("status") == "ok")
        run_s = std::min(run_s, 1e-9 * static_cast<double>(row.integer("start_realtime_ns")));
    return fmt::format(
        "{}: no run lies within the log: it begins {:+.2f} h and ends {:+.2f} h after the first run's start; "
        "are its stamps local times (--timezone America/Denver) or its clock off (--offset SECONDS)?",
        options_.log, (begin_s - run_s) / 3600, (end_s - run_s) / 3600);
  }

  bool is_ours(const Row& meter) const {
    return meter.text("name") == options_.name && meter.text("domain") == options_.domain;
  }

  void attach(std::int64_t run, const NodeLog& log) {
    Row& row = runs_[static_cast<std::size_t>(run)];
    const auto belongs = [&](const Row& each) {
      return each.integer("run_row") == run &&
             is_ours(meters_[static_cast<std::size_t>(each.integer("meter_row"))]);
    };
    if (std::any_of(energies_.begin(), energies_.end(), belongs)) {
      if (!options_.replace) {
        ++already;
        return;
      }
      std::erase_if(energies_, belongs);
      std::erase_if(samples_, belongs);
    }
    const RunTimes times = times_of(row);
    if (!log.covers(times.window.begin_s + times.wall_offset_s, times.window.end_s + times.wall_offset_s)) {
      ++outside;
      return;
    }
    const Series series = series_of(options_, log, times);
    const ChannelEnergy energy = energy_of(options_, log, series, times);
    std::vector<Channel> all{log.channel};
    for (const ChannelEnergy& each : channels_of(run)) all.push_back(each.channel);
    const std::int64_t meter = place_of(
        meter_row(options_.name, log.channel, included_domains(all, log.channel.domain), row.text("host")));
    energies_.push_back(energy_row(energy, meter, false));
    energies_.back().set("run_row", run);
    std::vector<Row> samples;
    append_samples(samples, energies_.back(), series, meter);
    for (Row& sample : samples) {
      sample.set("run_row", run);
      samples_.push_back(std::move(sample));
    }
    add_up(run);
    ++attached;
    loads_.push_back({&log.lines, log.channel.update_period_s, log.channel.lag_s,
                      times.busy.begin_s + times.wall_offset_s, times.busy.end_s + times.wall_offset_s});
    if (energy.gross.flags == 0) return;
    ++flagged;
    if (first_flag.empty())
      first_flag = fmt::format("{}: {}{}", row.text("name"), flags_text(energy.gross.flags),
                               energy.gross.reason.empty() ? "" : " (" + energy.gross.reason + ")");
  }

  std::int64_t place_of(const Row& meter) {
    const auto known = std::find_if(meters_.begin(), meters_.end(),
                                    [&](const Row& each) { return each.same_values(meter); });
    if (known != meters_.end()) return known - meters_.begin();
    meters_.push_back(meter);
    return static_cast<std::int64_t>(meters_.size()) - 1;
  }

  /// @param places gets the row of /energies of each
  std::vector<ChannelEnergy> channels_of(std::int64_t run, std::vector<std::size_t>* places = nullptr) const {
    std::vector<ChannelEnergy> channels;
    for (std::size_t i = 0; i < energies_.size(); ++i) {
      if (energies_[i].integer("run_row") != run || energies_[i].text("domain") == "rest") continue;
      channels.push_back(channel_energy_of(
          energies_[i], meters_[static_cast<std::size_t>(energies_[i].integer("meter_row"))],
          runs_[static_cast<std::size_t>(run)].real("duration_s")));
      if (places != nullptr) places->push_back(i);
    }
    return channels;
  }

  /// All channels of a run together, once more.
  void add_up(std::int64_t run) {
    Row& row = runs_[static_cast<std::size_t>(run)];
    std::erase_if(energies_, [&](const Row& each) {
      return each.integer("run_row") == run && each.text("domain") == "rest";
    });
    std::vector<std::size_t> places;
    const std::vector<ChannelEnergy> channels = channels_of(run, &places);
    const std::optional<ChannelEnergy> rest = rest_of_node(channels);
    const std::vector<std::size_t> parts = set_totals(row, channels, rest);
    std::int64_t summed_meter = 0;
    for (std::size_t i = 0; i < places.size(); ++i) {
      const bool summed = std::find(parts.begin(), parts.end(), i) != parts.end();
      energies_[places[i]].set("summed", summed ? 1 : 0);
      if (summed) summed_meter = energies_[places[i]].integer("meter_row");
    }
    if (!rest) return;
    energies_.push_back(energy_row(*rest, summed_meter, false));
    energies_.back().set("run_row", run);
  }

  const Options& options_;
  std::vector<Row> runs_, meters_, energies_, samples_;
  std::map<std::string, NodeLog> logs_;
  std::vector<LoggedLoad> loads_;  ///< what was attached
};

int attach_power(const Options& options, Context& context) {
  if (!std::filesystem::exists(options.file)) throw UsageError("no results file " + options.file);
  RecordFile file(options.file);
  Attachment attachment(options, file.contents());
  attachment.attach_all();
  if (attachment.attached > 0) attachment.write(file);
  context.err << attachment.warning();
  if (options.json) {
    context.out << nlohmann::ordered_json{{"file", options.file},
                                          {"log", options.log},
                                          {"domain", options.domain},
                                          {"attached", attachment.attached},
                                          {"already", attachment.already},
                                          {"outside", attachment.outside},
                                          {"elsewhere", attachment.elsewhere},
                                          {"flagged", attachment.flagged},
                                          {"first_flag", attachment.first_flag}}
                       .dump(2)
                << '\n';
    return kExitOk;
  }
  context.out << fmt::format("{}: {} of {} attached to {} run(s)", options.file, options.domain, options.log,
                             attachment.attached);
  const auto also = [&](int count, const char* what) {
    if (count > 0) context.out << fmt::format("; {} {}", count, what);
  };
  also(attachment.already, "had it already (--replace does it again)");
  also(attachment.outside, "lie outside the log");
  also(attachment.elsewhere, "are of hosts that are not in the log");
  context.out << '\n';
  if (attachment.flagged > 0)
    context.err << fmt::format("{} run(s) flagged, the first: {}\n", attachment.flagged,
                               attachment.first_flag);
  return kExitOk;
}

const CommandRegistration registration{
    "attach-power", "attaches an external power log (timestamp,node,watts) to a finished results file",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("file", options->file, "results file; replaced in one step")->required();
      app.add_option("log", options->log, "CSV of timestamp,node,watts")->required();
      app.add_option("--timezone", options->format.timezone,
                     "the stamps are local times of this zone, whatever they say: America/Denver, +01:00");
      app.add_option("--offset", options->format.offset_s, "seconds to add to every stamp");
      app.add_option("--node", options->node, "the runs' name in the log (default: their host)");
      app.add_option("--name", options->name, "of the meter in the file")->capture_default_str();
      app.add_option("--domain", options->domain, "what the watts cover")->capture_default_str();
      real_number(app.add_option("--period-s", options->period_s,
                                 "update period of the meter (default: as the stamps are apart)"),
                  0, 86400);
      real_number(app.add_option("--averaging-s", options->averaging_s,
                                 "time a reading looks back on (default: the period)"),
                  0, 86400);
      CLI::Option* lag =
          real_number(app.add_option("--lag-s", options->lag_s, "how late a stamp is")->capture_default_str(),
                      -86400, 86400);
      CLI::Option* accuracy = real_number(
          app.add_option("--accuracy", options->accuracy, "limit of error, relative")->capture_default_str(),
          0, 1);
      app.add_flag("--instant", options->instant, "readings are of the moment, not averages");
      app.add_flag("--zero-is-reading", options->format.zero_is_reading, "0 W is a reading, not a gap");
      real_number(app.add_option("--idle-w", options->idle_w,
                                 "idle power (default: of the run's idle times, run --idle-s)"),
                  0, 1e6);
      app.add_flag("--replace", options->replace, "attach again where it is attached already");
      app.add_flag("--json", options->json, "one JSON object");
      app.footer(
          "The study's log, one local reading a minute with a wrong Z:\n"
          "  mlpwatt attach-power runs.h5 power.csv --timezone America/Denver");
      return [options, lag, accuracy](Context& context) {
        options->lag_given = lag->count() > 0;
        options->accuracy_given = accuracy->count() > 0;
        return attach_power(*options, context);
      };
    }};

}  // namespace
}  // namespace mlpwatt
