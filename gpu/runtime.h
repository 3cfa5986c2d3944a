#pragma once
// The device as the host code of gpu/ sees it: one clear reason when there is none, memory that frees itself,
// streams, captured graphs, launches. Two implementations: runtime.cu on CUDA's runtime (linked statically;
// the program starts on machines without a driver), tests/emulation/runtime.cpp on the emulator.

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gpu/device/async_copy.cuh"
#include "gpu/device/cuda.cuh"
#include "gpu/failure.h"
#include "kernels/hierarchy.h"

namespace mlpwatt::gpu {

struct Device {
  std::string name;    ///< "NVIDIA H100 80GB HBM3"
  std::string uuid;    ///< "GPU-xxxxxxxx-...", as NVML and nvidia-smi write it
  std::string pci;     ///< "0000:1b:00.0"
  int capability = 0;  ///< 90 for 9.0
  int multiprocessors = 0;
  std::int64_t memory_bytes = 0;
  std::int64_t l2_bytes = 0;
  std::int64_t l1_bytes = 0;            ///< of a multiprocessor: L1 and shared memory together
  std::int64_t shared_block_bytes = 0;  ///< most that one block may ask for
  int shared_multiprocessor_bytes = 0;  ///< of a multiprocessor
  int largest_cluster = 1;              ///< blocks; 16 where the driver grants the non-portable size
  double clock_hz = 0;                  ///< highest clock of the multiprocessors; 0 = not told
};

/// Why no device can be used here, one line with the remedy; "" when one can. Asked once; a device that is
/// lost to the process later stays so, with what lost it.
std::string why_unavailable();
/// The device all of gpu/ uses: the first that CUDA shows (CUDA_VISIBLE_DEVICES chooses).
/// Errors: DeviceError with why_unavailable().
const Device& device();
/// How a kernel was compiled for this device.
struct Compiled {
  int ptx_version = 0;  ///< 90: code for 9.0 and later, with clusters
  int registers = 0;    ///< of a thread
};
/// Errors: DeviceError.
Compiled compiled(const void* kernel);
/// Whether this program has the body of a kernel of wgmma. Built for sm_90 instead of sm_90a it is empty: the
/// quickest of all, and wrong. The real ones hold 64 sums a thread and more in registers.
inline bool has_wgmma(const void* kernel) {
  constexpr int kLeastRegisters = 96;
  return compiled(kernel).registers >= kLeastRegisters;
}
/// L1 (a multiprocessor's) and L2 of device(), its memory; `cores` are multiprocessors.
Hierarchy device_hierarchy();
/// Facts every kernel of gpu/ adds to its record: device, device_uuid, device_pci.
std::map<std::string, std::string> device_facts();

// ---- memory
// ------------------------------------------------------------------------------------------------
/// Errors of all: DeviceError; allocate says how much was asked and free when memory is short.
void* allocate(std::size_t bytes);
void release(void* memory) noexcept;
void copy_to_device(void* to, const void* from, std::size_t bytes);
void copy_to_host(void* to, const void* from, std::size_t bytes);
/// Device to device and zeroing, in the order of the stream; may be captured.
void copy_in_stream(cudaStream_t stream, void* to, const void* from, std::size_t bytes);
void zero_in_stream(cudaStream_t stream, void* at, std::size_t bytes);

/// `size` elements in device memory, uninitialised.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size)
      : data_(static_cast<T*>(size > 0 ? allocate(size * sizeof(T)) : nullptr)), size_(size) {}
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) { upload(values); }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer(std::move(other)).swap(*this);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) release(data_);
  }
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return size_ * sizeof(T); }
  /// Blocking; the device is idle behind them.
  void upload(const std::vector<T>& values) {
    if (values.size() != size_) throw std::invalid_argument("Buffer::upload: sizes differ");
    if (size_ > 0) copy_to_device(data_, values.data(), bytes());
  }
  std::vector<T> download() const {
    std::vector<T> values(size_);
    if (size_ > 0) copy_to_host(values.data(), data_, bytes());
    return values;
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

// ---- order
// -------------------------------------------------------------------------------------------------
/// Waits for everything; reports what asynchronous work met. What a Kernel::run ends with.
void synchronise();

/// Launches captured once, started as one.
class Graph {
 public:
  struct Implementation;
  Graph();
  explicit Graph(std::unique_ptr<Implementation> implementation);
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  ~Graph();
  void launch(cudaStream_t stream) const;
  explicit operator bool() const { return implementation_ != nullptr; }

 private:
  std::unique_ptr<Implementation> implementation_;
};

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t handle() const { return handle_; }
  void synchronise() const;
  /// From here on launches of this stream are kept, not run, until end_capture.
  void begin_capture();
  Graph end_capture();

 private:
  cudaStream_t handle_ = nullptr;
};

