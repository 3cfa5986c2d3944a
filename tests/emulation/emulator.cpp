#include "tests/emulation/emulator.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <unordered_map>
#include <vector>

#include "tests/emulation/fiber.h"

namespace mlpwatt::emulation {
namespace {

constexpr std::size_t kGuardBytes = 1024;
constexpr unsigned char kGuardByte = 0xa5;
constexpr int kIdleTurnsUntilDeadlock = 20'000;  // of threads that only spin

/// Threads wait until `generation` moves on.
struct Meeting {
  std::uint64_t generation = 0;
  unsigned arrived = 0;
  unsigned predicates = 0, last_predicates = 0;
  const char* name = "";
  Where where{};
};

struct Collective {
  unsigned mask = 0, arrived = 0;
  std::uint64_t generation = 0;
  const char* name = "";
  Where where{};
  void* deposits[32] = {};
};

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes, valid_bytes;
};

struct MBarrier {
  unsigned arrivals = 0;     // of a phase
  unsigned outstanding = 0;  // of this phase
  std::int64_t bytes = 0;    // expected and not yet arrived
  std::uint64_t phase = 0;
  struct Pending {
    unsigned bytes;
    std::function<void()> perform;
  };
  std::deque<Pending> copies;
};

struct Warp {
  std::deque<Collective> collectives;  // one for each mask seen
};

struct Warpgroup {
  Meeting meeting;
  void* deposits[128] = {};
  std::vector<std::function<void()>> issued;
  std::deque<std::vector<std::function<void()>>> groups;
};

struct Block;

struct State : Thread {
  Fiber* fiber = nullptr;
  Block* owner = nullptr;
  bool done = false;
  const std::uint64_t* watched = nullptr;  // waits while *watched == seen
  std::uint64_t seen = 0;
  bool spinning = false;
  const char* waits_at = "";
  Where where{};
  std::uint64_t cluster_generation = 0;
  std::vector<Copy> copies;
  std::deque<std::vector<Copy>> copy_groups;
  bool ready() const { return !done && (watched == nullptr || *watched != seen); }
};

struct Cluster {
  std::vector<Block*> blocks;
  Meeting meeting;
};

struct Block {
  Dim3 index;
  unsigned rank = 0;  // in the cluster
  Cluster* cluster = nullptr;
  std::unique_ptr<unsigned char, void (*)(void*)> storage{nullptr, std::free};
  unsigned char* shared = nullptr;
  std::size_t shared_bytes = 0;
  std::map<const void*, std::vector<unsigned char>> statics;
  std::vector<State> threads;
  std::vector<Warp> warps;
  std::vector<Warpgroup> warpgroups;
  Meeting meeting;
  std::map<int, Meeting> named;
};

struct Launch {
  const Shape& shape;
  const std::function<void()>& body;
  std::string error;
  Meeting grid;
  std::uint64_t blocks_alive = 0;
  std::unordered_map<const void*, MBarrier> mbarriers;
};

thread_local Launch* launch = nullptr;

State& me() { return *static_cast<State*>(here); }

std::string at(const Where& where) {
  std::string file = where.file_name();
  return file.substr(file.find_last_of('/') + 1) + ":" + std::to_string(where.line());
}

std::string name_of(const State& thread) {
  const auto triple = [](const Dim3& d) {
    return std::to_string(d.x) + (d.y + d.z > 0 ? "," + std::to_string(d.y) + "," + std::to_string(d.z) : "");
  };
  return "thread " + triple(thread.thread) + " of block " + triple(thread.block);
}

/// Fibers are kept: making a stack costs more than running on it.
std::vector<std::unique_ptr<Fiber>>& fiber_pool() {
  static thread_local std::vector<std::unique_ptr<Fiber>> pool;
  return pool;
}

void wait_while_unchanged(const std::uint64_t& generation, std::uint64_t seen, const char* name,
                          Where where) {
  State& thread = me();
  thread.watched = &generation;
  thread.seen = seen;
  thread.waits_at = name;
  thread.where = where;
  while (generation == seen) thread.fiber->leave();
  thread.watched = nullptr;
}

/// The last of `expected` to arrive lets all go on.
void meet(Meeting& meeting, unsigned expected, const char* name, Where where, bool same_line,
          bool wait = true) {
  if (meeting.arrived == 0) {
    meeting.name = name;
    meeting.where = where;
  } else if (same_line && (meeting.where.line() != where.line() ||
                           std::strcmp(meeting.where.file_name(), where.file_name()) != 0)) {
    violation("divergent barrier: " + name_of(me()) + " is at " + at(where) + " while others are at " +
              at(meeting.where));
  }
  const std::uint64_t seen = meeting.generation;
  if (++meeting.arrived == expected) {
    meeting.arrived = 0;
    meeting.last_predicates = meeting.predicates;
    meeting.predicates = 0;
    ++meeting.generation;
    return;
  }
  if (wait) wait_while_unchanged(meeting.generation, seen, name, where);
}

void entry(void* argument) {
  State* thread = static_cast<State*>(argument);
  try {  // unwinding ends here: below lies a stack without a caller
    launch->body();
  } catch (const std::exception& error) {
    launch->error = error.what();
  }
  thread->done = true;
  for (;;) thread->fiber->leave();
}

Dim3 unflatten(std::uint64_t i, const Dim3& d) {
  return {static_cast<unsigned>(i % d.x), static_cast<unsigned>(i / d.x % d.y),
          static_cast<unsigned>(i / d.x / d.y)};
}

std::unique_ptr<Block> make_block(const Shape& shape, std::uint64_t number) {
  auto block = std::make_unique<Block>();
  block->index = unflatten(number, shape.grid);
  block->shared_bytes = shape.shared_bytes;
  const std::size_t bytes = (shape.shared_bytes + 2 * kGuardBytes + 1023) / 1024 * 1024;
  block->storage.reset(static_cast<unsigned char*>(std::aligned_alloc(1024, bytes)));
  block->shared = block->storage.get() + kGuardBytes;
  std::memset(block->storage.get(), kGuardByte, bytes);
  poison(block->shared, shape.shared_bytes);
  const unsigned threads = static_cast<unsigned>(shape.block.count());
  block->threads.resize(threads);
  block->warps.resize((threads + 31) / 32);
  block->warpgroups.resize((threads + 127) / 128);
  for (unsigned t = 0; t < threads; ++t) {
    State& thread = block->threads[t];
    thread.thread = unflatten(t, shape.block);
    thread.block = block->index;
    thread.block_dim = shape.block;
    thread.grid_dim = shape.grid;
    thread.rank = t;
    thread.lane = t % 32;
    thread.warp = t / 32;
    thread.owner = block.get();
  }
  return block;
}

void check_shared_guards(const Block& block) {
  const auto intact = [](const unsigned char* band) {
    return std::all_of(band, band + kGuardBytes, [](unsigned char c) { return c == kGuardByte; });
  };
  if (!intact(block.shared - kGuardBytes) || !intact(block.shared + block.shared_bytes))
    throw Violation("a thread wrote outside the block's " + std::to_string(block.shared_bytes) +
                    " bytes of shared memory");
}

std::string describe_deadlock(const std::vector<State*>& threads) {
  std::map<std::string, std::pair<int, const State*>> groups;
  int done = 0;
  for (const State* thread : threads)
    if (thread->done) {
      ++done;
    } else {
      auto& group = groups[std::string(thread->waits_at) + " (" + at(thread->where) + ")"];
      ++group.first;
      if (group.second == nullptr) group.second = thread;
    }
  std::string text = "deadlock:";
  for (const auto& [where, group] : groups)
    text += " " + std::to_string(group.first) + " threads (one: " + name_of(*group.second) + ") wait at " +
            where + ";";
  return text + " " + std::to_string(done) + " threads have left the kernel";
}

/// Runs these blocks' threads to their ends. A warp runs as far as it can before the next one gets a turn.
void run_blocks(const std::vector<std::unique_ptr<Block>>& blocks, std::mt19937& random) {
  std::vector<std::vector<State*>> warps;
  std::vector<State*> all;
  std::size_t fibers = 0;
  for (const auto& block : blocks)
    for (State& thread : block->threads) {
      auto& pool = fiber_pool();
      if (fibers == pool.size()) pool.push_back(std::make_unique<Fiber>());
      thread.fiber = pool[fibers++].get();
      thread.fiber->prepare(entry, &thread);
      if (thread.lane == 0) warps.emplace_back();
      warps.back().push_back(&thread);
      all.push_back(&thread);
    }
  const unsigned order = settings().order;
  const auto arrange = [&](auto& items) {
    if (order == 1) std::reverse(items.begin(), items.end());
    if (order > 1) std::shuffle(items.begin(), items.end(), random);
  };
  for (auto& warp : warps) arrange(warp);
  arrange(warps);
  int idle_turns = 0;
  for (std::size_t done = 0; done < all.size();) {
    bool progress = false, spun = false;
    for (const auto& warp : warps) {
      for (bool again = true; again;) {
        again = false;
        for (State* thread : warp) {
          if (!thread->ready()) continue;
          const bool was_spinning = thread->spinning;
          thread->spinning = false;
          here = thread;
          thread->fiber->enter();
          here = nullptr;
          if (!launch->error.empty()) throw Violation(launch->error);
          if (thread->done) ++done;
          if (thread->spinning) {
            spun = true;  // its next look must wait until the others had a turn
            if (!was_spinning) progress = true;
          } else {
            again = progress = true;
          }
        }
      }
    }
    if (progress) idle_turns = 0;
    if (!progress && done < all.size() && (!spun || ++idle_turns > kIdleTurnsUntilDeadlock))
      throw Violation(describe_deadlock(all));
  }
  for (const auto& block : blocks) check_shared_guards(*block);
}

struct Allocation {
  std::size_t bytes;
};
std::map<unsigned char*, Allocation>& allocations() {
  static std::map<unsigned char*, Allocation> all;
  return all;
}

}  // namespace

