// Included once per instruction set, inside an anonymous namespace.
//   for n < iterations: for c < kChains: chain[c] = chain[c] * factor + term     (vectors of kVectorBytes)

typedef float Vector __attribute__((vector_size(kVectorBytes)));

float fma_chains(std::int64_t iterations, float factor, float term) {
  Vector chain[kChains];
  const Vector f = Vector{} + factor, t = Vector{} + term;
#pragma GCC unroll 32
  for (int c = 0; c < kChains; ++c) chain[c] = Vector{} + static_cast<float>(c);
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 32
    for (int c = 0; c < kChains; ++c) chain[c] = chain[c] * f + t;
  }
  Vector sum = chain[0];
#pragma GCC unroll 32
  for (int c = 1; c < kChains; ++c) sum += chain[c];
  float total = 0;
  for (int i = 0; i < kVectorBytes / 4; ++i) total += sum[i];
  return total;
}
