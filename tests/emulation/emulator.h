#pragma once
// A small GPU for tests: every CUDA thread is a fiber, a barrier is a switch to the next one. It runs kernels
// to prove their index arithmetic, masks, barriers and reductions, and says by exception what a device
// forbids:
//   - barriers that not all threads reach, or reach at different lines; lanes that meet in different
//   collectives;
//   - writes past a block's shared memory or a device buffer (guard bands), reads of shared memory nobody
//   wrote
//     (NaN), of copies nobody waited for (NaN until the wait);
//   - a missing barrier: threads run ahead of each other as far as barriers allow, in a seeded order
//     (settings().order); a kernel must give the same result in all of them (run_in_orders).
// Blocks of a cluster, and all blocks of a cooperative launch, are alive together; other blocks run one after
// another, in the same seeded order. One host thread: results are reproducible.

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace mlpwatt::emulation {

/// std::source_location, which clang has with libstdc++ from 16 on only.
class Where {
 public:
  static constexpr Where current(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    Where where;
    where.file_ = file;
    where.line_ = line;
    return where;
  }
  constexpr const char* file_name() const { return file_; }
  constexpr unsigned line() const { return line_; }

 private:
  const char* file_ = "";
  unsigned line_ = 0;
};

/// What the kernel did that no device allows, and where.
struct Violation : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr Dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr std::uint64_t count() const { return std::uint64_t{x} * y * z; }
};

/// The device that is emulated, and how.
struct Settings {
  unsigned order = 0;  ///< 0 = threads ascending, 1 = descending, else a shuffle seeded with it
  int capability = 90;
  int multiprocessors = 4;
  std::size_t shared_bytes_per_block = 227 << 10;
  int blocks_per_multiprocessor = 2;  ///< that a cooperative launch may count on
  bool usable = false;                ///< the harness takes it for a device that is there
};
Settings& settings();

/// What a thread knows of itself.
struct Thread {
  Dim3 thread, block, block_dim, grid_dim;
  unsigned rank = 0;  ///< in its block
  unsigned lane = 0, warp = 0;
};
extern thread_local Thread* here;  ///< nullptr outside of kernels

struct Shape {
  Dim3 grid, block;
  unsigned cluster = 1;  ///< blocks along x
  std::size_t shared_bytes = 0;
  bool cooperative = false;
};

/// Runs `body` as every thread of the grid. Errors: Violation.
void run(const Shape& shape, const std::function<void()>& body);

/// Calls `once` under several orders of threads, ascending and descending among them, and puts the setting
/// back.
void run_in_orders(const std::function<void(unsigned order)>& once, unsigned orders = 4);

/// Ends the launch: throws Violation, up to run()'s caller, with the thread's name before `what`.
[[noreturn]] void violation(const std::string& what);

// ---- what threads do together
// ------------------------------------------------------------------------------
void sync_block(Where where);
int sync_block_count(bool predicate, Where where);
/// bar.sync id, threads: the first `threads` to arrive at `id`, a multiple of 32.
void sync_named(int id, int threads, Where where);
void arrive_named(int id, int threads, Where where);
void sync_cluster(Where where);
void arrive_cluster(Where where);
void wait_cluster(Where where);
/// Of a cooperative launch.
void sync_grid(Where where);
/// Lets the others run: what every loop that waits for memory to change must call.
void spin(const char* name, Where where);

/// The last of the lanes in `mask` to arrive calls `finish(deposits, mask)` for all of them, deposits[l]
/// being what lane l passed as `mine`; then all go on.
void meet_warp(unsigned mask, void* mine, const char* name, Where where,
               void (*finish)(void* const* deposits, unsigned mask));
template <typename Finish>
void warp_collective(unsigned mask, void* mine, const char* name, Where where, Finish) {
  static_assert(std::is_empty_v<Finish>, "what a collective needs goes through its deposits");
  meet_warp(mask, mine, name, where, [](void* const* deposits, unsigned who) { Finish{}(deposits, who); });
}
/// The same for the 128 threads of a warpgroup.
void meet_warpgroup(void* mine, const char* name, Where where, void (*finish)(void* const* deposits));
template <typename Finish>
void warpgroup_collective(void* mine, const char* name, Where where, Finish) {
  static_assert(std::is_empty_v<Finish>);
  meet_warpgroup(mine, name, where, [](void* const* deposits) { Finish{}(deposits); });
}

// ---- shared memory
// -----------------------------------------------------------------------------------------
unsigned char* shared_memory();  ///< of this block, 1024-byte aligned, NaN until written
std::size_t shared_memory_bytes();
/// The object of this block that `key` names; the same for all its threads.
void* static_shared(const void* key, std::size_t bytes);
unsigned cluster_rank();
unsigned cluster_size();
/// The address in block `rank` of the cluster that `address` is here.
void* map_shared(const void* address, unsigned rank);

// ---- asynchronous copies
// -----------------------------------------------------------------------------------
/// Of `bytes`, the first `valid_bytes` from `from`, the rest zeros. The target is NaN until the wait.
void async_copy(void* to, const void* from, std::size_t bytes, std::size_t valid_bytes);
void async_commit();
void async_wait(int groups_in_flight);

// An mbarrier lies in shared memory; its state is kept by the emulator.
void mbarrier_init(std::uint64_t* barrier, unsigned arrivals);
void mbarrier_arrive(std::uint64_t* barrier, unsigned expect_bytes);
/// Waits until the phase of this parity has completed.
void mbarrier_wait(std::uint64_t* barrier, unsigned parity, Where where);
/// A copy that runs by itself: `perform` is called, and `bytes` are credited to the barrier, once somebody
/// waits at the barrier. Poison its target first.
void mbarrier_pending_copy(std::uint64_t* barrier, unsigned bytes, std::function<void()> perform);

/// Work that a warpgroup has issued and that completes at its wait (wgmma).
void warpgroup_issue(std::function<void()> perform);
void warpgroup_commit();
void warpgroup_wait(int groups_in_flight);

/// Bytes that read as NaN.
void poison(void* at, std::size_t bytes);
/// Fails the launch unless [address, address + bytes) lies in shared memory of this block's cluster.
void require_shared(const void* address, std::size_t bytes, const char* what);

// ---- device memory
// -----------------------------------------------------------------------------------------
void* device_allocate(std::size_t bytes);  ///< NaN until written, guard bands around it
void device_release(void* memory);
/// Errors: Violation naming the buffer whose guard band was written. Called by run() at its end.
void check_guards();
std::size_t device_bytes_in_use();

}  // namespace mlpwatt::emulation
