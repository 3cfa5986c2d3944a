#pragma once
// Bytes that one step moves, by the memory level that serves them: what a kernel's own loops predict, before
// any counter looks. A kernel describes its step as touches of whole arrays and re-readings inside its loops;
// the distance since the last touch says which level still holds the data.

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/hierarchy.h"

namespace mlpwatt {

/// Work of one step as the loops do it, all threads together. Modelled, never measured.
struct Traffic {
  /// levels[i] serves bytes[i]; nearest first, "memory" last. Level 0 counts what registers load from and
  /// store to L1; the others count cache lines' worth of data that no nearer level held.
  std::vector<std::string> levels;
  std::vector<double> bytes;
  double issued_flops = 0;  ///< multiplies and adds of whole vectors, unused lanes included
  double tiles = 0;         ///< register tiles: each starts and drains its accumulators once
  double roots = 0;         ///< elements that take a quotient by a square root (Adam)
  double barriers = 0;      ///< meetings of each member with others of the team
  int threads = 1;
  double imbalance = 1;  ///< busiest thread's share of the work over the mean share, >= 1

  /// Bytes served beyond level `i` (what a counter of that level's misses times the line size shows).
  double bytes_beyond(std::size_t i) const;
};

/// Collects one step's accesses. All byte counts are of one thread, the busiest one counting as the mean.
class ReuseTrace {
 public:
  /// @param threads of the team, placed so that they share what the hierarchy says neighbours share
  ReuseTrace(const Hierarchy& hierarchy, int threads);
  const Hierarchy& hierarchy() const { return hierarchy_; }

  struct Array {
    double private_bytes = 0;  ///< that one thread touches in a pass
    double team_bytes = 0;     ///< that all threads touch together, counted once
  };
  /// @return its number for touch()
  int add(Array array);
  /// One pass over the array. @param times bytes are counted this often (2: read and written)
  /// @param remote share of the bytes that another thread wrote since: no private level can serve them
  void touch(int array, double times = 1, double remote = 0);
  /// One pass over the part of a large array that this step uses, other steps using other parts: it comes
  /// from the level that holds `extent_bytes` more than the rest of the step.
  /// @param private_extent_bytes of it that a thread meets in time; by default its share
  void touch_fresh(int array, double extent_bytes, double private_extent_bytes = -1);
  /// `bytes` read again at a distance of `private_bytes` touched by this thread (`team_bytes` by all).
  void again(double bytes, double private_bytes, double team_bytes);
  /// The same for what L1 no longer holds, however near.
  void again_beyond_l1(double bytes, double private_bytes, double team_bytes);
  /// Loads and stores of registers: they all ask L1.
  void registers(double bytes) { register_bytes_ += bytes; }

  /// The step in its steady state: each array was last touched in the step before, or earlier in this one.
  Traffic per_step() const;

 private:
  struct Event {
    int array;  // -1: again
    double bytes, private_bytes, team_bytes, remote;
  };
  struct Served;
  void serve(Traffic& traffic, double bytes, double private_bytes, double team_bytes, double remote) const;

  Hierarchy hierarchy_;
  int threads_;
  std::vector<Array> arrays_;
  std::vector<Event> events_;
  double register_bytes_ = 0;
};

}  // namespace mlpwatt
