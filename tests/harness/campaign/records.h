#pragma once
// Records that no kernel made, for files and stores.

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "harness/record/record_file.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::testing {

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// A plausible row of a campaign, different for every index.
inline Record synthetic_record(std::int64_t index, const std::string& campaign = "0123456789abcdef",
                               const std::string& host = "host-a", int samples = 0) {
  Record record;
  Row& row = record.run;
  row.set("name", "cpu/mlp_train/adult/rectangle/" + std::to_string(32 << (index % 20)) + "/3");
  row.set("family", "cpu/mlp_train");
  row.set("backend", "cpu");
  row.set("dataset", "adult");
  row.set("shape", "rectangle");
  row.set("size", std::int64_t{32} << (index % 20));
  row.set("depth", 3);
  row.set("batch", 256);
  row.set("isa", "avx2");
  row.set("threads", 1 + index % 4);
  row.set("command", "mlpwatt campaign a.plan --out b");
  row.set("commit", "0123456789ab");
  row.set("host", host);
  row.set("campaign", campaign);
  row.set("order_seed", 1);
  row.set("seed", 1);
  row.set("order_index", index);
  row.set("started_utc", "2026-01-31T12:00:00.000000Z");
  row.set("start_realtime_ns", 1'700'000'000'000'000'000 + index * 1'000'000'000);
  row.set("start_monotonic_ns", index * 1'000'000'000);
  row.set("status", "ok");
  row.set("quality", "ok");
  row.set("window_target_s", 0.5);
  row.set("duration_s", 0.5);
  row.set("steps", std::int64_t{100});
  row.set("blocks", std::int64_t{25});
  row.set("steps_per_block", std::int64_t{4});
  const double step_s = 1e-6 * (1 + static_cast<double>(index % 997));
  row.set("step_s", step_s);
  row.set("step_low95_s", 0.99 * step_s);
  row.set("step_high95_s", 1.01 * step_s);
  record.machine.set("host", host);
  record.machine.set("processor", "a processor");
  if (samples > 0) {
    Row meter(meters_table());
    meter.set("name", "estimate");
    meter.set("domain", "node");
    meter.set("unit", "W");
    meter.set("host", host);
    record.meters.push_back(meter);
    Row energy(energies_table());
    energy.set("meter", "estimate");
    energy.set("domain", "node");
    energy.set("provenance", "modelled");
    energy.set("energy_j", static_cast<double>(index) + 0.25);
    energy.set("flags", "ok");
    for (const char* count : {"distinct_updates", "readings", "failures", "wraps", "samples_kept_every"})
      energy.set(count, 1);
    record.energies.push_back(energy);
  }
  for (int i = 0; i < samples; ++i) {
    Row sample(samples_table());
    sample.set("monotonic_s", static_cast<double>(index) + 0.1 * i);
    sample.set("value", 200.0 + i);
    record.samples.push_back(sample);
  }
  return record;
}

}  // namespace mlpwatt::testing
