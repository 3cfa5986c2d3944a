// Power strips (PDUs) and anything else that tells watts or joules by SNMP. Which objects, in which unit, is
// the user's to say; several objects make a sum (a node with two feeds, a strip without totals).
#include "meters/power/settings.h"

#ifdef MLPWATT_HAVE_NETSNMP
#include <fmt/format.h>
#include <net-snmp/net-snmp-config.h>

#include <net-snmp/net-snmp-includes.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <map>
#include <shared_mutex>

#include "meters/power/bounded_meter.h"
#endif

namespace mlpwatt {
namespace {

constexpr const char* kExample =
    R"({"host": "pdu7", "credentials_file": "FILE", "channels": [{"oid": "1.3.6.1.4.1.318.1.1.26.4.3.1.5.1", )"
    R"("unit": "W", "scale": 10}]})";

#ifdef MLPWATT_HAVE_NETSNMP

using State = MeterProbe::State;
using Clock = std::chrono::steady_clock;
using Oid = std::vector<oid>;

/// Opening a session changes tables of the library that all sessions use.
std::shared_timed_mutex library_tables;

void start_library() {
  static const bool started = [] {
    // Neither this user's nor the system's SNMP settings are ours, and we leave none behind.
    netsnmp_ds_set_boolean(NETSNMP_DS_LIBRARY_ID, NETSNMP_DS_LIB_DONT_READ_CONFIGS, 1);
    netsnmp_ds_set_boolean(NETSNMP_DS_LIBRARY_ID, NETSNMP_DS_LIB_DONT_PERSIST_STATE, 1);
    netsnmp_ds_set_string(NETSNMP_DS_LIBRARY_ID, NETSNMP_DS_LIB_PERSISTENT_DIR, "/dev/null");
    netsnmp_set_mib_directory("");
    // Without any handler it would write to stderr; objects are given by number, so no MIB is missed.
    snmp_disable_log();
    netsnmp_register_loghandler(NETSNMP_LOGHANDLER_NONE, LOG_DEBUG);
    init_snmp("mlpwatt");
    return true;
  }();
  (void)started;
}

Oid parse_oid(Settings& settings, const nlohmann::json& value) {
  Oid numbers;
  const std::string text = value.is_string() ? value.get<std::string>() : "";
  const char* at = text.c_str() + (text.rfind('.', 0) == 0 ? 1 : 0);
  while (*at >= '0' && *at <= '9') {
    char* end = nullptr;
    numbers.push_back(std::strtoul(at, &end, 10));
    at = end;
    if (*at == '.' && at[1] != 0) ++at;
  }
  if (*at != 0 || numbers.size() < 3 || numbers.size() > MAX_OID_LEN)
    settings.refuse("oid", "numbers and dots, such as \"1.3.6.1.4.1.318.1.1.26.4.3.1.5.1\"");
  return numbers;
}

std::string text_of(const Oid& numbers) {
  std::string text;
  for (const oid each : numbers) text += (text.empty() ? "" : ".") + std::to_string(each);
  return text;
}

struct ObjectChannel {
  Channel channel;
  std::vector<Oid> terms;  ///< summed
  double factor = 1;
  double no_reading = -1;  ///< the count by which the device says that it has none
  bool zero_is_valid = false;
};

ObjectChannel object_channel(Settings& settings) {
  ObjectChannel result;
  result.channel.domain = "node";
  result.channel.place = "AC inlet";
  result.factor = read_unit(settings, result.channel);
  for (const nlohmann::json& value : settings.list("oid")) result.terms.push_back(parse_oid(settings, value));
  if (result.terms.empty()) settings.refuse("oid", "the object's number, or a list of those to add up");
  result.channel.resolution = std::fabs(result.factor);
  declare_channel(settings, result.channel);
  result.no_reading = settings.number("no_reading", -1);
  result.zero_is_valid = settings.flag("zero_is_valid", false);
  return result;
}

/// @param problem why it is none
std::optional<double> number_of(const variable_list& variable, std::string& problem) {
  switch (variable.type) {
    case ASN_INTEGER:
      return static_cast<double>(*variable.val.integer);
    case ASN_GAUGE:
    case ASN_COUNTER:
    case ASN_TIMETICKS:
    case ASN_UINTEGER:
      return static_cast<double>(static_cast<std::uint32_t>(*variable.val.integer));
    case ASN_COUNTER64:
    case ASN_OPAQUE_COUNTER64:
    case ASN_OPAQUE_U64:
      return 4294967296.0 * static_cast<double>(variable.val.counter64->high) +
             static_cast<double>(variable.val.counter64->low);
    case ASN_OPAQUE_FLOAT:
      return static_cast<double>(*variable.val.floatVal);
    case ASN_OPAQUE_DOUBLE:
      return *variable.val.doubleVal;
    case ASN_OCTET_STR: {
      const std::string text(reinterpret_cast<const char*>(variable.val.string), variable.val_len);
      const std::optional<double> number = parse_number(text);
      if (!number) problem = fmt::format("is \"{}\", no number", text.substr(0, 40));
      return number;
    }
    case SNMP_NOSUCHOBJECT:
    case SNMP_NOSUCHINSTANCE:
    case SNMP_ENDOFMIBVIEW:
      problem = "is not there";
      return std::nullopt;
    default:
      problem = fmt::format("has the type {:#x}, no number", variable.type);
      return std::nullopt;
  }
}

struct Peer {
  std::string address;  ///< "udp:host:port"
  bool v3 = false;
  std::string community, user, auth_password, privacy_password;
  std::string auth = "SHA", privacy = "AES";
};

class SnmpDevice final : public Device {
 public:
  SnmpDevice(Peer peer, std::vector<ObjectChannel> channels)
      : peer_(std::move(peer)), channels_(std::move(channels)) {
    start_library();
  }
  ~SnmpDevice() override { close(); }