thread_local Thread* here = nullptr;

Settings& settings() {
  static Settings settings;
  return settings;
}

void violation(const std::string& what) {
  throw Violation(here == nullptr ? what : name_of(me()) + ": " + what);
}

void run(const Shape& shape, const std::function<void()>& body) {
  if (here != nullptr) throw Violation("a kernel launches a kernel");
  const std::uint64_t blocks = shape.grid.count();
  if (blocks == 0 || shape.block.count() == 0 || shape.block.count() > 1024)
    throw Violation("a launch of " + std::to_string(blocks) + " blocks of " +
                    std::to_string(shape.block.count()) + " threads");
  if (shape.grid.y > 65535 || shape.grid.z > 65535) throw Violation("grid.y or grid.z exceeds 65535");
  if (shape.cluster < 1 || shape.cluster > 16 || shape.grid.x % shape.cluster != 0)
    throw Violation("clusters of " + std::to_string(shape.cluster) + " blocks do not divide the grid");
  if (shape.shared_bytes > settings().shared_bytes_per_block)
    throw Violation("a launch asks for " + std::to_string(shape.shared_bytes) + " bytes of shared memory");
  if (shape.cooperative && blocks > static_cast<std::uint64_t>(settings().multiprocessors) *
                                        static_cast<std::uint64_t>(settings().blocks_per_multiprocessor))
    throw Violation("a cooperative launch of more blocks than fit the device");
  Launch current{shape, body, {}, {}, 0, {}};
  struct Scope {
    ~Scope() { launch = nullptr, here = nullptr; }
  } scope;
  launch = &current;
  std::mt19937 random(settings().order);
  const std::uint64_t together = shape.cooperative ? blocks : shape.cluster;
  std::vector<std::uint64_t> batches(blocks / together);
  std::iota(batches.begin(), batches.end(), 0);
  if (settings().order == 1) std::reverse(batches.begin(), batches.end());
  if (settings().order > 1) std::shuffle(batches.begin(), batches.end(), random);
  for (const std::uint64_t batch : batches) {
    std::vector<std::unique_ptr<Block>> alive;
    std::vector<std::unique_ptr<Cluster>> clusters;
    for (std::uint64_t b = 0; b < together; ++b) {
      alive.push_back(make_block(shape, batch * together + b));
      if (b % shape.cluster == 0) clusters.push_back(std::make_unique<Cluster>());
      alive.back()->rank = static_cast<unsigned>(b % shape.cluster);
      alive.back()->cluster = clusters.back().get();
      clusters.back()->blocks.push_back(alive.back().get());
    }
    current.mbarriers.clear();
    current.blocks_alive = together;
    run_blocks(alive, random);
  }
  check_guards();
}

