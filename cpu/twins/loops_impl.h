// Included once by each loops_<isa>.cpp, inside an anonymous namespace. The compiler vectorises what it may:
// only ikj has a unit stride in its inner loop.

void ikj(std::int64_t row_first, std::int64_t row_last, std::int64_t n, std::int64_t k,
         const float* __restrict a, const float* __restrict b, float* __restrict c) {
  for (std::int64_t i = row_first; i < row_last; ++i) {
    for (std::int64_t j = 0; j < n; ++j) c[i * n + j] = 0;
    for (std::int64_t p = 0; p < k; ++p) {  // all of B once per row of C
      const float factor = a[i * k + p];
      for (std::int64_t j = 0; j < n; ++j) c[i * n + j] += factor * b[p * n + j];
    }
  }
}

void ijk(std::int64_t row_first, std::int64_t row_last, std::int64_t n, std::int64_t k,
         const float* __restrict a, const float* __restrict b, float* __restrict c) {
  for (std::int64_t i = row_first; i < row_last; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (std::int64_t p = 0; p < k; ++p) sum += a[i * k + p] * b[p * n + j];
      c[i * n + j] = sum;
    }
}

void jki(std::int64_t row_first, std::int64_t row_last, std::int64_t n, std::int64_t k,
         const float* __restrict a, const float* __restrict b, float* __restrict c) {
  for (std::int64_t i = row_first; i < row_last; ++i)
    for (std::int64_t j = 0; j < n; ++j) c[i * n + j] = 0;
  for (std::int64_t j = 0; j < n; ++j)
    for (std::int64_t p = 0; p < k; ++p) {
      const float factor = b[p * n + j];
      for (std::int64_t i = row_first; i < row_last; ++i) c[i * n + j] += a[i * k + p] * factor;
    }
}
