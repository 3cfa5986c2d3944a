#!/bin/sh
# Collects what a built mlpwatt needs on a machine where nothing can be installed:
#   harness/setup/bundle.sh BUILD      (make bundle)
# BUILD/bundle/bin holds the programs, BUILD/bundle/lib every shared library they load, .../libc the C library and
# its loader, for machines whose own is older; BUILD/bundle/mlpwatt and .../mlpwatt_gpu_tests start them. Of the target only the kernel and the NVIDIA driver
# (libcuda.so.1, libnvidia-ml.so.1) are used. Copy the working tree with BUILD/bundle in it, and there run
#   make record-gpu OUT=FOLDER
set -eu
build=$1
bundle=$build/bundle
rm -rf "$bundle"
mkdir -p "$bundle/bin" "$bundle/lib"
for program in mlpwatt mlpwatt_gpu_tests; do
  cp "$build/$program" "$bundle/bin/"
  strip --strip-debug "$bundle/bin/$program"
  ldd "$build/$program" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p'
done | sort -u > "$bundle/libraries.txt"
if grep -q 'not found' "$bundle/libraries.txt"; then
  echo "make bundle: a shared library of the programs is missing here: $(grep 'not found' "$bundle/libraries.txt")" >&2; exit 1
fi
# Opened at run time where they are found; large, so they come along when asked for: BUNDLE_CUPTI=1 the counters of a CUDA
# toolkit, BUNDLE_CUBLAS=1 what compare-cublas compares with.
optional="${BUNDLE_CUPTI:+libcupti.so.13 libnvperf_host.so libnvperf_target.so} ${BUNDLE_CUBLAS:+libcublas.so.13 libcublasLt.so.13}"
for library in $optional; do
  found=
  for folder in "${CUDA_HOME:-/usr/local/cuda}/lib64" "${CUDA_HOME:-/usr/local/cuda}/extras/CUPTI/lib64"; do
    [ -n "$found" ] || [ ! -e "$folder/$library" ] || found=$folder/$library
  done
  [ -n "$found" ] || { echo "make bundle: no $library in CUDA_HOME=${CUDA_HOME:-/usr/local/cuda}; leave its BUNDLE_ switch off, or name the toolkit that has it" >&2; exit 1; }
  echo "$found" >> "$bundle/libraries.txt"
done
xargs -I{} cp -L {} "$bundle/lib/" < "$bundle/libraries.txt"
# The C library stands apart: it is only used where the machine's own is older than the programs.
mkdir -p "$bundle/libc"
for part in ld-linux libc libm libpthread libdl librt libresolv libnsl libutil libanl; do
  find "$bundle/lib" \( -name "$part.so*" -o -name "$part-*.so*" \) -exec mv {} "$bundle/libc/" \;
done
loader=$(basename "$(find "$bundle/libc" -name 'ld-linux*' | head -n 1)")
for program in mlpwatt mlpwatt_gpu_tests; do
  cat > "$bundle/$program" <<END
#!/bin/sh
# The bundled program with the bundled libraries; the driver's come from the machine.
here=\$(cd "\$(dirname "\$0")" && pwd)
LD_LIBRARY_PATH=\$here/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
"\$here/bin/mlpwatt" --version > /dev/null 2>&1 && exec "\$here/bin/$program" "\$@"
# an older C library than the programs were linked with: bring ours, and the folders of the driver
for folder in /usr/lib/x86_64-linux-gnu /usr/lib64 /usr/lib /usr/local/nvidia/lib64; do
  [ ! -e "\$folder/libcuda.so.1" ] || LD_LIBRARY_PATH=\$LD_LIBRARY_PATH:\$folder
done
# a program started by a loader cannot start itself again to bind its threads
OMP_PROC_BIND=close OMP_PLACES=cores exec "\$here/libc/$loader" --library-path "\$here/libc:\$LD_LIBRARY_PATH" "\$here/bin/$program" "\$@"
END
  chmod +x "$bundle/$program"
done
"$bundle/mlpwatt" --version > /dev/null
echo "bundle: $bundle ($(du -sh "$bundle" | cut -f1)): $(wc -l < "$bundle/libraries.txt") shared libraries"
