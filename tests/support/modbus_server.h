#pragma once
// A Modbus server on loopback (TCP) or on one end of a pseudo-terminal (RTU), in a thread of the test.
#ifdef MLPWATT_HAVE_MODBUS

#include <modbus/modbus.h>
#include <poll.h>
#include <pty.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#include "tests/support/daemon.h"

namespace mlpwatt::testing {

class ModbusServer {
 public:
  static constexpr int kRegisters = 100;

  /// Why a serial line cannot be played here (no /dev/pts, as in a bare chroot); "" = it can.
  static std::string no_serial_line() {
    int ends[2];
    if (openpty(&ends[0], &ends[1], nullptr, nullptr, nullptr) != 0)
      return std::string("no pseudo-terminal can be opened here: ") + std::strerror(errno);
    close(ends[0]), close(ends[1]);
    return "";
  }

  explicit ModbusServer(bool serial = false)
      : port_(free_port(SOCK_STREAM)), map_(modbus_mapping_new(0, 0, kRegisters, kRegisters)) {
    if (serial) {
      // libmodbus opens the terminal by name; its other end is passed to it as an open file
      char name[128] = "";
      if (openpty(&server_end_, &client_end_, name, nullptr, nullptr) != 0)
        throw std::runtime_error("openpty");
      for (const int end : {server_end_, client_end_}) {
        termios raw{};
        tcgetattr(end, &raw);
        cfmakeraw(&raw);
        tcsetattr(end, TCSANOW, &raw);
      }
      device_ = name;
      context_ = modbus_new_rtu(name, 9600, 'N', 8, 1);
      modbus_set_slave(context_, 1);
      modbus_set_socket(context_, server_end_);
    } else {
      context_ = modbus_new_tcp("127.0.0.1", port_);
    }
    modbus_set_indication_timeout(context_, 0, 50000);
    thread_ = std::thread([this] { device_.empty() ? serve_tcp() : serve_line(); });
    while (!ready_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ~ModbusServer() { stop(); }
  ModbusServer(const ModbusServer&) = delete;
  ModbusServer& operator=(const ModbusServer&) = delete;

  int port() const { return port_; }
  const std::string& device() const { return device_; }

  /// Puts words into the input registers (function 4) and the holding registers (function 3).
  void set(int address, std::initializer_list<std::uint16_t> words) {
    const std::lock_guard lock(mutex_);
    for (const std::uint16_t word : words) {
      map_->tab_input_registers[address] = word;
      map_->tab_registers[address++] = word;
    }
  }
  /// Packed here: modbus_set_float_abcd of libmodbus 3.1.6 swaps bytes.
  void set_float(int address, float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    set(address, {static_cast<std::uint16_t>(bits >> 16), static_cast<std::uint16_t>(bits)});
  }
  std::atomic<int> exception{0};      ///< answered instead, when not 0
  std::atomic<bool> silent{false};    ///< takes requests and answers nothing
  std::atomic<bool> truncate{false};  ///< sends the first bytes of an answer and closes the connection

  void stop() {
    if (stopping_.exchange(true)) return;
    thread_.join();
    if (device_.empty()) modbus_close(context_);
    modbus_free(context_);
    modbus_mapping_free(map_);
    if (server_end_ >= 0) close(server_end_);
    if (client_end_ >= 0) close(client_end_);
  }

 private:
  void serve_tcp() {
    int listener = modbus_tcp_listen(context_, 1);
    ready_ = true;
    while (!stopping_) {
      pollfd wait{listener, POLLIN, 0};
      if (poll(&wait, 1, 20) <= 0) continue;
      if (modbus_tcp_accept(context_, &listener) < 0) continue;
      serve_connection();
      modbus_close(context_);
    }
    close(listener);
  }
  void serve_line() {
    ready_ = true;
    serve_connection();
  }
  void serve_connection() {
    std::uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
    while (!stopping_) {
      const int got = modbus_receive(context_, request);
      if (got < 0 && errno == ETIMEDOUT) continue;
      if (got < 0 && device_.empty()) return;
      if (got <= 0 || silent) continue;
      if (truncate) {
        // transaction, protocol, length and unit as asked, and nothing of what was announced
        const std::uint8_t part[] = {request[0], request[1], 0, 0, 0, 7, request[6], request[7]};
        send(modbus_get_socket(context_), part, sizeof part, MSG_NOSIGNAL);
        return;
      }
      const std::lock_guard lock(mutex_);
      if (exception != 0)
        modbus_reply_exception(context_, request, static_cast<unsigned>(exception));
      else
        modbus_reply(context_, request, got, map_);
    }
  }

  int port_, server_end_ = -1, client_end_ = -1;
  std::string device_;
  modbus_t* context_ = nullptr;
  modbus_mapping_t* map_;
  std::mutex mutex_;
  std::atomic<bool> stopping_{false}, ready_{false};
  std::thread thread_;
};

}  // namespace mlpwatt::testing
#endif
