#!/bin/sh
# Puts the Python libraries that `make compare` compares with into a virtual environment outside the tree.
#   peers.sh [DIRECTORY]      default: ${XDG_CACHE_HOME:-~/.cache}/mlpwatt/peers (MLPWATT_PEERS)
# PEERS_WANTED=FILE names another list of them (results/peers/requirements-gpu.txt).
# Nothing but the comparison needs it; to remove it, remove the directory. PEERS_INDEX=URL adds a package index, e.g.
# https://download.pytorch.org/whl/cpu for PyTorch without the gigabytes of CUDA libraries that PyPI's brings.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
wanted=${PEERS_WANTED:-$here/../../results/peers/requirements.txt}
target=${1:-${MLPWATT_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/mlpwatt/peers}}

# libxsmm as a library that can be loaded: Debian has it as an archive only.
make_libxsmm() {
  [ ! -e "$target/lib/libxsmm.so" ] || return 0
  for folder in /usr/lib /usr/lib/"$(${CC:-cc} -dumpmachine 2>/dev/null || echo none)"; do
    if [ -e "$folder/libxsmm.a" ] && [ -e "$folder/libxsmmnoblas.a" ]; then
      mkdir -p "$target/lib"
      if ${CC:-cc} -shared -o "$target/lib/libxsmm.so.tmp" -Wl,--whole-archive "$folder/libxsmm.a" \
        "$folder/libxsmmnoblas.a" -Wl,--no-whole-archive -lpthread -lrt -ldl -lm 2>/dev/null; then
        mv "$target/lib/libxsmm.so.tmp" "$target/lib/libxsmm.so"
        echo "peers: $target/lib/libxsmm.so from $folder/libxsmm.a"
      else
        echo "peers: $folder/libxsmm.a cannot be made into a shared library: libxsmm will be absent" >&2
      fi
      return 0
    fi
  done
}

if [ -f "$target/installed.txt" ] && cmp -s "$wanted" "$target/installed.txt"; then
  make_libxsmm
  echo "peers: $target is up to date"
  exit 0
fi

needed_kib=10000000
mkdir -p "$target"
free_kib=$(df -Pk "$target" | awk 'NR == 2 { print $4 }')
if [ "$free_kib" -lt "$needed_kib" ]; then
  echo "peers: $target has $((free_kib / 1024)) MiB free, the libraries need up to $((needed_kib / 1024)): choose another with" \
       "MLPWATT_PEERS=DIRECTORY" >&2
  exit 1
fi

# The distribution's Python first: it comes with this machine and is the one the rest of the project uses.
made=
for python in /usr/bin/python3 python3; do
  if command -v "$python" >/dev/null 2>&1 && "$python" -m venv --clear "$target" >/dev/null 2>&1; then made=$python; break; fi
done
if [ -z "$made" ]; then
  echo "peers: no python3 here can make a virtual environment; on Debian: sudo apt-get install python3-venv" >&2
  exit 1
fi
echo "peers: $("$made" --version) into $target"
"$target/bin/pip" install --quiet --disable-pip-version-check ${PEERS_INDEX:+--extra-index-url "$PEERS_INDEX"} -r "$wanted"
"$target/bin/pip" freeze --disable-pip-version-check > "$target/versions.txt"
make_libxsmm
cp "$wanted" "$target/installed.txt"
echo "peers: $(wc -l < "$target/versions.txt") packages, $(du -sm "$target" | cut -f1) MiB; listed in $target/versions.txt"