  std::vector<Channel> channels() const {
    std::vector<Channel> result;
    for (const ObjectChannel& each : channels_) result.push_back(each.channel);
    return result;
  }

  std::vector<Reading> read(double timeout_s) override {
    const Clock::time_point end =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(timeout_s));
    if (session_ == nullptr) open(end);
    const std::shared_lock lock(library_tables, end);
    if (!lock) throw std::runtime_error("another device's session is still being opened");
    std::vector<Reading> readings;
    for (const ObjectChannel& each : channels_) readings.push_back(read_one(each, end));
    return readings;
  }

 private:
  static long left_us(Clock::time_point end) {
    return std::max(1000L,
                    static_cast<long>(std::chrono::duration<double>(end - Clock::now()).count() * 1e6));
  }

  /// UDP loses: three tries share what time is left.
  static void set_patience(netsnmp_session& session, Clock::time_point end) {
    session.retries = 2;
    session.timeout = left_us(end) / 3;
  }

  void close() {
    if (session_ != nullptr) snmp_sess_close(session_);
    session_ = nullptr;
  }

  void open(Clock::time_point end) {
    const std::unique_lock lock(library_tables, end);
    if (!lock) throw std::runtime_error("another device's session is still being opened");
    netsnmp_session session;
    snmp_sess_init(&session);
    session.peername = peer_.address.data();
    set_patience(session, end);
    if (peer_.v3) {
      session.version = SNMP_VERSION_3;
      session.securityName = peer_.user.data();
      session.securityNameLen = peer_.user.size();
      session.securityLevel =
          peer_.privacy_password.empty()
              ? peer_.auth_password.empty() ? SNMP_SEC_LEVEL_NOAUTH : SNMP_SEC_LEVEL_AUTHNOPRIV
              : SNMP_SEC_LEVEL_AUTHPRIV;
      if (!peer_.auth_password.empty()) set_keys(session);
    } else {
      session.version = SNMP_VERSION_2c;
      session.community = reinterpret_cast<u_char*>(peer_.community.data());
      session.community_len = peer_.community.size();
    }
    session_ = snmp_sess_open(&session);
    if (session_ != nullptr) return;
    int system_error = 0, error = 0;
    char* text = nullptr;
    snmp_error(&session, &system_error, &error, &text);
    const std::string problem =
        fmt::format("{}: {}", peer_.address, text != nullptr ? text : "cannot be opened");
    free(text);
    throw std::runtime_error(problem);
  }

