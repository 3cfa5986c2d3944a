#!/bin/sh
# Makes sure the packages of the given groups (packages.tsv) are there.
#   deps.sh [--optional] GROUP...          e.g. deps.sh build meter read test
# As root or with password-less sudo missing ones are installed by name from the distribution;
# otherwise the exact line to type is printed and the exit status is 1.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
table=$here/packages.tsv
# --optional: what cannot be installed is said in one line and left out; the exit status is 0.
optional=
if [ "${1:-}" = --optional ]; then optional=yes; shift; fi
[ $# -ge 1 ] || { echo "usage: deps.sh GROUP..." >&2; exit 2; }

wanted() { # column number -> package names of the chosen groups
  column=$1; shift
  for group in "$@"; do
    awk -F '\t' -v g="$group" -v c="$column" '!/^#/ && $1 == g && $c != "-" { print $c }' "$table"
  done | sort -u
}

if command -v dpkg-query >/dev/null 2>&1; then
  missing=
  for package in $(wanted 2 "$@"); do
    status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
  done
  [ -n "$missing" ] || exit 0
  leave_out() {
    echo "mlpwatt: without$missing ($1): the tests that need them are skipped and say so"
    exit 0
  }
  if [ "$(id -u)" = 0 ]; then sudo=
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then sudo="sudo -n"
  else
    [ -z "$optional" ] || leave_out "no right to install them"
    echo "mlpwatt: missing packages and no right to install them. Type:" >&2
    echo "  sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
  fi
  echo "mlpwatt: installing$missing"
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  # The lists of a fresh machine may be empty or old: refresh them only when a package cannot be found.
  # shellcheck disable=SC2086  # a list of words, on purpose
  if ! $sudo apt-get install -y --no-install-recommends $missing >"$log" 2>&1; then
    # shellcheck disable=SC2086
    { $sudo apt-get update && $sudo apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 || {
      if [ -n "$optional" ]; then
        # half-configured packages would stand in the way of every later installation
        # shellcheck disable=SC2086
        $sudo apt-get purge -y $missing >"$log" 2>&1 || true
        rm -f "$log"
        leave_out "apt-get could not install them here"
      fi
      echo "mlpwatt: apt-get failed; the end of what it said:" >&2
      tail -n 5 "$log" >&2; rm -f "$log"; exit 1; }
  fi
  rm -f "$log"
  exit 0
fi

# Not a Debian: say what to type when something cannot be found. Only what nothing works without is looked
# for: meters and readers may be missing, and some have no package everywhere.
absent=
libraries() { for library in "$@"; do pkg-config --exists "$library" 2>/dev/null || absent="$absent $library"; done; }
programs() { for program in "$@"; do PATH=$PATH:/usr/sbin command -v "$program" >/dev/null 2>&1 || absent="$absent $program"; done; }
modules() { for module in "$@"; do python3 -c "import $module" 2>/dev/null || absent="$absent python3-$module"; done; }
for group in "$@"; do
  case $group in
    build) libraries benchmark papi hdf5 hwloc CLI11 nlohmann_json fmt eigen3 zlib libcrypto ;;
    data) command -v wget >/dev/null 2>&1 || programs curl ;;
    test) libraries gtest gmock
          programs snmpd
          modules scipy ;;
    lint) programs clang clang-format clang-tidy shellcheck ;;
  esac
done
[ -n "$absent" ] && [ -z "$optional" ] || exit 0
echo "mlpwatt: cannot find:$absent. Type one of:" >&2
echo "  sudo dnf install $(wanted 3 "$@" | tr '\n' ' ')" >&2
echo "  spack install $(wanted 4 "$@" | tr '\n' ' ')&& spack load $(wanted 4 "$@" | tr '\n' ' ')" >&2
exit 1