void run_in_orders(const std::function<void(unsigned order)>& once, unsigned orders) {
  struct Restore {
    unsigned order = settings().order;
    ~Restore() { settings().order = order; }
  } restore;
  for (unsigned order = 0; order < orders; ++order) {
    settings().order = order;
    once(order);
  }
}

// ---- meetings
// ----------------------------------------------------------------------------------------------

void sync_block(Where where) {
  Block& block = *me().owner;
  meet(block.meeting, static_cast<unsigned>(block.threads.size()), "the block barrier", where, true);
}

int sync_block_count(bool predicate, Where where) {
  Block& block = *me().owner;
  block.meeting.predicates += predicate;
  meet(block.meeting, static_cast<unsigned>(block.threads.size()), "the block barrier", where, true);
  return static_cast<int>(block.meeting.last_predicates);
}

void sync_named(int id, int threads, Where where) {
  if (threads % 32 != 0) violation("a named barrier of " + std::to_string(threads) + " threads");
  meet(me().owner->named[id], static_cast<unsigned>(threads), "a named barrier", where, false);
}

void arrive_named(int id, int threads, Where where) {
  if (threads % 32 != 0) violation("a named barrier of " + std::to_string(threads) + " threads");
  meet(me().owner->named[id], static_cast<unsigned>(threads), "a named barrier", where, false, false);
}

