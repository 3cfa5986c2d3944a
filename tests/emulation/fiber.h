#pragma once
// Switching between stacks within one host thread. On x86-64 a dozen instructions (swapcontext makes a system
// call for each switch); elsewhere ucontext.

#include <cstddef>
#include <memory>
#include <vector>

namespace mlpwatt::emulation {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  /// The next enter() starts `entry(argument)` on this fiber's own stack. `entry` never returns.
  void prepare(void (*entry)(void*), void* argument);
  /// From the scheduler: runs the fiber until it leaves.
  void enter();
  /// From within the fiber: back to the scheduler.
  void leave();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace mlpwatt::emulation
