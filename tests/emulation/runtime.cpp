// gpu/runtime.h on the emulator: launches run at once, device memory is host memory between guard bands.

#include "gpu/runtime.h"

#include <chrono>
#include <cstring>

#include "tests/emulation/faults.h"

namespace mlpwatt::emulation {
Faults& faults() {
  static Faults the_faults;
  return the_faults;
}
}  // namespace mlpwatt::emulation

namespace mlpwatt::gpu {

void emulated_call(const char* doing) {
  std::optional<emulation::Fault>& fault = emulation::faults().fault;
  if (!fault) return;
  const bool lost = !why_lost().empty();
  if (lost || (fault->doing == doing && fault->after-- == 0)) fail(fault->status, doing);
}

std::string why_unavailable() {
  // Benchmarks are not timed on the emulator; tests make kernels themselves, or say that they know.
  static const std::string reason = "this program runs gpu/ on the tests' emulator only", none;
  if (const std::string lost = why_lost(); !lost.empty()) return lost;
  return emulation::settings().usable ? none : reason;
}

const Device& device() {
  if (const std::string lost = why_lost(); !lost.empty()) throw DeviceError(lost);
  static Device device;
  const emulation::Settings& settings = emulation::settings();
  device.name = "emulated";
  device.uuid = "GPU-00000000-0000-0000-0000-000000000000";
  device.pci = "0000:00:00.0";
  device.capability = settings.capability;
  device.multiprocessors = settings.multiprocessors;
  device.memory_bytes = emulation::faults().memory_bytes;
  device.l2_bytes = 1 << 20;
  device.l1_bytes = 256 << 10;
  device.shared_block_bytes = static_cast<std::int64_t>(settings.shared_bytes_per_block);
  device.shared_multiprocessor_bytes = static_cast<int>(settings.shared_bytes_per_block + 1024);
  device.largest_cluster = settings.capability >= 90 ? 16 : 1;
  return device;
}

Compiled compiled(const void*) { return {emulation::settings().capability, 255}; }

void* allocate(std::size_t bytes) {
  const auto all = static_cast<std::size_t>(device().memory_bytes), used = emulation::device_bytes_in_use();
  const std::size_t free = all > used ? all - used : 0;
  if (bytes > free) fail_for_memory(bytes, free, all);
  emulated_call("allocating device memory");
  return emulation::device_allocate(bytes);
}
void release(void* memory) noexcept { emulation::device_release(memory); }
void copy_to_device(void* to, const void* from, std::size_t bytes) {
  emulated_call("copying to the device");
  std::memcpy(to, from, bytes);
}
void copy_to_host(void* to, const void* from, std::size_t bytes) {
  synchronise();
  emulated_call("copying from the device");
  std::memcpy(to, from, bytes);
}

namespace {
void enqueue(cudaStream_t stream, std::function<void()> work) {
  if (stream != nullptr && stream->capturing)
    stream->captured.push_back(std::move(work));
  else
    work();
}
}  // namespace

void copy_in_stream(cudaStream_t stream, void* to, const void* from, std::size_t bytes) {
  enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}
void zero_in_stream(cudaStream_t stream, void* at, std::size_t bytes) {
  enqueue(stream, [=] { std::memset(at, 0, bytes); });
}
void synchronise() {
  emulated_call("waiting for the device");
  emulation::check_guards();
}

struct Graph::Implementation {
  std::vector<std::function<void()>> launches;
};
Graph::Graph() = default;
Graph::Graph(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;
void Graph::launch(cudaStream_t stream) const {
  emulated_call("starting a captured graph");
  for (const auto& work : implementation_->launches) enqueue(stream, work);
}

Stream::Stream() {
  device();
  handle_ = new EmulatedStream;
}
Stream::~Stream() { delete handle_; }
void Stream::synchronise() const { emulated_call("waiting for a stream"); }
void Stream::begin_capture() {
  handle_->capturing = true;
  handle_->captured.clear();
}
Graph Stream::end_capture() {
  handle_->capturing = false;
  auto implementation = std::make_unique<Graph::Implementation>();
  implementation->launches = std::move(handle_->captured);
  handle_->captured.clear();
  return Graph(std::move(implementation));
}

struct Stopwatch::Implementation {
  std::chrono::steady_clock::time_point start, stop;
};
Stopwatch::Stopwatch() : implementation_(std::make_unique<Implementation>()) {}
Stopwatch::~Stopwatch() = default;
void Stopwatch::start(cudaStream_t) { implementation_->start = std::chrono::steady_clock::now(); }
void Stopwatch::stop(cudaStream_t) { implementation_->stop = std::chrono::steady_clock::now(); }
double Stopwatch::seconds() {
  return std::chrono::duration<double>(implementation_->stop - implementation_->start).count();
}

TensorMap make_tensor_map(const void* base, int element_bytes, std::int64_t rows, std::int64_t columns,
                          std::int64_t row_bytes, int box_rows, bool as_tf32) {
  if (reinterpret_cast<std::uintptr_t>(base) % 16 != 0 || row_bytes % 16 != 0 || box_rows > 256)
    throw DeviceError(
        "a tensor map whose base or rows are not aligned to 16 bytes, or boxes of more than 256 rows");
  TensorMap map;
  map.base = static_cast<const unsigned char*>(base);
  map.rows = rows;
  map.columns = columns;
  map.row_bytes = row_bytes;
  map.element_bytes = element_bytes;
  map.box_rows = box_rows;
  map.box_columns = 128 / element_bytes;
  map.as_tf32 = as_tf32;
  return map;
}

}  // namespace mlpwatt::gpu