namespace {
unsigned cluster_threads(const Cluster& cluster) {
  unsigned threads = 0;
  for (const Block* block : cluster.blocks) threads += static_cast<unsigned>(block->threads.size());
  return threads;
}
}  // namespace

void arrive_cluster(Where where) {
  Cluster& cluster = *me().owner->cluster;
  me().cluster_generation = cluster.meeting.generation;
  meet(cluster.meeting, cluster_threads(cluster), "the cluster barrier", where, false, false);
}

void wait_cluster(Where where) {
  Cluster& cluster = *me().owner->cluster;
  if (cluster.meeting.generation == me().cluster_generation)
    wait_while_unchanged(cluster.meeting.generation, me().cluster_generation, "the cluster barrier", where);
}

void sync_cluster(Where where) {
  Cluster& cluster = *me().owner->cluster;
  meet(cluster.meeting, cluster_threads(cluster), "the cluster barrier", where, true);
}

void sync_grid(Where where) {
  if (!launch->shape.cooperative) violation("a grid barrier in a launch that is not cooperative");
  meet(launch->grid, static_cast<unsigned>(launch->shape.grid.count() * launch->shape.block.count()),
       "the grid barrier", where, true);
}

void spin(const char* name, Where where) {
  me().spinning = true;
  me().waits_at = name;
  me().where = where;
  me().fiber->leave();
}

void meet_warp(unsigned mask, void* mine, const char* name, Where where,
               void (*finish)(void* const* deposits, unsigned mask)) {
  State& thread = me();
  const unsigned bit = 1u << thread.lane;
  if (!(mask & bit)) violation(std::string(name) + " with a mask that leaves out the calling lane");
  Warp& warp = thread.owner->warps[thread.warp];
  auto found = std::find_if(warp.collectives.begin(), warp.collectives.end(),
                            [&](const Collective& c) { return c.mask == mask; });
  for (const Collective& other : warp.collectives)
    if (other.mask != mask && (other.arrived & mask) != 0 && (other.mask & bit) != 0)
      violation(std::string(name) + " at " + at(where) + " with another mask than lanes waiting at " +
                at(other.where));
  if (found == warp.collectives.end()) {
    warp.collectives.push_back({mask});
    found = std::prev(warp.collectives.end());
  }
  Collective& collective = *found;
  if (collective.arrived == 0) {
    collective.name = name;
    collective.where = where;
  } else if (std::strcmp(collective.name, name) != 0 || collective.where.line() != where.line()) {
    violation(std::string("lanes of a warp meet in different collectives: ") + name + " at " + at(where) +
              ", " + collective.name + " at " + at(collective.where));
  }
  collective.deposits[thread.lane] = mine;
  collective.arrived |= bit;
  const std::uint64_t seen = collective.generation;
  if (collective.arrived == mask) {
    collective.arrived = 0;
    ++collective.generation;
    finish(collective.deposits, mask);
    return;
  }
  wait_while_unchanged(collective.generation, seen, name, where);
}