/// Seconds that the device needed for what `enqueue` puts into the stream (device time stamps; host time when
/// emulated).
template <typename Enqueue>
double device_seconds(const Stream& stream, Enqueue enqueue);

/// Two time stamps in a stream; see device_seconds.
class Stopwatch {
 public:
  struct Implementation;
  Stopwatch();
  ~Stopwatch();
  void start(cudaStream_t stream);
  void stop(cudaStream_t stream);
  double seconds();  ///< waits for stop

 private:
  std::unique_ptr<Implementation> implementation_;
};

template <typename Enqueue>
double device_seconds(const Stream& stream, Enqueue enqueue) {
  Stopwatch watch;
  watch.start(stream.handle());
  enqueue();
  watch.stop(stream.handle());
  return watch.seconds();
}

// ---- launches
// ----------------------------------------------------------------------------------------------
struct Launch {
  dim3 grid{1}, block{1};
  unsigned cluster = 1;  ///< blocks of a cluster, along x
  std::size_t shared_bytes = 0;
  bool cooperative = false;  ///< all blocks resident together: sync_grid may be used
  cudaStream_t stream = nullptr;
};

/// A row-major matrix for copy_tile: boxes of box_rows x (128 bytes of columns). Base aligned to 16 bytes,
/// row_bytes a multiple of 16, box_rows <= 256. Errors: DeviceError.
/// @param as_tf32 the copy rounds floats to tf32, to nearest, ties to even; infinities and NaN stay
TensorMap make_tensor_map(const void* base, int element_bytes, std::int64_t rows, std::int64_t columns,
                          std::int64_t row_bytes, int box_rows, bool as_tf32 = false);

#if defined(__CUDACC__)
/// Errors: DeviceError naming `doing`, the reason and the remedy.
void check(cudaError_t status, const char* doing);
/// Lets `kernel` use this much dynamic shared memory and large clusters. Cheap when it was done before.
void prepare_kernel(const void* kernel, const Launch& launch);
void launch_kernel(const void* kernel, const Launch& launch, void** arguments);
int resident_blocks_of(const void* kernel, int threads, std::size_t shared_bytes);
#else
/// The emulated runtime's part of check(): what a test wants to fail, fails here.
void emulated_call(const char* doing);
#endif

/// Puts kernel(arguments...) into launch.stream. Errors: DeviceError; what a running kernel meets shows at
/// the next synchronise().
template <typename... Parameters, typename... Arguments>
void launch(const Launch& shape, void (*kernel)(Parameters...), Arguments&&... arguments) {
  std::tuple<std::remove_cvref_t<Parameters>...> values(std::forward<Arguments>(arguments)...);
#if defined(__CUDACC__)
  std::apply(
      [&](auto&... each) {
        void* pointers[] = {const_cast<void*>(static_cast<const void*>(&each))..., nullptr};
        launch_kernel(reinterpret_cast<const void*>(kernel), shape, pointers);
      },
      values);
#else
  emulated_call("launching a kernel");
  const emulation::Shape emulated{shape.grid, shape.block, shape.cluster, shape.shared_bytes,
                                  shape.cooperative};
  const auto run = [=] { emulation::run(emulated, [&] { std::apply(kernel, values); }); };
  if (shape.stream != nullptr && shape.stream->capturing)
    shape.stream->captured.push_back(run);
  else
    run();
#endif
}

/// Blocks of `kernel` that fit a multiprocessor at once: what a cooperative launch may use, times
/// multiprocessors.
template <typename... Parameters>
int resident_blocks(void (*kernel)(Parameters...), int threads, std::size_t shared_bytes) {
#if defined(__CUDACC__)
  return resident_blocks_of(reinterpret_cast<const void*>(kernel), threads, shared_bytes);
#else
  (void)kernel, (void)threads, (void)shared_bytes;
  return emulation::settings().blocks_per_multiprocessor;
#endif
}

}  // namespace mlpwatt::gpu
