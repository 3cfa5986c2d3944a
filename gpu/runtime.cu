#include "gpu/runtime.h"

#include <cstdio>
#include <mutex>
#include <unordered_map>

namespace mlpwatt::gpu {
namespace {

#define MLPWATT_ASSERT_NUMBER(name, number) static_assert(cudaError##name == number);
MLPWATT_CUDA_ERRORS(MLPWATT_ASSERT_NUMBER)
#undef MLPWATT_ASSERT_NUMBER
static_assert(cudaSuccess == static_cast<int>(kCudaSuccess));

/// Also clears the error of the calling thread, which CUDA would report once more at the next launch.
CudaStatus status_of(cudaError_t error) {
  if (error == cudaSuccess) return {};
  cudaGetLastError();
  return {error, cudaGetErrorName(error), cudaGetErrorString(error)};
}

Presence find_device() {
  Presence found;
  found.needed = CUDART_VERSION;
  found.counted = status_of(cudaGetDeviceCount(&found.devices));
  cudaDriverGetVersion(&found.driver);
  if (found.counted.error != kCudaSuccess || found.devices == 0) return found;
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, 0) == cudaSuccess) {
    found.name = properties.name;
    found.capability_major = properties.major;
  }
  found.opened = status_of(cudaFree(nullptr));  // makes the context
  return found;
}

Device query() {
  cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, 0), "asking for the device's properties");
  Device d;
  d.name = p.name;
  const unsigned char* u = reinterpret_cast<const unsigned char*>(p.uuid.bytes);
  char text[64];
  std::snprintf(text, sizeof text, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
                u[15]);
  d.uuid = text;
  std::snprintf(text, sizeof text, "%04x:%02x:%02x.0", p.pciDomainID, p.pciBusID, p.pciDeviceID);
  d.pci = text;
  d.capability = p.major * 10 + p.minor;
  d.multiprocessors = p.multiProcessorCount;
  d.memory_bytes = static_cast<std::int64_t>(p.totalGlobalMem);
  d.l2_bytes = p.l2CacheSize;
  d.shared_block_bytes = static_cast<std::int64_t>(p.sharedMemPerBlockOptin);
  d.shared_multiprocessor_bytes = static_cast<int>(p.sharedMemPerMultiprocessor);
  // CUDA tells how much of it shared memory can be; NVIDIA's tuning guides how much it is: 256 KiB where that
  // is 228 (9.0, 10.0), 192 where it is 164 (8.0, 8.7), 128 where it is 100 (8.6, 8.9, 12.0).
  d.l1_bytes = d.shared_multiprocessor_bytes > 200 << 10   ? 256 << 10
               : d.shared_multiprocessor_bytes > 150 << 10 ? 192 << 10
                                                           : 128 << 10;
  d.largest_cluster = d.capability >= 90 ? 16 : 1;
  int khz = 0;
  if (cudaDeviceGetAttribute(&khz, cudaDevAttrClockRate, 0) == cudaSuccess) d.clock_hz = 1e3 * khz;
  return d;
}

// The driver's tensor-map encoder, without linking the driver.
using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                 const cuuint64_t*, const cuuint32_t*, const cuuint32_t*,
                                 CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                                 CUtensorMapFloatOOBfill);
EncodeTiled encoder() {
  static const EncodeTiled found = [] {
    void* address = nullptr;
    cudaDriverEntryPointQueryResult result{};
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &address, 12000, cudaEnableDefault,
                                           &result),
          "looking up the driver's tensor map encoder");
    if (result != cudaDriverEntryPointSuccess || address == nullptr)
      throw DeviceError("the NVIDIA driver has no tensor maps: install one for CUDA 12.0 or newer");
    return reinterpret_cast<EncodeTiled>(address);
  }();
  return found;
}

}  // namespace

void check(cudaError_t status, const char* doing) {
  if (status != cudaSuccess) fail(status_of(status), doing);
}

std::string why_unavailable() {
  static const std::string absent = why_absent(find_device());
  const std::string lost = why_lost();
  return lost.empty() ? absent : lost;
}

const Device& device() {
  if (const std::string reason = why_unavailable(); !reason.empty()) throw DeviceError(reason);
  static const Device found = query();
  return found;
}

void* allocate(std::size_t bytes) {
  device();
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status_of(status).error == kCudaMemoryAllocation) {
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    fail_for_memory(bytes, free, total);
  }
  check(status, "allocating device memory");
  return memory;
}

void release(void* memory) noexcept { cudaFree(memory); }

void copy_to_device(void* to, const void* from, std::size_t bytes) {
  check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copying to the device");
  synchronise();
}

void copy_to_host(void* to, const void* from, std::size_t bytes) {
  synchronise();  // streams of ours do not wait for the default stream
  check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "copying from the device");
}

void copy_in_stream(cudaStream_t stream, void* to, const void* from, std::size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "copying on the device");
}

void zero_in_stream(cudaStream_t stream, void* at, std::size_t bytes) {
  check(cudaMemsetAsync(at, 0, bytes, stream), "zeroing device memory");
}

void synchronise() { check(cudaDeviceSynchronize(), "waiting for the device"); }