void meet_warpgroup(void* mine, const char* name, Where where, void (*finish)(void* const* deposits)) {
  State& thread = me();
  Block& block = *thread.owner;
  if (block.threads.size() < (thread.rank / 128 + 1) * 128)
    violation(std::string(name) + " in a warpgroup of less than 128 threads");
  Warpgroup& group = block.warpgroups[thread.rank / 128];
  Meeting& meeting = group.meeting;
  if (meeting.arrived == 0) {
    meeting.name = name;
    meeting.where = where;
  } else if (std::strcmp(meeting.name, name) != 0 || meeting.where.line() != where.line()) {
    violation(std::string("threads of a warpgroup meet in different operations: ") + name + " at " +
              at(where) + ", " + meeting.name + " at " + at(meeting.where));
  }
  group.deposits[thread.rank % 128] = mine;
  const std::uint64_t seen = meeting.generation;
  if (++meeting.arrived == 128) {
    meeting.arrived = 0;
    ++meeting.generation;
    finish(group.deposits);
    return;
  }
  wait_while_unchanged(meeting.generation, seen, name, where);
}

// ---- shared memory
// -----------------------------------------------------------------------------------------

unsigned char* shared_memory() { return me().owner->shared; }
std::size_t shared_memory_bytes() { return me().owner->shared_bytes; }

void* static_shared(const void* key, std::size_t bytes) {
  auto& storage = me().owner->statics[key];
  if (storage.empty()) {
    storage.resize(bytes + 128);
    poison(storage.data(), storage.size());
  }
  return reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(storage.data()) + 127) / 128 * 128);
}

unsigned cluster_rank() { return me().owner->rank; }
unsigned cluster_size() { return static_cast<unsigned>(me().owner->cluster->blocks.size()); }

void* map_shared(const void* address, unsigned rank) {
  const Block& mine = *me().owner;
  if (rank >= mine.cluster->blocks.size())
    violation("block " + std::to_string(rank) + " is not in the cluster");
  const std::ptrdiff_t offset = static_cast<const unsigned char*>(address) - mine.shared;
  if (offset < 0 || offset >= static_cast<std::ptrdiff_t>(mine.shared_bytes))
    violation("an address outside of shared memory is mapped to another block");
  Block& other = *mine.cluster->blocks[rank];
  for (const State& thread : other.threads)
    if (!thread.done) return other.shared + offset;
  violation("shared memory of a block that has left the kernel is mapped");
  return nullptr;
}

void require_shared(const void* address, std::size_t bytes, const char* what) {
  for (const Block* block : me().owner->cluster->blocks) {
    const std::ptrdiff_t offset = static_cast<const unsigned char*>(address) - block->shared;
    if (offset >= 0 && offset + bytes <= block->shared_bytes) return;
  }
  violation(std::string(what) + ": not in shared memory");
}

// ---- asynchronous copies
// -----------------------------------------------------------------------------------

namespace {
void perform(const Copy& copy) {
  if (copy.valid_bytes > 0) std::memcpy(copy.to, copy.from, copy.valid_bytes);
  std::memset(static_cast<unsigned char*>(copy.to) + copy.valid_bytes, 0, copy.bytes - copy.valid_bytes);
}
void complete_phases(MBarrier& barrier) {
  if (barrier.outstanding == 0 && barrier.bytes == 0) {
    ++barrier.phase;
    barrier.outstanding = barrier.arrivals;
  }
}
MBarrier& find(std::uint64_t* barrier) {
  const auto found = launch->mbarriers.find(barrier);
  if (found == launch->mbarriers.end()) violation("an mbarrier that nobody initialised");
  return found->second;
}
}  // namespace

void async_copy(void* to, const void* from, std::size_t bytes, std::size_t valid_bytes) {
  require_shared(to, bytes, "the target of an asynchronous copy");
  if (reinterpret_cast<std::uintptr_t>(to) % bytes != 0 ||
      (valid_bytes > 0 && reinterpret_cast<std::uintptr_t>(from) % bytes != 0))
    violation("an asynchronous copy of " + std::to_string(bytes) + " bytes that is not aligned to its size");
  poison(to, bytes);
  me().copies.push_back({to, from, bytes, valid_bytes});
}

