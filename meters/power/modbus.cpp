// DIN-rail energy meters and power strips that speak Modbus, by TCP or over a serial line (RTU). What is in
// which register is the user's to say.
#include "meters/power/settings.h"

#ifdef MLPWATT_HAVE_MODBUS
#include <fmt/format.h>
#include <modbus/modbus.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdint>

#include "meters/power/bounded_meter.h"
#endif

namespace mlpwatt {
namespace {

constexpr const char* kExample =
    R"({"host": "10.0.0.7", "unit_id": 1, "registers": [{"address": 12, "function": 4, "type": "float32", "unit": "W"}]})";

#ifdef MLPWATT_HAVE_MODBUS

using State = MeterProbe::State;
using Clock = std::chrono::steady_clock;

struct NumberType {
  const char* name;
  int registers;
  double (*value)(std::uint64_t bits);
};

constexpr std::array<NumberType, 8> kTypes = {{
    {"uint16", 1, [](std::uint64_t bits) { return static_cast<double>(bits); }},
    {"int16", 1, [](std::uint64_t bits) { return static_cast<double>(static_cast<std::int16_t>(bits)); }},
    {"uint32", 2, [](std::uint64_t bits) { return static_cast<double>(bits); }},
    {"int32", 2, [](std::uint64_t bits) { return static_cast<double>(static_cast<std::int32_t>(bits)); }},
    {"float32", 2,
     [](std::uint64_t bits) {
       return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
     }},
    {"uint64", 4, [](std::uint64_t bits) { return static_cast<double>(bits); }},
    {"int64", 4, [](std::uint64_t bits) { return static_cast<double>(static_cast<std::int64_t>(bits)); }},
    {"float64", 4, [](std::uint64_t bits) { return std::bit_cast<double>(bits); }},
}};

struct RegisterChannel {
  Channel channel;
  std::vector<int> addresses;  ///< summed
  int function = 4;            ///< 3 holding registers, 4 input registers
  const NumberType* type = nullptr;
  bool low_word_first = false, swap_bytes = false, zero_is_valid = false;
  double factor = 1;

  double number(const std::array<std::uint16_t, 4>& words) const {
    std::uint64_t bits = 0;
    for (int i = 0; i < type->registers; ++i) {
      std::uint16_t word = words[static_cast<std::size_t>(low_word_first ? type->registers - 1 - i : i)];
      if (swap_bytes) word = static_cast<std::uint16_t>(word << 8 | word >> 8);
      bits = bits << 16 | word;
    }
    return type->value(bits);
  }
};

RegisterChannel register_channel(const std::string& meter, const nlohmann::json& entry) {
  Settings settings(meter, entry);
  RegisterChannel result;
  result.channel.domain = "node";
  result.channel.place = "AC inlet";
  result.factor = read_unit(settings, result.channel);
  for (const nlohmann::json& address : settings.list("address")) {
    if (!address.is_number_integer() || address < 0 || address > 65535)
      settings.refuse("address", "register numbers from 0 to 65535, counted from 0 as on the wire");
    result.addresses.push_back(address.get<int>());
  }
  if (result.addresses.empty()) settings.refuse("address", "the register's number, counted from 0");
  result.function = static_cast<int>(settings.integer("function", 4, 3, 4));
  const std::string type = settings.text("type", "float32");
  for (const NumberType& each : kTypes)
    if (type == each.name) result.type = &each;
  if (result.type == nullptr) settings.refuse("type", "(u)int16, (u)int32, (u)int64, float32 or float64");
  const auto little = [&](const char* key) {
    const std::string order = settings.text(key, "big");
    if (order != "big" && order != "little") settings.refuse(key, "big or little");
    return order == "little";
  };
  result.low_word_first = little("word_order");
  result.swap_bytes = little("byte_order");
  if (type.find("int") != std::string::npos) result.channel.resolution = std::fabs(result.factor);
  declare_channel(settings, result.channel);
  result.zero_is_valid = settings.flag("zero_is_valid", false);
  settings.finish();
  return result;
}

struct Line {
  std::string host, service, device;  ///< TCP, or a serial device
  int baud = 9600, data_bits = 8, stop_bits = 1, unit_id = 1;
  char parity = 'N';
};

class ModbusDevice final : public Device {
 public:
  ModbusDevice(Line line, std::vector<RegisterChannel> channels)
      : line_(std::move(line)), channels_(std::move(channels)) {}

  std::vector<Channel> channels() const {
    std::vector<Channel> result;
    for (const RegisterChannel& each : channels_) result.push_back(each.channel);
    return result;
  }

  std::vector<Reading> read(double timeout_s) override {
    const Clock::time_point end =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(timeout_s));
    connect(end);
    std::vector<Reading> readings;
    for (const RegisterChannel& each : channels_) readings.push_back(read_one(each, end));
    return readings;
  }

 private:
  using Context = std::unique_ptr<modbus_t, void (*)(modbus_t*)>;

