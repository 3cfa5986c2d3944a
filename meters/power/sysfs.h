#pragma once
// What meters made of small text files (sysfs, procfs, pm_counters) share.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "meters/power/meter.h"

namespace mlpwatt {

/// The text of a file, stripped, or why not (errno, 0 when it could be read).
struct FileText {
  std::string text;
  int error = 0;
  bool ok() const { return error == 0; }
  /// "/sys/.../energy_uj: Permission denied"
  std::string reason(const std::string& path) const;
};
FileText read_text(const std::string& path);

/// A file read again and again: kept open, as opening costs several times what reading does. It is opened
/// anew when it has been replaced or its driver is gone.
class KeptFile {
 public:
  explicit KeptFile(std::string path) : path_(std::move(path)) {}
  KeptFile(KeptFile&& other) noexcept
      : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}
  KeptFile& operator=(KeptFile&&) = delete;
  ~KeptFile();
  /// As read_text(path()).
  FileText read();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int descriptor_ = -1;
};

/// A number and nothing else; nullopt for anything else, NaN and infinities included.
std::optional<double> as_number(const std::string& text);
/// The number in a file; nullopt when there is none.
std::optional<double> read_number(const std::string& path);
/// Names in a folder that begin with `prefix`, in the order of the numbers in them; empty when it is not
/// there.
std::vector<std::string> folder_entries(const std::string& path, const std::string& prefix);
/// Whether the file can be read now: 0, or errno.
int readable(const std::string& path);

/// `config[key]` where it is there. Errors: std::invalid_argument "METER: KEY must be ..." for another type.
std::string text_setting(const std::string& meter, const nlohmann::json& config, const std::string& key,
                         const std::string& otherwise);
double number_setting(const std::string& meter, const nlohmann::json& config, const std::string& key,
                      double otherwise);
/// Errors: std::invalid_argument naming the first key that is not in `known`.
void only_known_settings(const std::string& meter, const nlohmann::json& config,
                         const std::vector<std::string>& known);
/// "/sys/class/powercap" under config["root"] (default "/").
std::string rooted(const std::string& meter, const nlohmann::json& config, const std::string& path);
/// Runs `open`; an exception becomes a faulty probe.
MeterProbe guarded(const std::function<MeterProbe()>& open);

/// A channel that is one number in one file.
struct FileChannel {
  Channel channel;
  std::string path;
  double scale = 1;        ///< to W or J
  double no_reading = -1;  ///< raw value by which a driver says that it has none; negative = never
  bool zero_is_reading = true;
};

/// A meter whose every channel is one number in one file.
class FileMeter : public Meter {
 public:
  FileMeter(std::string name, std::vector<FileChannel> files, double poll_period_s, bool slow);
  std::string name() const override { return name_; }
  const std::vector<Channel>& channels() const override { return channels_; }
  std::vector<Reading> read(double timeout_s) override;
  double poll_period_s() const override { return poll_period_s_; }
  bool slow() const override { return slow_; }

 private:
  std::string name_;
  std::vector<FileChannel> files_;
  std::vector<KeptFile> kept_;  ///< of each channel
  std::vector<Channel> channels_;
  double poll_period_s_;
  bool slow_;
};

}  // namespace mlpwatt
