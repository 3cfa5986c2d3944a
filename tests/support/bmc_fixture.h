#pragma once
// A simulated BMC (OpenIPMI's ipmi_sim) on loopback that answers DCMI through tests/plugins/dcmi.cpp.

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/support/daemon.h"
#include "tests/support/meter_case.h"
#include "tests/support/nvml_fixture.h"

namespace mlpwatt::testing {

struct DcmiAnswer {
  unsigned completion = 0, watts = 217, average = 150, stamp = 1700000000, state = 0x40, delay_ms = 0;
  unsigned length = 19;  ///< bytes of the answer that are sent
};

class BmcFixture {
 public:
  static bool available() { return !find_server("ipmi_sim").empty(); }

  /// @param with_dcmi without, it is a BMC that knows no DCMI.
  explicit BmcFixture(bool with_dcmi = true) : port_(free_port(SOCK_DGRAM)) {
    const std::string& folder = folder_.path();
    write_file(
        folder + "/lan.conf",
        "name \"mlpwatt\"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 " + std::to_string(port_) +
            "\npriv_limit admin\nallowed_auths_admin none md2 md5 straight\n"
            "allowed_auths_operator none md2 md5 straight\nallowed_auths_user none md2 md5 straight\n"
            "allowed_auths_callback none md2 md5 straight\nguid a123456789abcdefa123456789abcdef\nendlan\n"
            "user 1 true \"\" \"test\" user 10 none md2 md5 straight\n"
            "user 2 true \"meter\" \"secret\" admin 10 none md2 md5 straight\n" +
            (with_dcmi ? "loadlib \"" + std::filesystem::absolute(plugin_path("dcmi")).string() + "\" \"x\"\n"
                       : ""));
    write_file(folder + "/bmc.emu",
               "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n");
    credentials = write_file(folder + "/credentials", R"({"user": "meter", "password": "secret"})", 0600);
    answer({});
    start();
  }

  void start() {
    daemon_ = std::make_unique<Daemon>(
        std::vector<std::string>{find_server("ipmi_sim"), "-n", "-c", folder_.path() + "/lan.conf", "-f",
                                 folder_.path() + "/bmc.emu", "-s", folder_.path()},
        std::vector<std::string>{"MLPWATT_DCMI=" + folder_.path() + "/answer"}, folder_.path() + "/log");
  }
  Daemon& daemon() { return *daemon_; }

  void answer(const DcmiAnswer& a) {
    const std::string path = folder_.path() + "/answer";
    std::ofstream(path + ".new") << a.completion << ' ' << a.watts << " 1 65535 " << a.average << ' '
                                 << a.stamp << " 1000 " << a.state << ' ' << a.delay_ms << ' ' << a.length
                                 << '\n';
    std::filesystem::rename(path + ".new", path);
  }

  nlohmann::json section() const {
    return {{"host", "127.0.0.1:" + std::to_string(port_)},
            {"credentials_file", credentials},
            {"workarounds", {"opensesspriv"}}};
  }

  /// The simulator bears to be asked more often than a BMC.
  nlohmann::json fast_section() const {
    nlohmann::json section = this->section();
    section["least_spacing_s"] = 0.02;
    return section;
  }

  std::string credentials;

 private:
  ScratchFolder folder_;
  int port_;
  std::unique_ptr<Daemon> daemon_;
};

}  // namespace mlpwatt::testing