  void set_keys(netsnmp_session& session) const {
    static const std::map<std::string, std::pair<const oid*, std::size_t>> kAuth = {
        {"MD5", {usmHMACMD5AuthProtocol, OID_LENGTH(usmHMACMD5AuthProtocol)}},
        {"SHA", {usmHMACSHA1AuthProtocol, OID_LENGTH(usmHMACSHA1AuthProtocol)}},
        {"SHA-256", {usmHMAC192SHA256AuthProtocol, OID_LENGTH(usmHMAC192SHA256AuthProtocol)}},
        {"SHA-512", {usmHMAC384SHA512AuthProtocol, OID_LENGTH(usmHMAC384SHA512AuthProtocol)}}};
    const auto [auth, auth_length] = kAuth.at(peer_.auth);
    session.securityAuthProto = const_cast<oid*>(auth);  // snmp_sess_open copies what it is given
    session.securityAuthProtoLen = auth_length;
    session.securityAuthKeyLen = sizeof session.securityAuthKey;
    make_key(auth, auth_length, peer_.auth_password, session.securityAuthKey, session.securityAuthKeyLen);
    if (peer_.privacy_password.empty()) return;
    const bool aes = peer_.privacy == "AES";
    const oid* privacy = aes ? usmAESPrivProtocol : usmDESPrivProtocol;
    const std::size_t privacy_length = aes ? OID_LENGTH(usmAESPrivProtocol) : OID_LENGTH(usmDESPrivProtocol);
    session.securityPrivProto = const_cast<oid*>(privacy);
    session.securityPrivProtoLen = privacy_length;
    session.securityPrivKeyLen = sizeof session.securityPrivKey;
    make_key(auth, auth_length, peer_.privacy_password, session.securityPrivKey, session.securityPrivKeyLen);
  }

  static void make_key(const oid* auth, std::size_t auth_length, const std::string& password, u_char* key,
                       std::size_t& length) {
    if (generate_Ku(auth, static_cast<u_int>(auth_length), reinterpret_cast<const u_char*>(password.data()),
                    password.size(), key, &length) != SNMPERR_SUCCESS)
      throw DeviceRefusal("no SNMPv3 key can be made: passwords have at least 8 characters");
  }

  Reading read_one(const ObjectChannel& which, Clock::time_point end) {
    netsnmp_pdu* request = snmp_pdu_create(SNMP_MSG_GET);
    for (const Oid& each : which.terms) snmp_add_null_var(request, each.data(), each.size());
    set_patience(*snmp_sess_session(session_), end);
    netsnmp_pdu* got = nullptr;
    const int status = snmp_sess_synch_response(session_, request, &got);
    const std::unique_ptr<netsnmp_pdu, void (*)(netsnmp_pdu*)> reply(got, snmp_free_pdu);
    if (status != STAT_SUCCESS || !reply) {
      const int error = snmp_sess_session(session_)->s_snmp_errno;
      close();
      // v2c agents do not answer a wrong community at all
      if (status == STAT_TIMEOUT)
        throw std::runtime_error(peer_.address + ": no answer (gone, or it refuses the community)");
      throw std::runtime_error(fmt::format("{}: {}", peer_.address, snmp_api_errstring(error)));
    }
    if (reply->errstat == SNMP_ERR_AUTHORIZATIONERROR || reply->errstat == SNMP_ERR_NOACCESS)
      throw DeviceRefusal(
          fmt::format("{}: {}", peer_.address, snmp_errstring(static_cast<int>(reply->errstat))),
          State::kNotPermitted, "let this user or community read the object");
    if (reply->errstat != SNMP_ERR_NOERROR)
      return failed_reading(which.channel.domain + ": " + snmp_errstring(static_cast<int>(reply->errstat)));
    return sum_of(which, reply->variables);
  }

