// Node power by DCMI Get Power Reading, asked of the own BMC (/dev/ipmi0) or of one over LAN, through
// FreeIPMI. What counts is `current_power`; the average the BMC tells next to it often runs since its last
// boot. BMCs that are asked often hang: never faster than every 2 s, with pauses that grow after failures.
#include "meters/power/settings.h"

#ifdef MLPWATT_HAVE_FREEIPMI
#include <fcntl.h>
#include <fmt/format.h>
#include <freeipmi/freeipmi.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>

#include "meters/power/bounded_meter.h"
#endif

namespace mlpwatt {
namespace {

#ifdef MLPWATT_HAVE_FREEIPMI

using State = MeterProbe::State;

constexpr double kLeastSpacing_s = 2;
/// Stamps before 2000 are of a BMC whose clock was never set; they do not tell one update from the next.
constexpr std::uint64_t kYear2000 = 946684800;

struct Bmc {
  std::string host;    ///< "" = in-band
  std::string device;  ///< of in-band: "/dev/ipmi0"
  std::string user, password;
  bool lan_2_0 = true;
  int cipher_suite = 3;
  std::uint8_t privilege = IPMI_PRIVILEGE_LEVEL_ADMIN;
  unsigned workarounds = 0;
};

class DcmiDevice final : public Device {
 public:
  DcmiDevice(Bmc bmc, Channel channel) : bmc_(std::move(bmc)), channel_(std::move(channel)) {}

  std::vector<Reading> read(double timeout_s) override {
    if (!context_) connect(timeout_s);
    const std::unique_ptr<fiid_obj, void (*)(fiid_obj_t)> reply(
        fiid_obj_create(tmpl_cmd_dcmi_get_power_reading_rs), fiid_obj_destroy);
    if (!reply) throw std::runtime_error("out of memory");
    if (ipmi_cmd_dcmi_get_power_reading(context_.get(), IPMI_DCMI_POWER_READING_MODE_SYSTEM_POWER_STATISTICS,
                                        0, reply.get()) < 0)
      fail("DCMI Get Power Reading");
    if (field(reply.get(), "power_reading_state.power_measurement") !=
        IPMI_DCMI_POWER_READING_STATE_POWER_MEASUREMENT_ACTIVE)
      return {failed_reading("the BMC says that it does not measure power now (state byte, bit 6)")};
    Reading reading = checked_reading(channel_, static_cast<double>(field(reply.get(), "current_power")));
    if (const std::uint64_t stamp = field(reply.get(), "time_stamp"); stamp >= kYear2000)
      reading.device_stamp = static_cast<std::int64_t>(stamp);
    return {reading};
  }

 private:
  using Context = std::unique_ptr<ipmi_ctx, void (*)(ipmi_ctx_t)>;

  static std::uint64_t field(fiid_obj_t reply, const char* name) {
    std::uint64_t value = 0;
    if (fiid_obj_get(reply, name, &value) != 1)
      throw std::runtime_error(fmt::format("the BMC's answer has no {}", name));
    return value;
  }

  void connect(double timeout_s) {
    context_ = Context(ipmi_ctx_create(), [](ipmi_ctx_t context) {
      ipmi_ctx_close(context);
      ipmi_ctx_destroy(context);
    });
    if (!context_) throw std::runtime_error("out of memory");
    const auto session_ms = static_cast<unsigned>(std::max(100.0, 1000 * timeout_s));
    const unsigned again_ms = std::min(1000u, session_ms / 2);
    int opened = -1;
    if (bmc_.host.empty())
      opened = ipmi_ctx_open_inband(context_.get(), IPMI_DEVICE_OPENIPMI, 0, 0, 0, bmc_.device.c_str(), 0,
                                    IPMI_FLAGS_DEFAULT);
    else if (bmc_.lan_2_0)
      opened = ipmi_ctx_open_outofband_2_0(context_.get(), bmc_.host.c_str(), bmc_.user.c_str(),
                                           bmc_.password.c_str(), nullptr, 0, bmc_.privilege,
                                           static_cast<std::uint8_t>(bmc_.cipher_suite), session_ms, again_ms,
                                           bmc_.workarounds, IPMI_FLAGS_DEFAULT);
    else
      opened = ipmi_ctx_open_outofband(context_.get(), bmc_.host.c_str(), bmc_.user.c_str(),
                                       bmc_.password.c_str(), IPMI_AUTHENTICATION_TYPE_MD5, bmc_.privilege,
                                       session_ms, again_ms, bmc_.workarounds, IPMI_FLAGS_DEFAULT);
    if (opened < 0) fail("cannot open " + (bmc_.host.empty() ? bmc_.device : bmc_.host));
  }

  /// The session is given up: the next read opens a new one.
  [[noreturn]] void fail(const std::string& what) {
    const int error = ipmi_ctx_errnum(context_.get());
    const std::string text = what + ": " + ipmi_ctx_strerror(error);
    context_.reset();
    switch (error) {
      case IPMI_ERR_PERMISSION:
        throw DeviceRefusal(text, State::kNotPermitted, permission_remedy());
      case IPMI_ERR_USERNAME_INVALID:
      case IPMI_ERR_PASSWORD_INVALID:
      case IPMI_ERR_PASSWORD_VERIFICATION_TIMEOUT:
        throw DeviceRefusal(text, State::kNotPermitted,
                            "give user and password in \"credentials_file\" (mode 0600)");
      case IPMI_ERR_PRIVILEGE_LEVEL_INSUFFICIENT:
      case IPMI_ERR_PRIVILEGE_LEVEL_CANNOT_BE_OBTAINED:
        throw DeviceRefusal(text, State::kNotPermitted,
                            R"(give the user that privilege, or "privilege": "operator", or )"
                            R"("workarounds": ["opensesspriv"])");
      case IPMI_ERR_COMMAND_INVALID_OR_UNSUPPORTED:
        throw DeviceRefusal(text + ": this BMC has no DCMI", State::kAbsent);
      case IPMI_ERR_HOSTNAME_INVALID:
        throw DeviceRefusal(text);
      default:
        throw std::runtime_error(text);
    }
  }

