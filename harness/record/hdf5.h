#pragma once
// libhdf5 behind RAII and exceptions. Only harness/record includes this.

#include <hdf5.h>

#include <cstdint>
#include <string>
#include <utility>

#include "harness/record/error.h"

namespace mlpwatt {

namespace hdf5 {

/// Silences libhdf5's own many-line reports; call before the first use.
void quiet();
/// The innermost message of libhdf5's error stack.
std::string last_error();

/// Owns one identifier.
class Id {
 public:
  Id() = default;
  Id(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  Id(Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Id& operator=(Id&& other) noexcept {
    if (this != &other) {
      reset();
      id_ = std::exchange(other.id_, -1);
      close_ = other.close_;
    }
    return *this;
  }
  ~Id() { reset(); }
  void reset() {
    if (id_ >= 0) close_(id_);
    id_ = -1;
  }
  hid_t get() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }

 private:
  hid_t id_ = -1;
  herr_t (*close_)(hid_t) = nullptr;
};

/// Errors: RecordError "PATH: WHAT: reason" when `id` is negative.
Id own(hid_t id, herr_t (*close)(hid_t), const std::string& path, const std::string& what);
void require(herr_t status, const std::string& path, const std::string& what);

/// Variable-length UTF-8: the one string type that every tool reads.
Id text_type();
void write_attribute(hid_t object, const std::string& name, const std::string& value,
                     const std::string& path);
void write_attribute(hid_t object, const std::string& name, std::int64_t value, const std::string& path);
/// "" when there is none.
std::string read_text_attribute(hid_t object, const std::string& name);
/// `absent` when there is none.
std::int64_t read_integer_attribute(hid_t object, const std::string& name, std::int64_t absent);

}  // namespace hdf5
}  // namespace mlpwatt