  static Reading sum_of(const ObjectChannel& which, const variable_list* variable) {
    double sum = 0;
    for (const Oid& each : which.terms) {
      std::string problem = "is missing in the answer";
      const std::optional<double> number = variable != nullptr ? number_of(*variable, problem) : std::nullopt;
      if (!number)
        return failed_reading(fmt::format("{}: {} {}", which.channel.domain, text_of(each), problem));
      if (*number == which.no_reading)
        return failed_reading(fmt::format("{}: {} is {:g}, by which it says that it has no reading",
                                          which.channel.domain, text_of(each), *number));
      sum += *number;
      variable = variable->next_variable;
    }
    return checked_reading(which.channel, sum * which.factor, which.zero_is_valid);
  }

  Peer peer_;
  std::vector<ObjectChannel> channels_;
  void* session_ = nullptr;
};

std::unique_ptr<Meter> open_one(Settings& settings) {
  Peer peer;
  const std::string host = settings.required_text("host");
  peer.address = fmt::format("udp:{}:{}", host, settings.integer("port", 161, 1, 65535));
  const std::string version = settings.text("version", "2c");
  if (version != "2c" && version != "3") settings.refuse("version", "\"2c\" or \"3\"");
  peer.v3 = version == "3";
  const Credentials credentials(settings);
  peer.community = credentials.get("community");
  peer.user = credentials.get("user");
  peer.auth_password = credentials.get("auth_password");
  peer.privacy_password = credentials.get("privacy_password");
  peer.auth = settings.text("auth", "SHA");
  if (peer.auth != "MD5" && peer.auth != "SHA" && peer.auth != "SHA-256" && peer.auth != "SHA-512")
    settings.refuse("auth", "MD5, SHA, SHA-256 or SHA-512");
  peer.privacy = settings.text("privacy", "AES");
  if (peer.privacy != "AES" && peer.privacy != "DES") settings.refuse("privacy", "AES or DES");
  std::vector<ObjectChannel> channels;
  if (settings.has("channels")) {
    for (const nlohmann::json& entry : settings.list("channels")) {
      Settings one(settings.meter(), entry);
      channels.push_back(object_channel(one));
      one.finish();
    }
  } else {
    channels.push_back(object_channel(settings));
  }
  const double poll_s = settings.number("poll_s", 1, 0.05, 3600);
  const double timeout_s = settings.number("timeout_s", 5, 0.05, 600);
  const std::string name = "snmp:" + settings.text("name", host);
  settings.finish();
  if (peer.v3 ? peer.user.empty() : peer.community.empty())
    throw OpenError(State::kNotPermitted,
                    fmt::format("{}: no {} is given", name, peer.v3 ? "user" : "community"),
                    fmt::format("put it into \"credentials_file\" (mode 0600) or the environment variable {}",
                                credentials.variable(peer.v3 ? "user" : "community")));
  if (peer.auth_password.empty() && !peer.privacy_password.empty())
    throw OpenError(State::kFaulty, name + ": privacy_password needs an auth_password");
  auto device = std::make_shared<SnmpDevice>(peer, std::move(channels));
  return BoundedMeter::answering(name, device->channels(), device, BoundedOptions{poll_s}, timeout_s);
}

MeterProbe open(const nlohmann::json& config) {
  return config.is_null() ? not_configured("snmp", kExample) : open_devices("snmp", config, open_one);
}
#else
MeterProbe open(const nlohmann::json&) { return not_compiled_in("net-snmp", "libsnmp-dev"); }
#endif

const MeterRegistration registration{
    {.name = "snmp", .summary = "power strips that speak SNMP (v2c, v3)", .rank = 64, .open = open}};

}  // namespace
}  // namespace mlpwatt
