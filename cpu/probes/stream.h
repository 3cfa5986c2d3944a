#pragma once
// The four loops of the stream probe, once per instruction set.
//
//   copy   a[i] = b[i]             triad  a[i] = b[i] + s c[i]
//   read   sum of a[i]             write  a[i] = s
//
// n floats, a multiple of 16; every array begins on a 64-byte line.

#include <cstdint>

namespace mlpwatt::stream {

struct Loops {
  const char* isa;
  void (*copy)(float* a, const float* b, std::int64_t n);
  void (*triad)(float* a, const float* b, const float* c, float s, std::int64_t n);
  float (*read)(const float* a, std::int64_t n);
  void (*write)(float* a, float s, std::int64_t n);
};

/// What the probe's check() is made of: the largest error of one thread's part after one pass of `operation`
/// over the probe's own start values. NaN where the result has one.
/// @param a the first array, n floats
/// @param sum what read returned; ignored by the others
double result_error(const char* operation, const float* a, float sum, std::int64_t n);

extern const Loops kGeneric;
#if defined(__x86_64__)
extern const Loops kAvx2, kAvx2NoFma, kAvx512;
#endif

}  // namespace mlpwatt::stream