struct Graph::Implementation {
  cudaGraphExec_t executable = nullptr;
  ~Implementation() {
    if (executable != nullptr) cudaGraphExecDestroy(executable);
  }
};
Graph::Graph() = default;
Graph::Graph(std::unique_ptr<Implementation> implementation) : implementation_(std::move(implementation)) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;
void Graph::launch(cudaStream_t stream) const {
  check(cudaGraphLaunch(implementation_->executable, stream), "starting a captured graph");
}

Stream::Stream() {
  device();
  check(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking), "making a stream");
}
Stream::~Stream() {
  if (handle_ != nullptr) cudaStreamDestroy(handle_);
}
void Stream::synchronise() const { check(cudaStreamSynchronize(handle_), "waiting for a stream"); }
void Stream::begin_capture() {
  check(cudaStreamBeginCapture(handle_, cudaStreamCaptureModeThreadLocal), "beginning to capture a graph");
}
Graph Stream::end_capture() {
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(handle_, &graph), "capturing a graph");
  auto implementation = std::make_unique<Graph::Implementation>();
  const cudaError_t status = cudaGraphInstantiate(&implementation->executable, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "instantiating a graph");
  return Graph(std::move(implementation));
}

struct Stopwatch::Implementation {
  cudaEvent_t start = nullptr, stop = nullptr;
  ~Implementation() {
    if (start != nullptr) cudaEventDestroy(start);
    if (stop != nullptr) cudaEventDestroy(stop);
  }
};
Stopwatch::Stopwatch() : implementation_(std::make_unique<Implementation>()) {
  check(cudaEventCreate(&implementation_->start), "making an event");
  check(cudaEventCreate(&implementation_->stop), "making an event");
}
Stopwatch::~Stopwatch() = default;
void Stopwatch::start(cudaStream_t stream) {
  check(cudaEventRecord(implementation_->start, stream), "recording an event");
}
void Stopwatch::stop(cudaStream_t stream) {
  check(cudaEventRecord(implementation_->stop, stream), "recording an event");
}
double Stopwatch::seconds() {
  check(cudaEventSynchronize(implementation_->stop), "waiting for an event");
  float ms = 0;
  check(cudaEventElapsedTime(&ms, implementation_->start, implementation_->stop), "reading an event");
  return ms * 1e-3;
}

TensorMap make_tensor_map(const void* base, int element_bytes, std::int64_t rows, std::int64_t columns,
                          std::int64_t row_bytes, int box_rows, bool as_tf32) {
  TensorMap result;
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(row_bytes)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(128 / element_bytes), static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUtensorMapDataType type = element_bytes == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                   : as_tf32          ? CU_TENSOR_MAP_DATA_TYPE_TFLOAT32
                                                      : CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  const CUresult status = encoder()(&result.map, type, 2, const_cast<void*>(base), sizes, strides, box, steps,
                                    CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                    CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw DeviceError("the driver refuses a tensor map of " + std::to_string(rows) + " x " +
                      std::to_string(columns) + " (CUresult " + std::to_string(status) +
                      "): base and rows must be aligned to 16 bytes");
  return result;
}

void prepare_kernel(const void* kernel, const Launch& launch) {
  static std::mutex guard;
  static std::unordered_map<const void*, std::pair<std::size_t, unsigned>> prepared;
  const std::lock_guard lock(guard);
  auto& [bytes, cluster] = prepared[kernel];
  if (launch.shared_bytes > bytes && launch.shared_bytes > 48 << 10) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(launch.shared_bytes)),
          "asking for shared memory");
    bytes = launch.shared_bytes;
  }
  if (launch.cluster > cluster && launch.cluster > 8) {
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
          "asking for clusters of more than 8 blocks");
    cluster = launch.cluster;
  }
}

void launch_kernel(const void* kernel, const Launch& launch, void** arguments) {
  prepare_kernel(kernel, launch);
  cudaLaunchConfig_t config{};
  config.gridDim = launch.grid;
  config.blockDim = launch.block;
  config.dynamicSmemBytes = launch.shared_bytes;
  config.stream = launch.stream;
  cudaLaunchAttribute attributes[3];
  unsigned count = 0;
  if (launch.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = launch.cluster;
    attributes[count].val.clusterDim.y = 1;
    attributes[count].val.clusterDim.z = 1;
    ++count;
    // a multiprocessor each: two small blocks on one would share its units and leave another idle
    attributes[count].id = cudaLaunchAttributeClusterSchedulingPolicyPreference;
    attributes[count].val.clusterSchedulingPolicyPreference = cudaClusterSchedulingPolicySpread;
    ++count;
  }
  if (launch.cooperative) {
    attributes[count].id = cudaLaunchAttributeCooperative;
    attributes[count].val.cooperative = 1;
    ++count;
  }
  config.attrs = attributes;
  config.numAttrs = count;
  check(cudaLaunchKernelExC(&config, kernel, arguments), "launching a kernel");
}

Compiled compiled(const void* kernel) {
  cudaFuncAttributes attributes{};
  check(cudaFuncGetAttributes(&attributes, kernel), "asking for a kernel's attributes");
  return {attributes.ptxVersion, attributes.numRegs};
}

int resident_blocks_of(const void* kernel, int threads, std::size_t shared_bytes) {
  Launch shape;
  shape.shared_bytes = shared_bytes;
  prepare_kernel(kernel, shape);
  int blocks = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared_bytes),
        "asking how many blocks fit a multiprocessor");
  return blocks;
}

}  // namespace mlpwatt::gpu
