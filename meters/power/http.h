#pragma once
// GET over HTTP(S) for meters, through libcurl. Certificates are verified unless the configuration says
// otherwise, and secrets are sent over TLS only.

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "meters/power/bounded_meter.h"
#include "meters/power/settings.h"

namespace mlpwatt {

class HttpClient {
 public:
  /// @param base_url its host is the only one that ever gets the secrets. Reads "insecure", "ca_file", "auth"
  /// (basic or digest) and the credentials user and password, token (sent as X-Auth-Token), or header (a
  /// whole line). Errors: OpenError.
  HttpClient(Settings& settings, const std::string& base_url);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// The JSON at `url`. Errors: std::runtime_error for what may pass (HTTP 5xx, broken transfers, no JSON),
  /// DeviceRefusal for what will not (HTTP 4xx, a certificate that cannot be verified).
  nlohmann::json json(const std::string& url, double timeout_s);
  /// The same, nullopt where there is no such page (404, 405, 410, 501).
  std::optional<nlohmann::json> json_if_there(const std::string& url, double timeout_s);

  /// host or host:port, for names.
  const std::string& host() const { return host_; }

 private:
  struct Handle;
  std::string get(const std::string& url, double timeout_s, long& status);
  std::unique_ptr<Handle> handle_;
  std::string host_;
};

/// `url` without what may be secret in it: user, password, query.
std::string public_url(const std::string& url);

}  // namespace mlpwatt