void async_commit() {
  me().copy_groups.push_back(std::move(me().copies));
  me().copies.clear();
}

void async_wait(int groups_in_flight) {
  auto& groups = me().copy_groups;
  while (groups.size() > static_cast<std::size_t>(groups_in_flight)) {
    for (const Copy& copy : groups.front()) perform(copy);
    groups.pop_front();
  }
}

void mbarrier_init(std::uint64_t* barrier, unsigned arrivals) {
  require_shared(barrier, 8, "an mbarrier");
  MBarrier fresh;
  fresh.arrivals = fresh.outstanding = arrivals;
  launch->mbarriers[barrier] = std::move(fresh);
}

void mbarrier_arrive(std::uint64_t* address, unsigned expect_bytes) {
  MBarrier& barrier = find(address);
  if (barrier.outstanding == 0) violation("more arrivals at an mbarrier than its phase has");
  barrier.bytes += expect_bytes;
  --barrier.outstanding;
  complete_phases(barrier);
}

void mbarrier_pending_copy(std::uint64_t* address, unsigned bytes, std::function<void()> perform) {
  find(address).copies.push_back({bytes, std::move(perform)});
}

void mbarrier_wait(std::uint64_t* address, unsigned parity, Where where) {
  MBarrier& barrier = find(address);
  while ((barrier.phase & 1) == (parity & 1)) {
    if (!barrier.copies.empty()) {
      const MBarrier::Pending copy = std::move(barrier.copies.front());
      barrier.copies.pop_front();
      copy.perform();
      barrier.bytes -= copy.bytes;
      complete_phases(barrier);
      continue;
    }
    // A copy that arrives later must be found by a waiter: look again whenever anything moves.
    spin("an mbarrier", where);
  }
}

void warpgroup_issue(std::function<void()> perform) {
  me().owner->warpgroups[me().rank / 128].issued.push_back(std::move(perform));
}

void warpgroup_commit() {
  Warpgroup& group = me().owner->warpgroups[me().rank / 128];
  group.groups.push_back(std::move(group.issued));
  group.issued.clear();
}

void warpgroup_wait(int groups_in_flight) {
  Warpgroup& group = me().owner->warpgroups[me().rank / 128];
  while (group.groups.size() > static_cast<std::size_t>(groups_in_flight)) {
    for (const auto& operation : group.groups.front()) operation();
    group.groups.pop_front();
  }
}

// ---- device memory
// -----------------------------------------------------------------------------------------

void poison(void* at, std::size_t bytes) { std::memset(at, 0xff, bytes); }

void* device_allocate(std::size_t bytes) {
  const std::size_t padded = (bytes + 2 * kGuardBytes + 1023) / 1024 * 1024;
  unsigned char* storage = static_cast<unsigned char*>(std::aligned_alloc(1024, padded));
  if (storage == nullptr) throw std::bad_alloc();
  std::memset(storage, kGuardByte, padded);
  poison(storage + kGuardBytes, bytes);
  allocations()[storage + kGuardBytes] = {bytes};
  return storage + kGuardBytes;
}

void device_release(void* memory) {
  unsigned char* at = static_cast<unsigned char*>(memory);
  allocations().erase(at);
  std::free(at - kGuardBytes);
}

void check_guards() {
  for (const auto& [at, allocation] : allocations())
    for (const unsigned char* band : {at - kGuardBytes, at + allocation.bytes})
      for (std::size_t i = 0; i < kGuardBytes; ++i)
        if (band[i] != kGuardByte) {
          std::memset(const_cast<unsigned char*>(band), kGuardByte, kGuardBytes);  // say it once
          throw Violation("a kernel wrote " + std::string(band < at ? "before" : "past the end of") +
                          " a device buffer of " + std::to_string(allocation.bytes) + " bytes");
        }
}

std::size_t device_bytes_in_use() {
  std::size_t bytes = 0;
  for (const auto& [at, allocation] : allocations()) bytes += allocation.bytes;
  return bytes;
}

}  // namespace mlpwatt::emulation
