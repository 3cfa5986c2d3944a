#pragma once
// The measuring threads of this process carry a name by which counters leave them out of what is measured.

#include <pthread.h>

#include <string>

namespace mlpwatt {

inline constexpr const char* kMeterThreadPrefix = "meter:";

/// Names the calling thread "meter:WHAT" (cut to the kernel's 15 characters). Every sampler calls this first.
inline void name_meter_thread(const std::string& what) {
  pthread_setname_np(pthread_self(), (kMeterThreadPrefix + what).substr(0, 15).c_str());
}

}  // namespace mlpwatt
