#!/bin/sh
# Prints the make variables that say what this machine's toolchain has: flags of the required
# libraries, HAVE_<LIBRARY> of the optional ones, CUDA's home. Included by the Makefile as build/toolchain.mk.
set -eu
# System headers of libraries must not trip our warnings; the compiler's own folders must not be named again.
isystem() { sed -e 's/-I\([^ ]*\)/-isystem \1/g' -e 's#-isystem /usr/include\(/[a-z0-9_]*-linux-gnu\)\{0,1\}\( \|$\)##g'; }
first() { for name in "$@"; do pkg-config --exists "$name" 2>/dev/null && { echo "$name"; return; }; done; echo "$1"; }
hdf5=$(first hdf5 hdf5-serial)
required="benchmark papi $hdf5 hwloc fmt zlib libcrypto CLI11 nlohmann_json eigen3"
# shellcheck disable=SC2086
pkg-config --exists --print-errors $required
# shellcheck disable=SC2086
echo "PKG_CFLAGS := $(pkg-config --cflags $required | isystem)"
# shellcheck disable=SC2086
echo "PKG_LIBS := $(pkg-config --libs $required) -lhdf5_hl -ldl -lpthread"
optional() { # variable, pkg-config name
  if pkg-config --exists "$2" 2>/dev/null; then
    echo "PKG_CFLAGS += -DMLPWATT_HAVE_$1=1 $(pkg-config --cflags "$2" | isystem)"
    echo "PKG_LIBS += $(pkg-config --libs "$2")"
    echo "HAVE_$1 := 1"
  fi
}
optional CURL libcurl
optional FREEIPMI libfreeipmi
optional MODBUS libmodbus
optional NETSNMP netsnmp
if [ -e /usr/include/valgrind/callgrind.h ] || echo '#include <valgrind/callgrind.h>' | ${CXX:-g++} -E -x c++ - >/dev/null 2>&1; then
  echo "PKG_CFLAGS += -DMLPWATT_HAVE_VALGRIND=1"
fi
if echo '#include <sde_lib.h>' | ${CXX:-g++} -E -x c++ - >/dev/null 2>&1; then echo "HAVE_SDE := 1"; fi
# Which micro-kernels there are to compile. CXX may be several words (ccache g++).
echo "TARGET := $(${CXX:-g++} -dumpmachine)"
nvcc=${NVCC:-}
[ -n "$nvcc" ] || nvcc=$(command -v nvcc 2>/dev/null || true)
[ -n "$nvcc" ] || { [ -n "${CUDA_HOME:-}" ] && [ -x "$CUDA_HOME/bin/nvcc" ] && nvcc=$CUDA_HOME/bin/nvcc; } || true
echo "NVCC := $nvcc"
