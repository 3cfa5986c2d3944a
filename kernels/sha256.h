#pragma once
// SHA-256 by libcrypto, in hexadecimal.

#include <cstddef>
#include <string>

namespace mlpwatt {

/// Takes bytes in pieces; hex() ends it.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void add(const void* bytes, std::size_t count);
  std::string hex();  ///< 64 lower-case digits

 private:
  void* context_;
};

/// Errors: std::runtime_error naming the file and why it cannot be read.
std::string sha256_of_file(const std::string& path);

}  // namespace mlpwatt
