#include "harness/campaign/status_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ostream>

#include "harness/campaign/budget.h"
#include "harness/campaign/store.h"
#include "harness/text.h"

namespace mlpwatt {

std::string watts_text(double watts, Provenance provenance) {
  return fmt::format("{:.4g} W{}", watts, provenance == Provenance::kMeasured ? "" : " modelled");
}

std::string power_text(const Row& run) {
  if (const double watts = run.real("power_w_measured"); !std::isnan(watts))
    return watts_text(watts, Provenance::kMeasured);
  if (const double watts = run.real("power_w_modelled"); !std::isnan(watts))
    return watts_text(watts, Provenance::kModelled);
  return "";
}

StatusLine::StatusLine(std::ostream& out, bool terminal, double every_s, const Totals& totals, int columns,
                       std::function<std::string()> watts_now)
    : out_(out),
      terminal_(terminal),
      every_s_(every_s),
      totals_(totals),
      columns_(static_cast<std::size_t>(std::max(0, columns))),
      watts_now_(std::move(watts_now)) {}

std::string StatusLine::text(double now_s) const {
  const double elapsed_s = now_s - start_s_;
  const std::int64_t done = totals_.done_before + done_;
  std::string line = fmt::format("[{}/{}]", done, totals_.runs);
  if (done_ > 0) {
    // Predictions know that long runs are still to come; how much too long or short they are, shows by now.
    const double left_s =
        predicted_done_s_ > 0 && totals_.predicted_s > 0
            ? elapsed_s / predicted_done_s_ * std::max(0.0, totals_.predicted_s - predicted_done_s_)
            : elapsed_s / static_cast<double>(done_) * static_cast<double>(totals_.runs - done);
    line += fmt::format(" {:.3g}/s, {} left", static_cast<double>(done_) / elapsed_s, human_duration(left_s));
  }
  if (const std::string now = watts_now_ ? watts_now_() : ""; !now.empty())
    line += ", " + now + " now";
  else if (!power_.empty())
    line += ", " + power_ + " in the last run";
  if (flagged_ > 0) line += fmt::format(", {} flagged", flagged_);
  if (failed_ > 0) line += fmt::format(", {} failed", failed_);
  return line + "  " + name_;
}

void StatusLine::begin(const std::string& name, double now_s) {
  if (start_s_ < 0) start_s_ = last_line_s_ = now_s;
  name_ = name;
  if (!terminal_) return;
  std::string line = text(now_s);
  if (columns_ > 0) line = line.substr(0, columns_ - 1);
  out_ << "\r\033[K" << line << std::flush;
}

void StatusLine::end(const Record& record, double predicted_s, double now_s) {
  ++done_;
  const bool ok = record.run.text("status") == "ok";
  failed_ += !ok;
  flagged_ += is_flagged(record.run);
  predicted_done_s_ += predicted_s;
  power_ = power_text(record.run);
  if (!ok) {  // trouble is said at once, and stays readable
    clear();
    out_ << fmt::format("{}: {}: {}\n", name_, record.run.text("status"), record.run.text("reason"))
         << std::flush;
  }
  const bool last = totals_.done_before + done_ == totals_.runs;
  if (terminal_ || (now_s - last_line_s_ < every_s_ && !last)) return;
  last_line_s_ = now_s;
  out_ << text(now_s) << (ok ? "  " + human_seconds(record.run.real("step_s")) + "/step" : std::string())
       << '\n'
       << std::flush;
}

void StatusLine::clear() {
  if (terminal_) out_ << "\r\033[K" << std::flush;
}

}  // namespace mlpwatt
