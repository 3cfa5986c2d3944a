#ifdef MLPWATT_HAVE_CURL
#include "meters/power/http.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace mlpwatt {
namespace {

using State = MeterProbe::State;
constexpr std::size_t kMostBytes = 8u << 20;

std::string part_of(const std::string& url, CURLUPart part) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  char* text = nullptr;
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return "";
  if (curl_url_get(parsed.get(), part, &text, 0) != CURLUE_OK) return "";
  std::string result = text;
  curl_free(text);
  return result;
}

struct Sink {
  std::string body;
  bool too_long = false;
};

std::size_t take(char* data, std::size_t size, std::size_t count, void* into) {
  Sink& sink = *static_cast<Sink*>(into);
  sink.too_long = sink.body.size() + size * count > kMostBytes;
  if (sink.too_long) return 0;
  sink.body.append(data, size * count);
  return size * count;
}

}  // namespace

std::string public_url(const std::string& url) {
  std::string port = part_of(url, CURLUPART_PORT);
  return part_of(url, CURLUPART_SCHEME) + "://" + part_of(url, CURLUPART_HOST) +
         (port.empty() ? "" : ":" + port) + part_of(url, CURLUPART_PATH);
}

struct HttpClient::Handle {
  CURL* curl = nullptr;
  curl_slist* headers = nullptr;
  bool has_secrets = false;
  std::string secrets_from;
  ~Handle() {
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
  }
};

HttpClient::HttpClient(Settings& settings, const std::string& base_url)
    : handle_(std::make_unique<Handle>()) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  handle_->curl = curl_easy_init();
  if (ready != CURLE_OK || handle_->curl == nullptr)
    throw OpenError(State::kFaulty, "libcurl does not start");
  CURL* curl = handle_->curl;
  const std::string scheme = part_of(base_url, CURLUPART_SCHEME);
  host_ = part_of(base_url, CURLUPART_HOST);
  if (host_.empty() || (scheme != "http" && scheme != "https"))
    throw OpenError(State::kFaulty, fmt::format("{}: \"{}\" is no http:// or https:// address",
                                                settings.meter(), public_url(base_url)));
  if (const std::string port = part_of(base_url, CURLUPART_PORT); !port.empty()) host_ += ":" + port;
  if (!part_of(base_url, CURLUPART_USER).empty() || !part_of(base_url, CURLUPART_PASSWORD).empty())
    throw OpenError(
        State::kFaulty,
        fmt::format("{}: the address of {} has a user or password in it, and the configuration is "
                    "not secret",
                    settings.meter(), host_),
        R"(put {"user": ..., "password": ...} into a file of mode 0600, "credentials_file")");

  const bool insecure = settings.flag("insecure", false);
  const std::string ca_file = settings.text("ca_file");
  const std::string auth = settings.text("auth", "basic");
  if (auth != "basic" && auth != "digest") settings.refuse("auth", "basic or digest");
  const Credentials credentials(settings);
  const std::string user = credentials.get("user"), password = credentials.get("password");
  const std::string token = credentials.get("token"), header = credentials.get("header");
  handle_->has_secrets = !user.empty() || !token.empty() || !header.empty();
  handle_->secrets_from =
      "\"credentials_file\" with user and password, mode 0600, or the environment variables " +
      credentials.variable("user") + " and " + credentials.variable("password");
  if (handle_->has_secrets && scheme == "http" && auth != "digest" && !insecure)
    throw OpenError(
        State::kFaulty,
        fmt::format("{}: http://{} would carry the password in the clear", settings.meter(), host_),
        R"(use https://, or "auth": "digest", or accept it with "insecure": true)");
  if (!ca_file.empty() && access(ca_file.c_str(), R_OK) != 0)
    throw OpenError(State::kFaulty, fmt::format("{}: ca_file {} cannot be read", settings.meter(), ca_file));

  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, scheme == "https" ? "https" : "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 3L);
  // our own header lines would go along to another host
  if (!token.empty() || !header.empty()) curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, insecure ? 0L : 1L);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, insecure ? 0L : 2L);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(curl, CURLOPT_PROXY, "");  // BMCs and plugs are near: http_proxy is not meant for them
  if (!ca_file.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file.c_str());
  if (!user.empty()) {
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, auth == "digest" ? CURLAUTH_DIGEST : CURLAUTH_BASIC);
    curl_easy_setopt(curl, CURLOPT_USERNAME, user.c_str());
    curl_easy_setopt(curl, CURLOPT_PASSWORD, password.c_str());
  }
  handle_->headers = curl_slist_append(handle_->headers, "Accept: application/json");
  if (!token.empty())
    handle_->headers = curl_slist_append(handle_->headers, ("X-Auth-Token: " + token).c_str());
  if (!header.empty()) handle_->headers = curl_slist_append(handle_->headers, header.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, handle_->headers);
}

HttpClient::~HttpClient() = default;

std::string HttpClient::get(const std::string& url, double timeout_s, long& status) {
  CURL* curl = handle_->curl;
  const long timeout_ms = std::max(1L, std::lround(timeout_s * 1000));
  Sink sink;
  char message[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, timeout_ms);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &sink);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
  const CURLcode code = curl_easy_perform(curl);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);
  if (sink.too_long) throw std::runtime_error(public_url(url) + " sends more than 8 MiB");
  if (code != CURLE_OK) {
    const std::string text =
        fmt::format("{}: {}", public_url(url), *message != 0 ? message : curl_easy_strerror(code));
    if (code == CURLE_PEER_FAILED_VERIFICATION)
      throw DeviceRefusal(
          text, State::kFaulty,
          "give the server's certificate or its authority's as \"ca_file\", or \"insecure\": true");
    throw std::runtime_error(text);
  }
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  return std::move(sink.body);
}

std::optional<nlohmann::json> HttpClient::json_if_there(const std::string& url, double timeout_s) {
  long status = 0;
  const std::string body = get(url, timeout_s, status);
  if (status == 404 || status == 405 || status == 410 || status == 501) return std::nullopt;
  const std::string what = fmt::format("{}: HTTP {}", public_url(url), status);
  if (status == 401 || status == 403)
    throw DeviceRefusal(
        what + (handle_->has_secrets ? ": the credentials are refused" : ": it asks for credentials"),
        State::kNotPermitted, handle_->has_secrets ? "" : "give " + handle_->secrets_from);
  // 429 Too Many Requests passes
  if (status >= 300 && status < 500 && status != 429) throw DeviceRefusal(what);
  if (status != 200) throw std::runtime_error(what);
  nlohmann::json parsed = nlohmann::json::parse(body, nullptr, false);
  if (parsed.is_discarded())
    throw std::runtime_error(fmt::format("{}: {} bytes that are no JSON", public_url(url), body.size()));
  return parsed;
}

nlohmann::json HttpClient::json(const std::string& url, double timeout_s) {
  std::optional<nlohmann::json> answer = json_if_there(url, timeout_s);
  if (!answer) throw DeviceRefusal(public_url(url) + ": no such page (HTTP 404)");
  return std::move(*answer);
}

}  // namespace mlpwatt
#endif
