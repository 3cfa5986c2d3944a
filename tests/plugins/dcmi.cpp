// A module for OpenIPMI's simulator ipmi_sim that answers DCMI Get Power Reading (group extension 0xDC,
// command 0x02). What it answers stands in the file named by MLPWATT_DCMI, read at each request:
//   completion watts minimum maximum average stamp period state delay_ms bytes

#if __has_include(<OpenIPMI/mcserv.h>)
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <initializer_list>

extern "C" {
#include <OpenIPMI/mcserv.h>

static void answer(lmc_data_t*, msg_t* message, unsigned char* reply, unsigned int* length, void*) {
  unsigned completion = 0, watts = 0, minimum = 0, maximum = 0, average = 0, stamp = 0, period = 0, state = 0;
  unsigned delay_ms = 0, bytes = 0;
  const char* path = std::getenv("MLPWATT_DCMI");
  std::FILE* file = path != nullptr ? std::fopen(path, "r") : nullptr;
  const int got = file == nullptr
                      ? 0
                      : std::fscanf(file, "%u %u %u %u %u %u %u %u %u %u", &completion, &watts, &minimum,
                                    &maximum, &average, &stamp, &period, &state, &delay_ms, &bytes);
  if (file != nullptr) std::fclose(file);
  if (message->cmd != 0x02 || got != 10 || completion != 0) {
    reply[0] = static_cast<unsigned char>(message->cmd != 0x02 ? 0xc1 : got != 10 ? 0xff : completion);
    reply[1] = 0xdc;
    *length = 2;
    return;
  }
  const timespec delay = {delay_ms / 1000, delay_ms % 1000 * 1000000L};
  nanosleep(&delay, nullptr);
  unsigned at = 0;
  const auto put = [&](unsigned value, unsigned width) {
    for (unsigned i = 0; i < width; ++i) reply[at++] = static_cast<unsigned char>(value >> (8 * i));
  };
  put(0, 1);
  put(0xdc, 1);
  for (const unsigned each : {watts, minimum, maximum, average}) put(each, 2);
  put(stamp, 4);
  put(period, 4);
  put(state, 1);
  *length = bytes < at ? bytes : at;
}

int ipmi_sim_module_init(sys_data_t*, const char*) {
  ipmi_emu_register_group_extension_handler(0xdc, answer, nullptr);
  return 0;
}
}
#endif