  static void close(modbus_t* context) {
    modbus_close(context);
    modbus_free(context);
  }

  void set_timeout(Clock::time_point end) {
    const double left_s = std::max(1e-3, std::chrono::duration<double>(end - Clock::now()).count());
    const auto whole_s = static_cast<std::uint32_t>(left_s);
    const auto rest_us = static_cast<std::uint32_t>((left_s - whole_s) * 1e6);
    modbus_set_response_timeout(context_.get(), whole_s, rest_us);
    // 0: one time-out for the whole answer, so that bytes that trickle in do not prolong it for ever
    modbus_set_byte_timeout(context_.get(), 0, 0);
  }

  void connect(Clock::time_point end) {
    if (context_) return;
    modbus_t* made = line_.device.empty() ? modbus_new_tcp_pi(line_.host.c_str(), line_.service.c_str())
                                          : modbus_new_rtu(line_.device.c_str(), line_.baud, line_.parity,
                                                           line_.data_bits, line_.stop_bits);
    if (made == nullptr) throw std::runtime_error(modbus_strerror(errno));
    context_ = Context(made, close);
    set_timeout(end);
    if (modbus_set_slave(made, line_.unit_id) == 0 && modbus_connect(made) == 0) return;
    const int error = errno;
    context_.reset();
    const std::string where = line_.device.empty() ? line_.host + ":" + line_.service : line_.device;
    const std::string text =
        fmt::format("{}: {}", where, error == 0 ? "cannot connect" : modbus_strerror(error));
    if (error == EACCES)
      throw DeviceRefusal(text, State::kNotPermitted, "usermod -a -G dialout $USER, and log in again");
    throw std::runtime_error(text);
  }

  Reading read_one(const RegisterChannel& which, Clock::time_point end) {
    double sum = 0;
    for (const int address : which.addresses) {
      std::array<std::uint16_t, 4> words{};
      set_timeout(end);
      const auto fetch = which.function == 3 ? modbus_read_registers : modbus_read_input_registers;
      if (fetch(context_.get(), address, which.type->registers, words.data()) != which.type->registers) {
        const int error = errno;
        const std::string text = fmt::format("register {}: {}", address, modbus_strerror(error));
        // The device answers that it cannot: the line is good, and the other registers may be.
        if (error >= EMBXILFUN && error <= EMBXGTAR)
          return failed_reading(which.channel.domain + ": " + text);
        // A late answer to this question must not be taken for one to the next.
        context_.reset();
        throw std::runtime_error(text);
      }
      sum += which.number(words);
    }
    return checked_reading(which.channel, sum * which.factor, which.zero_is_valid);
  }

  Line line_;
  std::vector<RegisterChannel> channels_;
  Context context_{nullptr, close};
};

std::unique_ptr<Meter> open_one(Settings& settings) {
  Line line;
  line.host = settings.text("host");
  line.device = settings.text("device");
  if (line.host.empty() == line.device.empty())
    settings.refuse(line.host.empty() ? "host" : "device",
                    "either \"host\" (TCP) or \"device\" (serial line)");
  line.service = std::to_string(settings.integer("port", 502, 1, 65535));
  line.unit_id = static_cast<int>(settings.integer("unit_id", 1, 0, 255));
  line.baud = static_cast<int>(settings.integer("baud", 9600, 300, 4000000));
  line.data_bits = static_cast<int>(settings.integer("data_bits", 8, 5, 8));
  line.stop_bits = static_cast<int>(settings.integer("stop_bits", 1, 1, 2));
  const std::string parity = settings.text("parity", "N");
  if (parity != "N" && parity != "E" && parity != "O") settings.refuse("parity", "N, E or O");
  line.parity = parity[0];
  std::vector<RegisterChannel> channels;
  for (const nlohmann::json& entry : settings.list("registers"))
    channels.push_back(register_channel(settings.meter(), entry));
  if (channels.empty()) settings.refuse("registers", "a list of what to read where");
  const double poll_s = settings.number("poll_s", 1, 0.02, 3600);
  const double timeout_s = settings.number("timeout_s", 5, 0.05, 600);
  const std::string where = line.device.empty() ? line.host : line.device.substr(line.device.rfind('/') + 1);
  const std::string name = "modbus:" + settings.text("name", where);
  settings.finish();
  auto device = std::make_shared<ModbusDevice>(line, std::move(channels));
  return BoundedMeter::answering(name, device->channels(), device, BoundedOptions{poll_s}, timeout_s);
}

MeterProbe open(const nlohmann::json& config) {
  return config.is_null() ? not_configured("modbus", kExample) : open_devices("modbus", config, open_one);
}
#else
MeterProbe open(const nlohmann::json&) { return not_compiled_in("libmodbus", "libmodbus-dev"); }
#endif

const MeterRegistration registration{
    {.name = "modbus", .summary = "energy meters that speak Modbus TCP or RTU", .rank = 62, .open = open}};

}  // namespace
}  // namespace mlpwatt
