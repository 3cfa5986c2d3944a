// Included once by each stream_<isa>.cpp, with MLPWATT_STREAM_LANES floats a vector. Everything is in
// an anonymous namespace: code of one instruction set must not be linked into another's callers.
// Plain (temporal) stores: a written line is first read from below (write-allocate), which no byte count of
// the source shows and the counters do.

#include "cpu/probes/stream.h"

namespace mlpwatt::stream {
namespace {

constexpr int kLanes = MLPWATT_STREAM_LANES;
typedef float Vector __attribute__((vector_size(4 * MLPWATT_STREAM_LANES), may_alias));

// Keeps the compiler from making a call to memcpy or memset of a loop: those choose their own stores.
inline void as_written() { asm volatile("" ::: "memory"); }

void copy(float* a, const float* b, std::int64_t n) {
  Vector* to = reinterpret_cast<Vector*>(a);
  const Vector* from = reinterpret_cast<const Vector*>(b);
  const std::int64_t vectors = n / kLanes;
  std::int64_t i = 0;
  for (; i + 4 <= vectors; i += 4) {
    const Vector v0 = from[i], v1 = from[i + 1], v2 = from[i + 2], v3 = from[i + 3];
    to[i] = v0, to[i + 1] = v1, to[i + 2] = v2, to[i + 3] = v3;
    as_written();
  }
  for (; i < vectors; ++i) {
    to[i] = from[i];
    as_written();
  }
}

void triad(float* a, const float* b, const float* c, float s, std::int64_t n) {
  Vector* to = reinterpret_cast<Vector*>(a);
  const Vector* from_b = reinterpret_cast<const Vector*>(b);
  const Vector* from_c = reinterpret_cast<const Vector*>(c);
  const Vector scale = s - Vector{};
  const std::int64_t vectors = n / kLanes;
  std::int64_t i = 0;
  for (; i + 4 <= vectors; i += 4) {
    const Vector v0 = from_b[i] + scale * from_c[i], v1 = from_b[i + 1] + scale * from_c[i + 1],
                 v2 = from_b[i + 2] + scale * from_c[i + 2], v3 = from_b[i + 3] + scale * from_c[i + 3];
    to[i] = v0, to[i + 1] = v1, to[i + 2] = v2, to[i + 3] = v3;
    as_written();
  }
  for (; i < vectors; ++i) to[i] = from_b[i] + scale * from_c[i];
}

// Eight sums: an addition takes three to five cycles and two or more can start in each.
float read(const float* a, std::int64_t n) {
  const Vector* from = reinterpret_cast<const Vector*>(a);
  const std::int64_t vectors = n / kLanes;
  Vector s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{};
  std::int64_t i = 0;
  for (; i + 8 <= vectors; i += 8) {
    s0 += from[i], s1 += from[i + 1], s2 += from[i + 2], s3 += from[i + 3];
    s4 += from[i + 4], s5 += from[i + 5], s6 += from[i + 6], s7 += from[i + 7];
  }
  for (; i < vectors; ++i) s0 += from[i];
  s0 = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7));
  float sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += s0[lane];
  return sum;
}

void write(float* a, float s, std::int64_t n) {
  Vector* to = reinterpret_cast<Vector*>(a);
  const Vector value = s - Vector{};
  const std::int64_t vectors = n / kLanes;
  std::int64_t i = 0;
  for (; i + 4 <= vectors; i += 4) {
    to[i] = value, to[i + 1] = value, to[i + 2] = value, to[i + 3] = value;
    as_written();
  }
  for (; i < vectors; ++i) {
    to[i] = value;
    as_written();
  }
}

}  // namespace
}  // namespace mlpwatt::stream
