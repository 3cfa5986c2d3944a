#include "tests/emulation/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Saves what the calling convention asks a function to preserve, then changes the stack.
extern "C" void mlpwatt_emulation_switch(void** save, void* load);
asm(R"(
.text
.globl mlpwatt_emulation_switch
.type mlpwatt_emulation_switch,@function
mlpwatt_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size mlpwatt_emulation_switch,.-mlpwatt_emulation_switch
.section .note.GNU-stack,"",@progbits
.text
)");
#endif

namespace mlpwatt::emulation {
namespace {
// A kernel's thread has registers, not arrays: what the host compiler spills fits. Untouched pages cost
// nothing.
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kStackBytes = 512 << 10;
#else
constexpr std::size_t kStackBytes = 96 << 10;
#endif
}  // namespace

struct Fiber::Implementation {
  void* stack = nullptr;
  void (*entry)(void*) = nullptr;
  void* argument = nullptr;
#if defined(__x86_64__)
  void *inside = nullptr, *outside = nullptr;
#else
  ucontext_t inside{}, outside{};
#endif
#if defined(__SANITIZE_ADDRESS__)
  void *fake_inside = nullptr, *fake_outside = nullptr;
  const void* outside_stack = nullptr;
  std::size_t outside_bytes = 0;
#endif
};

Fiber::Fiber() : implementation_(std::make_unique<Implementation>()) {
  implementation_->stack =
      mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (implementation_->stack == MAP_FAILED) throw std::bad_alloc();
  mprotect(implementation_->stack, 4096, PROT_NONE);  // stacks grow down: an overflow ends here
}

Fiber::~Fiber() { munmap(implementation_->stack, kStackBytes); }

namespace {
// What a new fiber finds on its stack is the address of this; it learns who it is from the global.
thread_local void (*starting_entry)(void*);
thread_local void* starting_argument;
#if defined(__SANITIZE_ADDRESS__)
thread_local const void** starting_outside_stack;
thread_local std::size_t* starting_outside_bytes;
#endif
void start() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, starting_outside_stack, starting_outside_bytes);
#endif
  starting_entry(starting_argument);
  __builtin_unreachable();
}
}  // namespace

void Fiber::prepare(void (*entry)(void*), void* argument) {
  Implementation& f = *implementation_;
  f.entry = entry;
  f.argument = argument;
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(static_cast<unsigned char*>(f.stack) + kStackBytes);
  *--top = nullptr;  // keeps the stack aligned as after a call
  *--top = reinterpret_cast<void*>(&start);
  for (int preserved = 0; preserved < 6; ++preserved) *--top = nullptr;
  f.inside = top;
#else
  getcontext(&f.inside);
  f.inside.uc_stack.ss_sp = f.stack;
  f.inside.uc_stack.ss_size = kStackBytes;
  f.inside.uc_link = nullptr;
  makecontext(&f.inside, reinterpret_cast<void (*)()>(&start), 0);
#endif
#if defined(__SANITIZE_ADDRESS__)
  f.fake_inside = nullptr;
  // the frames of a fiber that was left in the middle are no longer there
  ASAN_UNPOISON_MEMORY_REGION(f.stack, kStackBytes);
#endif
}

void Fiber::enter() {
  Implementation& f = *implementation_;
  starting_entry = f.entry;
  starting_argument = f.argument;
#if defined(__SANITIZE_ADDRESS__)
  starting_outside_stack = &f.outside_stack;
  starting_outside_bytes = &f.outside_bytes;
  __sanitizer_start_switch_fiber(&f.fake_outside, f.stack, kStackBytes);
#endif
#if defined(__x86_64__)
  mlpwatt_emulation_switch(&f.outside, f.inside);
#else
  swapcontext(&f.outside, &f.inside);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(f.fake_outside, nullptr, nullptr);
#endif
}

void Fiber::leave() {
  Implementation& f = *implementation_;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&f.fake_inside, f.outside_stack, f.outside_bytes);
#endif
#if defined(__x86_64__)
  mlpwatt_emulation_switch(&f.inside, f.outside);
#else
  swapcontext(&f.inside, &f.outside);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(f.fake_inside, &f.outside_stack, &f.outside_bytes);
#endif
}

}  // namespace mlpwatt::emulation
