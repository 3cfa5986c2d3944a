// Vectorised exp and log for the losses. Included once per instruction set inside an anonymous namespace that
// has defined `Vector` (float lanes) and kLanes. Cephes-style: range reduction and a minimax polynomial; both
// within 2 units in the last place over the arguments the losses use (tests/cpu/mlp_test.cpp measures it).

typedef int IntVector __attribute__((vector_size(kLanes * 4)));

inline __attribute__((always_inline)) Vector splat(float x) { return Vector{} + x; }
inline __attribute__((always_inline)) Vector select(IntVector condition, Vector yes, Vector no) {
  return condition ? yes : no;
}

/// exp(x); 0 below -87.3, held at exp(88) above 88; NaN stays NaN.
inline __attribute__((always_inline)) Vector exp_vector(Vector x) {
  const Vector clamped = select(x > 88.0f, splat(88.0f), select(x < -87.3f, splat(-87.3f), x));
  // n = round(x / ln 2) through the 1.5 * 2^23 trick: no conversion instruction, the same on every target
  const Vector shifted = clamped * 1.44269504088896f + 12582912.0f;
  const Vector n = shifted - 12582912.0f;
  const Vector r = (clamped - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts
  Vector p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  IntVector exponent;
  __builtin_memcpy(&exponent, &shifted, sizeof exponent);
  exponent = (exponent - 0x4B400000 + 127) << 23;
  Vector scale;
  __builtin_memcpy(&scale, &exponent, sizeof scale);
  return select(x < -87.3f, Vector{}, p * scale);
}

/// log(x) for x > 0 and not denormal.
inline __attribute__((always_inline)) Vector log_vector(Vector x) {
  IntVector bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  // mantissa into [sqrt(1/2), sqrt(2))
  const IntVector offset = bits - 0x3F3504F3;
  const IntVector exponent = offset >> 23;
  const IntVector mantissa_bits = (offset & 0x007FFFFF) + 0x3F3504F3;
  Vector m;
  __builtin_memcpy(&m, &mantissa_bits, sizeof m);
  const Vector f = m - 1.0f;
  Vector p = splat(7.0376836292e-2f);
  p = p * f + -1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f + -1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f + -1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f + -2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  const Vector e = __builtin_convertvector(exponent, Vector);
  const Vector square = f * f;
  return (f + (p * f * square - square * 0.5f + e * -2.12194440e-4f)) + e * 0.693359375f;
}