 public:
  static std::string permission_remedy() {
    return R"(echo 'KERNEL=="ipmi*", GROUP="ipmi", MODE="0660"' > /etc/udev/rules.d/90-ipmi.rules; )"
           "groupadd -f ipmi; usermod -a -G ipmi $USER; udevadm trigger";
  }

 private:
  Bmc bmc_;
  Channel channel_;
  Context context_{nullptr, [](ipmi_ctx_t) {}};
};

/// Before the library is asked, which would also try hardware ports: is there a driver's device, and may we?
void check_device(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (file >= 0) {
    close(file);
    return;
  }
  const bool refused = errno == EACCES || errno == EPERM;
  throw OpenError(
      refused ? State::kNotPermitted : State::kAbsent,
      fmt::format("ipmi: {}: {}", path, std::strerror(errno)),
      refused ? DcmiDevice::permission_remedy() : "modprobe ipmi_devintf ipmi_si, if it has a BMC");
}

unsigned workarounds(Settings& settings) {
  static const std::map<std::string, unsigned> kFlags = {
      {"authcap", IPMI_WORKAROUND_FLAGS_OUTOFBAND_2_0_AUTHENTICATION_CAPABILITIES},
      {"intel20", IPMI_WORKAROUND_FLAGS_OUTOFBAND_2_0_INTEL_2_0_SESSION},
      {"supermicro20", IPMI_WORKAROUND_FLAGS_OUTOFBAND_2_0_SUPERMICRO_2_0_SESSION},
      {"sun20", IPMI_WORKAROUND_FLAGS_OUTOFBAND_2_0_SUN_2_0_SESSION},
      {"opensesspriv", IPMI_WORKAROUND_FLAGS_OUTOFBAND_2_0_OPEN_SESSION_PRIVILEGE},
      {"integritycheckvalue", IPMI_WORKAROUND_FLAGS_OUTOFBAND_2_0_NON_EMPTY_INTEGRITY_CHECK_VALUE}};
  unsigned flags = 0;
  for (const nlohmann::json& name : settings.list("workarounds")) {
    const auto flag = name.is_string() ? kFlags.find(name.get<std::string>()) : kFlags.end();
    if (flag == kFlags.end())
      settings.refuse("workarounds",
                      "names FreeIPMI gives them: authcap intel20 supermicro20 sun20 "
                      "opensesspriv integritycheckvalue");
    flags |= flag->second;
  }
  return flags;
}

std::unique_ptr<Meter> open_one(Settings& settings) {
  Bmc bmc;
  bmc.host = settings.text("host");
  bmc.device = settings.text("device", "/dev/ipmi0");
  const Credentials credentials(settings);
  bmc.user = credentials.get("user");
  bmc.password = credentials.get("password");
  const std::string lan = settings.text("lan", "2.0");
  if (lan != "2.0" && lan != "1.5") settings.refuse("lan", "\"2.0\" or \"1.5\"");
  bmc.lan_2_0 = lan == "2.0";
  bmc.cipher_suite = static_cast<int>(settings.integer("cipher_suite", 3, 0, 17));
  const std::string privilege = settings.text("privilege", "admin");
  if (privilege == "user")
    bmc.privilege = IPMI_PRIVILEGE_LEVEL_USER;
  else if (privilege == "operator")
    bmc.privilege = IPMI_PRIVILEGE_LEVEL_OPERATOR;
  else if (privilege != "admin")
    settings.refuse("privilege", "user, operator or admin");
  bmc.workarounds = workarounds(settings);
  Channel channel;
  channel.domain = "node";
  channel.place = "BMC";
  channel.resolution = 1;
  channel.accuracy_relative = 0.05;
  channel.accuracy_source = "assumed: DCMI states none";
  declare_channel(settings, channel);
  const double spacing_s = settings.number("least_spacing_s", kLeastSpacing_s, 0.01, 3600);
  const double poll_s = settings.number("poll_s", spacing_s, spacing_s, 3600);
  const double timeout_s = settings.number("timeout_s", 10, 0.05, 600);
  const std::string name = bmc.host.empty() ? "ipmi" : "ipmi:" + settings.text("name", bmc.host);
  settings.finish();
  if (bmc.host.empty()) check_device(bmc.device);
  auto device = std::make_shared<DcmiDevice>(bmc, channel);
  return BoundedMeter::answering(name, {channel}, device,
                                 BoundedOptions{.poll_period_s = poll_s,
                                                .least_spacing_s = 0.95 * spacing_s,
                                                .attempts = 3,
                                                .back_off_s = spacing_s},
                                 timeout_s);
}

MeterProbe open(const nlohmann::json& config) { return open_devices("ipmi", config, open_one); }
#else
MeterProbe open(const nlohmann::json&) { return not_compiled_in("FreeIPMI", "libfreeipmi-dev"); }
#endif

const MeterRegistration registration{
    {.name = "ipmi", .summary = "node power by the BMC's IPMI DCMI", .rank = 40, .open = open}};

}  // namespace
}  // namespace mlpwatt
