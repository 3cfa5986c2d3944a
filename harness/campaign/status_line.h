#pragma once
// How far a campaign is: one redrawn line on a terminal; elsewhere a line now and then.

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>

#include "harness/record/record_file.h"
#include "meters/provenance.h"

namespace mlpwatt {

/// "231 W" or "38.2 W modelled".
std::string watts_text(double watts, Provenance provenance);
/// Mean power of the window, "231 W" or "38.2 W modelled"; "" where no meter looked on.
std::string power_text(const Row& run);

class StatusLine {
 public:
  struct Totals {
    std::int64_t runs = 0;         ///< of the shard
    std::int64_t done_before = 0;  ///< by earlier sittings
    double predicted_s = 0;        ///< of what is left to do; NaN = not known
  };
  /// @param every_s least time between lines off a terminal; 0 = a line a run
  /// @param columns of the terminal: a longer line would wrap, and could not be redrawn; 0 = not known
  /// @param watts_now asked whenever a line is written; where it has no answer (""), or is none, the line
  /// gives the power of the last run instead and says so
  StatusLine(std::ostream& out, bool terminal, double every_s, const Totals& totals, int columns = 0,
             std::function<std::string()> watts_now = {});

  void begin(const std::string& name, double now_s);
  /// @param predicted_s of the run that ended
  void end(const Record& record, double predicted_s, double now_s);
  void clear();
  std::int64_t flagged() const { return flagged_; }
  std::int64_t failed() const { return failed_; }

 private:
  std::string text(double now_s) const;
  std::ostream& out_;
  bool terminal_;
  double every_s_;
  Totals totals_;
  std::size_t columns_;
  std::int64_t done_ = 0, flagged_ = 0, failed_ = 0;
  double start_s_ = -1, last_line_s_ = -1, predicted_done_s_ = 0;
  std::function<std::string()> watts_now_;
  std::string power_, name_;
};

}  // namespace mlpwatt
