#pragma once
// What the stand-in of NVIDIA's profiling library and driver plays; the test reaches it by
// dlsym("fake_cupti").

#include <cstddef>

namespace mlpwatt::testing {

struct FakeMetric {
  const char* name = "";
  double per_step = 0;  ///< added by each step that the test says was run
  int unit = 0;         ///< at most two metrics of one unit fit a pass
};

struct FakeCupti {
  // the driver
  int driver_status = 0, devices = 1;
  // the library
  const char* chip = "GH100";
  FakeMetric metrics[16];
  int metric_count = 0;
  int initialize_status = 0, availability_status = 0, enable_status = 0, start_status = 0;
  bool submits_all = true;
  // what a test reads
  bool counting = false;        ///< between the range's push and its pop
  int enabled = 0, ranges = 0;  ///< profilers switched on now; ranges begun so far
  double steps = 0;             ///< what a test's kernel adds while counting
};

}  // namespace mlpwatt::testing
