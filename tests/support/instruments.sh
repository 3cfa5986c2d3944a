#!/bin/sh
# Makes a folder of files as the kernel shows them on a node with every file-made meter, and a meter
# configuration that points there: for looking at the program where there is no instrument. The values stand still.
#   tests/support/instruments.sh FOLDER      then: MLPWATT_METERS=FOLDER/meters.json build/mlpwatt info
set -eu
folder=${1:?a folder to make}
put() { mkdir -p "$folder/$(dirname "$1")"; printf '%s\n' "$2" > "$folder/$1"; }
for package in 0 1; do
  zone=sys/class/powercap/intel-rapl:$package
  put $zone/name package-$package
  put $zone/energy_uj 12345678900
  put $zone/max_energy_range_uj 262143328850
  put $zone:0/name dram
  put $zone:0/energy_uj 2345678900
  put $zone:0/max_energy_range_uj 65712999613
done
put sys/class/hwmon/hwmon0/name power_meter
put sys/class/hwmon/hwmon0/power1_average 312000000
put sys/class/hwmon/hwmon0/power1_average_interval 1000
put sys/class/hwmon/hwmon0/power1_accuracy 95.5%
# Without the stamps of newer systems: that is where the files are read most often.
for part in '' cpu_ memory_ accel0_; do
  put sys/cray/pm_counters/${part}energy "123456 J"
  put sys/cray/pm_counters/${part}power "312 W"
done
put sys/cray/pm_counters/freshness 7
put sys/cray/pm_counters/startup 1700000000
put sys/cray/pm_counters/raw_scan_hz 10
root=$(cd "$folder" && pwd)
printf '{"powercap": {"root": "%s"}, "hwmon": {"root": "%s"}, "pm_counters": {"root": "%s"}}\n' \
  "$root" "$root" "$root" > "$folder/meters.json"
