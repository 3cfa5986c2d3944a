#include "harness/record/hdf5.h"

#include <algorithm>
#include <cstdint>

namespace mlpwatt::hdf5 {
namespace {

herr_t keep_last(unsigned, const H5E_error2_t* error, void* data) {
  if (error->desc != nullptr && error->desc[0] != '\0') *static_cast<std::string*>(data) = error->desc;
  return 0;
}

}  // namespace

void quiet() {
  // We close what we open. Its own clean-up at exit would try once more to write what a full disk refused,
  // and crash.
  H5dont_atexit();
  H5open();
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

std::string last_error() {
  std::string text = "libhdf5 gives no reason";
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_last, &text);
  // H5E_WALK_DOWNWARD starts at the API call; the last one visited is the cause. Of a system call's failure
  // it tells times and addresses besides.
  const std::string mark = "error message = '";
  if (const std::size_t at = text.find(mark); at != std::string::npos)
    text = text.substr(at + mark.size(), text.find('\'', at + mark.size()) - at - mark.size());
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

Id own(hid_t id, herr_t (*close)(hid_t), const std::string& path, const std::string& what) {
  if (id < 0) throw RecordError(path + ": " + what + ": " + last_error());
  return Id(id, close);
}

void require(herr_t status, const std::string& path, const std::string& what) {
  if (status < 0) throw RecordError(path + ": " + what + ": " + last_error());
}

Id text_type() {
  Id type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

void write_attribute(hid_t object, const std::string& name, const std::string& value,
                     const std::string& path) {
  const Id type = text_type();
  const Id space(H5Screate(H5S_SCALAR), H5Sclose);
  const Id attribute =
      own(H5Acreate2(object, name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose, path,
          "creating attribute " + name);
  const char* text = value.c_str();
  require(H5Awrite(attribute.get(), type.get(), &text), path, "writing attribute " + name);
}

void write_attribute(hid_t object, const std::string& name, std::int64_t value, const std::string& path) {
  const Id space(H5Screate(H5S_SCALAR), H5Sclose);
  const Id attribute =
      own(H5Acreate2(object, name.c_str(), H5T_NATIVE_INT64, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
          path, "creating attribute " + name);
  require(H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value), path, "writing attribute " + name);
}

std::string read_text_attribute(hid_t object, const std::string& name) {
  if (H5Aexists(object, name.c_str()) <= 0) return "";
  const Id attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose);
  const Id stored(H5Aget_type(attribute.get()), H5Tclose);
  if (!attribute || H5Tis_variable_str(stored.get()) <= 0) return "";
  const Id type = text_type();
  char* text = nullptr;
  if (H5Aread(attribute.get(), type.get(), &text) < 0 || text == nullptr) return "";
  std::string value(text);
  H5free_memory(text);
  return value;
}

std::int64_t read_integer_attribute(hid_t object, const std::string& name, std::int64_t absent) {
  if (H5Aexists(object, name.c_str()) <= 0) return absent;
  const Id attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose);
  std::int64_t value = absent;
  if (!attribute || H5Aread(attribute.get(), H5T_NATIVE_INT64, &value) < 0) return absent;
  return value;
}

}  // namespace mlpwatt::hdf5
