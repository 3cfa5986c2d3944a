#include "meters/power/sysfs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "meters/sampler.h"

namespace mlpwatt {

std::string FileText::reason(const std::string& path) const {
  return fmt::format("{}: {}", path,
                     ok() ? fmt::format("'{}' is no number", text.substr(0, 40)) : strerror(error));
}

namespace {

/// -1 with errno
int open_to_read(const std::string& path) { return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }

/// From the start: sysfs makes a new text for every read there.
FileText text_of(int descriptor) {
  std::array<char, 4096> buffer;
  const ssize_t n = pread(descriptor, buffer.data(), buffer.size(), 0);
  if (n < 0) return {"", errno};
  std::string text(buffer.data(), static_cast<std::size_t>(n));
  const auto is_space = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\0'; };
  while (!text.empty() && is_space(text.back())) text.pop_back();
  const auto first = std::find_if_not(text.begin(), text.end(), is_space);
  return {std::string(first, text.end()), 0};
}

}  // namespace

FileText read_text(const std::string& path) { return KeptFile(path).read(); }

KeptFile::~KeptFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

FileText KeptFile::read() {
  struct stat status;
  if (descriptor_ >= 0) {
    // one that was removed or replaced would show its last text for ever
    if (fstat(descriptor_, &status) == 0 && status.st_nlink > 0)
      if (FileText text = text_of(descriptor_); text.ok()) return text;
    close(descriptor_);
  }
  descriptor_ = open_to_read(path_);
  return descriptor_ < 0 ? FileText{"", errno} : text_of(descriptor_);
}

std::optional<double> as_number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::optional<double> read_number(const std::string& path) {
  const FileText file = read_text(path);
  return file.ok() ? as_number(file.text) : std::nullopt;
}

std::vector<std::string> folder_entries(const std::string& path, const std::string& prefix) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error))
    if (const std::string name = entry->path().filename().string(); name.starts_with(prefix))
      names.push_back(name);
  std::sort(names.begin(), names.end(),
            [](const std::string& a, const std::string& b) { return strverscmp(a.c_str(), b.c_str()) < 0; });
  return names;
}

int readable(const std::string& path) { return read_text(path).error; }

std::string text_setting(const std::string& meter, const nlohmann::json& config, const std::string& key,
                         const std::string& otherwise) {
  if (!config.is_object() || !config.contains(key)) return otherwise;
  if (!config[key].is_string())
    throw std::invalid_argument(
        fmt::format("{}: \"{}\" must be a text, not {}", meter, key, config[key].dump()));
  return config[key].get<std::string>();
}

double number_setting(const std::string& meter, const nlohmann::json& config, const std::string& key,
                      double otherwise) {
  if (!config.is_object() || !config.contains(key)) return otherwise;
  if (!config[key].is_number())
    throw std::invalid_argument(
        fmt::format("{}: \"{}\" must be a number, not {}", meter, key, config[key].dump()));
  return config[key].get<double>();
}

void only_known_settings(const std::string& meter, const nlohmann::json& config,
                         const std::vector<std::string>& known) {
  if (config.is_null()) return;
  if (!config.is_object())
    throw std::invalid_argument(
        fmt::format("{}: its configuration must be an object of {}", meter, fmt::join(known, ", ")));
  for (const auto& [key, value] : config.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      throw std::invalid_argument(
          fmt::format("{}: \"{}\" is not known; known: {}", meter, key, fmt::join(known, ", ")));
}

std::string rooted(const std::string& meter, const nlohmann::json& config, const std::string& path) {
  const std::string root = text_setting(meter, config, "root", "");
  return root == "/" ? path : root + path;
}

MeterProbe guarded(const std::function<MeterProbe()>& open) {
  MeterProbe probe;
  try {
    return open();
  } catch (const std::exception& error) {
    probe.state = MeterProbe::State::kFaulty;
    probe.detail = error.what();
  }
  return probe;
}

FileMeter::FileMeter(std::string name, std::vector<FileChannel> files, double poll_period_s, bool slow)
    : name_(std::move(name)), files_(std::move(files)), poll_period_s_(poll_period_s), slow_(slow) {
  kept_.reserve(files_.size());
  for (const FileChannel& file : files_) {
    channels_.push_back(file.channel);
    kept_.emplace_back(file.path);
  }
}

std::vector<Reading> FileMeter::read(double) {
  std::vector<Reading> readings(files_.size());
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const FileChannel& file = files_[i];
    Reading& reading = readings[i];
    const FileText text = kept_[i].read();
    reading.monotonic_s = monotonic_now_s();
    const std::optional<double> raw = text.ok() ? as_number(text.text) : std::nullopt;
    if (!raw)
      reading.reason = name_ + ": " + text.reason(file.path);
    else if (file.no_reading >= 0 && *raw >= file.no_reading)
      reading.reason = fmt::format("{}: {}: the driver has no reading ({})", name_, file.path, text.text);
    else if (!file.zero_is_reading && *raw == 0)
      reading.reason = fmt::format("{}: {}: 0 W is no reading of a running machine", name_, file.path);
    else
      reading.value = *raw * file.scale;
  }
  return readings;
}

}  // namespace mlpwatt
