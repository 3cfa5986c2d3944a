#include "harness/run/progress.h"

#include <fmt/format.h>

#include <cmath>
#include <ostream>

namespace mlpwatt {
namespace {

std::string minutes(double seconds) {
  const long whole = std::lround(seconds);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

void Progress::begin(const std::string& name, double now_s) {
  if (start_s_ < 0) start_s_ = now_s;
  name_ = name;
  if (!terminal_) return;
  const double elapsed = now_s - start_s_;
  const std::string left = done_ == 0
                               ? ""
                               : fmt::format(", {} left", minutes(elapsed / static_cast<double>(done_) *
                                                                  static_cast<double>(total_ - done_)));
  out_ << fmt::format("\r\033[K[{}/{}{}] {}", done_ + 1, total_, left, name) << std::flush;
}

void Progress::end(const std::string& outcome, double now_s) {
  ++done_;
  if (terminal_) return;
  const double left = (now_s - start_s_) / static_cast<double>(done_) * static_cast<double>(total_ - done_);
  out_ << fmt::format("[{:>{}}/{}] {}  {}  ({} left)\n", done_, std::to_string(total_).size(), total_, name_,
                      outcome, minutes(left))
       << std::flush;
}

void Progress::clear() {
  if (terminal_) out_ << "\r\033[K" << std::flush;
}

}  // namespace mlpwatt
