#pragma once
// A real snmpd on loopback. What its objects say comes from files, by `pass_persist` and a shell script.

#include <sys/socket.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "tests/support/daemon.h"
#include "tests/support/meter_case.h"

namespace mlpwatt::testing {

class SnmpFixture {
 public:
  static constexpr const char* kBase = "1.3.6.1.4.1.99999.1";
  static bool available() { return !find_server("snmpd").empty(); }

  SnmpFixture() : port_(free_port(SOCK_DGRAM)) {
    const std::string& folder = folder_.path();
    // Object kBase.N is the file N: its type on the first line, its value on the second; no file, no object.
    write_file(folder + "/objects.sh",
               "#!/bin/sh\nwhile read -r line; do case $line in\nPING) echo PONG ;;\nget*) read -r oid; f=" +
                   folder +
                   "/${oid##*.}\n  if [ -e $f.slow ]; then sleep \"$(cat $f.slow)\"; fi\n"
                   "  if [ -s $f ]; then { read -r type; read -r value; } < $f\n"
                   "    echo \"$oid\"; echo \"$type\"; echo \"$value\"; else echo NONE; fi ;;\n"
                   "*) read -r oid; echo NONE ;; esac; done\n",
               0755);
    community = write_file(folder + "/community", R"({"community": "sesame"})", 0600);
    user = write_file(folder + "/user",
                      R"({"user": "meter", "auth_password": "authsecret", "privacy_password": "privsecret"})",
                      0600);
    start();
  }

  /// @param its_community the one it knows
  void start(const std::string& its_community = "sesame") {
    const std::string& folder = folder_.path();
    write_file(folder + "/agent.conf", "agentaddress udp:127.0.0.1:" + std::to_string(port_) +
                                           "\nrocommunity " + its_community +
                                           " 127.0.0.1\ncreateUser meter SHA-256 authsecret AES privsecret\n"
                                           "rouser meter priv\npass_persist ." +
                                           kBase + " /bin/sh " + folder + "/objects.sh\n");
    daemon_ = std::make_unique<Daemon>(
        std::vector<std::string>{find_server("snmpd"), "-f", "-C", "-c", folder + "/agent.conf", "-Lf",
                                 folder + "/log", "-I", "-smux"},
        std::vector<std::string>{"SNMP_PERSISTENT_DIR=" + folder, "MIBS="}, folder + "/out");
    for (int i = 0; i < 500 && !bound(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  Daemon& daemon() { return *daemon_; }

  void set(int object, const std::string& type, const std::string& value) {
    const std::string path = folder_.path() + "/" + std::to_string(object);
    std::ofstream(path + ".new") << type << '\n' << value << '\n';
    std::filesystem::rename(path + ".new", path);
  }
  void remove(int object) { std::filesystem::remove(folder_.path() + "/" + std::to_string(object)); }
  /// The agent takes this long for the object.
  void slow(int object, double seconds) {
    const std::string path = folder_.path() + "/" + std::to_string(object) + ".slow";
    if (seconds > 0)
      std::ofstream(path) << seconds;
    else
      std::filesystem::remove(path);
  }

  nlohmann::json section(nlohmann::json more) const {
    more["host"] = "127.0.0.1";
    more["port"] = port_;
    if (!more.contains("credentials_file")) more["credentials_file"] = community;
    return more;
  }
  static std::string oid(int object) { return std::string(kBase) + "." + std::to_string(object); }

  std::string community, user;

 private:
  bool bound() const {
    const int probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port_));
    const bool taken = bind(probe, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0;
    close(probe);
    return taken;
  }

  ScratchFolder folder_;
  int port_;
  std::unique_ptr<Daemon> daemon_;
};

}  // namespace mlpwatt::testing
