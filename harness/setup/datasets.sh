#!/bin/sh
# Fetches the study's 13 datasets from PMLB into the user cache and checks their sha256.
# What is there and right is kept, so an interrupted run goes on where it stopped.
#   MLPWATT_PMLB_URL    where NAME/NAME.tsv.gz lies (https://, http:// or file://)
#   MLPWATT_PMLB_TABLE  the table of names and sha256 (kernels/data/PMLB.tsv)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
base=${MLPWATT_PMLB_URL:-https://github.com/EpistasisLab/pmlb/raw/master/datasets}
table=${MLPWATT_PMLB_TABLE:-$here/../../kernels/data/PMLB.tsv}
cache=${XDG_CACHE_HOME:-${HOME:?"datasets: neither XDG_CACHE_HOME nor HOME is set"}/.cache}/mlpwatt

fail() { echo "make datasets: $*" >&2; exit 1; }
[ -r "$table" ] || fail "cannot read $table"
mkdir -p "$cache" || fail "cannot make the folder $cache"
part=
trap '[ -z "$part" ] || rm -f "$part"' EXIT
trap 'exit 1' HUP INT TERM

fetch() { # url file
  case $1 in
    file://*) cp "${1#file://}" "$2" ;;
    *) if command -v curl >/dev/null 2>&1; then curl -fsSL --retry 2 --connect-timeout 20 -o "$2" "$1"
       elif command -v wget >/dev/null 2>&1; then wget -q -T 20 -t 3 -O "$2" "$1"
       else echo "neither curl nor wget is installed (apt-get install curl)" >&2; return 1; fi ;;
  esac
}
sum_of() { sha256sum "$1" | cut -d ' ' -f 1; }

tab=$(printf '\t')
kept=0 fetched=0
while IFS=$tab read -r name sum bytes rest; do
  case $name in name|''|'#'*) continue ;; esac
  file=$cache/$name/$name.tsv.gz
  if [ -f "$file" ] && [ "$(sum_of "$file")" = "$sum" ]; then kept=$((kept + 1)); continue; fi
  mkdir -p "$cache/$name" || fail "cannot make the folder $cache/$name"
  url=$base/$name/$name.tsv.gz
  part=$file.part.$$
  echo "  FETCH $name ($bytes bytes)"
  fetch "$url" "$part" </dev/null ||
    fail "cannot fetch $url (is there a network? MLPWATT_PMLB_URL can name a mirror or a file:// folder); $kept kept, $fetched fetched"
  got=$(sum_of "$part")
  [ "$got" = "$sum" ] ||
    fail "$url is not PMLB's file: sha256 $got instead of $sum; nothing of it was kept"
  mv "$part" "$file" || fail "cannot write $file"
  part=
  fetched=$((fetched + 1))
done < "$table"
echo "datasets: $fetched fetched, $kept already there, in $cache"
