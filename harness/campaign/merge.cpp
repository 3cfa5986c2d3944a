#include "harness/campaign/merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>

#include "harness/campaign/store.h"
#include "harness/program.h"
#include "harness/record/error.h"
#include "harness/record/reader.h"
#include "harness/record/writer.h"
#include "kernels/sha256.h"

namespace mlpwatt {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kChunkRows = 4096;
/// Rows whose keys are looked at together when duplicates are sought; 48 bytes each.
constexpr std::int64_t kRowsPerBucket = 1 << 16;

/// A results file, or the records of a campaign that are not in one yet.
class Input {
 public:
  virtual ~Input() = default;
  virtual std::int64_t count(const Table& table) const = 0;
  virtual std::vector<Row> rows(const Table& table, std::int64_t first, std::int64_t count) const = 0;
  virtual std::vector<Value> column(const Table& table, const std::string& name, std::int64_t first,
                                    std::int64_t count) const = 0;
};

class FileInput : public Input {
 public:
  explicit FileInput(const std::string& path) : reader_(path) {
    if (const auto unknown = reader_.unknown_columns(); !unknown.empty())
      throw RecordError(fmt::format("{}: holds {}, which this program does not know and would drop", path,
                                    unknown.front()));
  }
  std::int64_t count(const Table& table) const override { return reader_.count(table); }
  std::vector<Row> rows(const Table& table, std::int64_t first, std::int64_t count) const override {
    return reader_.rows(table, first, count);
  }
  std::vector<Value> column(const Table& table, const std::string& name, std::int64_t first,
                            std::int64_t count) const override {
    return reader_.column(table, name, first, count);
  }

 private:
  Reader reader_;
};

class RecordsInput : public Input {
 public:
  explicit RecordsInput(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) contents_.add(read_record(path));
  }
  std::int64_t count(const Table& table) const override {
    return static_cast<std::int64_t>(contents_.rows(table).size());
  }
  std::vector<Row> rows(const Table& table, std::int64_t first, std::int64_t count) const override {
    const auto begin = contents_.rows(table).begin() + first;
    return {begin, begin + count};
  }
  std::vector<Value> column(const Table& table, const std::string& name, std::int64_t first,
                            std::int64_t count) const override {
    std::vector<Value> values;
    for (const Row& row : rows(table, first, count)) values.push_back(row.value(table.index(name)));
    return values;
  }

 private:
  Contents contents_;
};

/// Calls `visit(first, count)` for each piece of a table.
template <class Visit>
void in_pieces(std::int64_t rows, const Visit& visit) {
  for (std::int64_t first = 0; first < rows; first += kChunkRows)
    visit(first, std::min(kChunkRows, rows - first));
}

/// One bit a row, and the number of set bits before each word.
class Kept {
 public:
  explicit Kept(std::int64_t rows)
      : words_(static_cast<std::size_t>(rows / 64 + 1), ~std::uint64_t{0}), before_(words_.size(), 0) {}
  void drop(std::int64_t row) { word(row) &= ~(std::uint64_t{1} << (row % 64)); }
  bool has(std::int64_t row) const { return words_[static_cast<std::size_t>(row / 64)] >> (row % 64) & 1U; }
  void count() {
    for (std::size_t i = 1; i < words_.size(); ++i)
      before_[i] = before_[i - 1] + std::popcount(words_[i - 1]);
  }
  /// Kept rows before this one.
  std::int64_t rank(std::int64_t row) const {
    const auto i = static_cast<std::size_t>(row / 64);
    const std::uint64_t below = (std::uint64_t{1} << (row % 64)) - 1;
    return before_[i] + std::popcount(words_[i] & below);
  }

 private:
  std::uint64_t& word(std::int64_t row) { return words_[static_cast<std::size_t>(row / 64)]; }
  std::vector<std::uint64_t> words_;
  std::vector<std::int64_t> before_;
};

struct Key {
  std::array<std::uint64_t, 2> identity{};
  std::int64_t merit = 0, start_ns = 0;  ///< larger is better
  std::int64_t row = 0;
};

Key make_key(const std::string& identity, bool ok, bool unflagged, std::int64_t start_ns, std::int64_t row) {
  Sha256 sum;
  sum.add(identity.data(), identity.size());
  const std::string hex = sum.hex();
  Key key;
  for (std::size_t i = 0; i < 2; ++i) key.identity[i] = std::stoull(hex.substr(16 * i, 16), nullptr, 16);
  key.merit = 2 * ok + unflagged;
  key.start_ns = start_ns;
  key.row = row;
  return key;
}

/// Keys on disk, in buckets by hash, so that one bucket at a time fits into little memory.
class KeyBuckets {
 public:
  explicit KeyBuckets(std::int64_t rows) {
    const std::int64_t buckets = std::max<std::int64_t>(1, (rows + kRowsPerBucket - 1) / kRowsPerBucket);
    for (std::int64_t i = 0; i < buckets; ++i) {
      files_.emplace_back(std::tmpfile());
      if (files_.back() == nullptr) throw RecordError(file_error("merge", "no temporary file", errno));
    }
  }
  void add(const Key& key) {
    const std::unique_ptr<FILE, Close>& file = files_[key.identity[0] % files_.size()];
    if (std::fwrite(&key, sizeof key, 1, file.get()) != 1)
      throw RecordError(file_error("merge", "cannot write a temporary file", errno));
  }
  void drop_duplicates(Kept& kept) {
    for (const auto& file : files_) {
      std::vector<Key> keys(static_cast<std::size_t>(std::ftell(file.get())) / sizeof(Key));
      std::rewind(file.get());
      if (std::fread(keys.data(), sizeof(Key), keys.size(), file.get()) != keys.size())
        throw RecordError(file_error("merge", "cannot read a temporary file", errno));
      // best first among the same; of equal copies the first
      std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) {
        if (a.identity != b.identity) return a.identity < b.identity;
        if (a.merit != b.merit) return a.merit > b.merit;
        if (a.start_ns != b.start_ns) return a.start_ns > b.start_ns;
        return a.row < b.row;
      });
      for (std::size_t i = 1; i < keys.size(); ++i)
        if (keys[i].identity == keys[i - 1].identity) kept.drop(keys[i].row);
    }
  }

 private:
  struct Close {
    void operator()(FILE* file) const { std::fclose(file); }
  };
  std::vector<std::unique_ptr<FILE, Close>> files_;
};

/// Rows that many inputs share, each once.
class Pool {
 public:
  explicit Pool(const Table& table) : table_(table) {}
  std::int64_t place(const Row& row) {
    std::string text;
    for (std::size_t i = 0; i < table_.columns().size(); ++i)
      text += std::visit([](const auto& held) { return fmt::format("{}\n", held); }, row.value(i));
    const auto [found, fresh] = places_.emplace(text, static_cast<std::int64_t>(rows_.size()));
    if (fresh) rows_.push_back(row);
    return found->second;
  }
  const std::vector<Row>& rows() const { return rows_; }

 private:
  const Table& table_;
  std::map<std::string, std::int64_t> places_;
  std::vector<Row> rows_;
};

class Merge {
 public:
  explicit Merge(const MergeOptions& options) : options_(options) {}

  void open(const std::string& path) {
    if (path.ends_with(".json")) {
      loose_records_.push_back(path);
      return;
    }
    if (!fs::is_directory(path)) {
      inputs_.push_back(std::make_unique<FileInput>(path));
      return;
    }
    locks_.push_back(std::make_unique<FileLock>(store_lock_path(path), path, store_busy_text()));
    const StoreFiles files = store_files(path);
    if (files.hdf5.empty() && files.records.empty())
      throw RecordError(path + ": no campaign's folder (neither campaign.h5 nor segments nor records)");
    for (const std::string& file : files.hdf5) inputs_.push_back(std::make_unique<FileInput>(file));
    if (!files.records.empty()) inputs_.push_back(std::make_unique<RecordsInput>(files.records));
  }

  MergeReport write(const std::string& output) {
    if (!loose_records_.empty()) inputs_.push_back(std::make_unique<RecordsInput>(loose_records_));
    find_duplicates();
    WriterOptions writer_options;
    writer_options.in_memory = false;
    for (const Table* table : all_tables())
      for (const auto& input : inputs_) writer_options.expected_rows[table->group()] += input->count(*table);
    Writer writer(output, writer_options);
    std::int64_t base = 0;  // row number of the input's first run, over all inputs
    for (const auto& input : inputs_) {
      copy_runs(*input, base, writer);
      const std::vector<std::int64_t> meter = places(*input, meters_table(), meters_);
      copy_followers(*input, energies_table(), base, meter, writer);
      copy_followers(*input, curves_table(), base, {}, writer);
      if (options_.samples) copy_followers(*input, samples_table(), base, meter, writer);
      report_.coefficients_left_out += input->count(model_table());
      base += input->count(runs_table());
    }
    writer.append(machine_table(), machines_.rows());
    writer.append(meters_table(), meters_.rows());
    report_.samples_out = writer.rows(samples_table());
    writer.commit();
    return report_;
  }

 private:
  void find_duplicates() {
    for (const auto& input : inputs_) report_.runs_in += input->count(runs_table());
    kept_ = std::make_unique<Kept>(report_.runs_in);
    KeyBuckets buckets(report_.runs_in);
    std::int64_t base = 0;
    for (const auto& input : inputs_) {
      in_pieces(input->count(runs_table()), [&](std::int64_t first, std::int64_t count) {
        const auto column = [&](const char* name) { return input->column(runs_table(), name, first, count); };
        const auto host = column("host"), campaign = column("campaign"), order = column("order_index"),
                   name = column("name"), start = column("start_realtime_ns"), status = column("status"),
                   quality = column("quality");
        for (std::size_t i = 0; i < host.size(); ++i) {
          const auto text = [&](const std::vector<Value>& values) -> const std::string& {
            return std::get<std::string>(values[i]);
          };
          const auto start_ns = std::get<std::int64_t>(start[i]);
          const std::string identity =
              text(campaign).empty()
                  ? fmt::format("{}\n{}\n{}", text(host), text(name), start_ns)
                  : fmt::format("{}\n{}\n{}\n", text(host), text(campaign), std::get<std::int64_t>(order[i]));
          buckets.add(make_key(identity, text(status) == "ok", text(quality) == "ok", start_ns,
                               base + first + static_cast<std::int64_t>(i)));
        }
      });
      base += input->count(runs_table());
    }
    buckets.drop_duplicates(*kept_);
    kept_->count();
  }

  std::vector<std::int64_t> places(const Input& input, const Table& table, Pool& pool) const {
    std::vector<std::int64_t> places;
    for (const Row& row : input.rows(table, 0, input.count(table))) places.push_back(pool.place(row));
    return places;
  }

  void copy_runs(const Input& input, std::int64_t base, Writer& writer) {
    const std::vector<std::int64_t> machine = places(input, machine_table(), machines_);
    in_pieces(input.count(runs_table()), [&](std::int64_t first, std::int64_t count) {
      std::vector<Row> rows = input.rows(runs_table(), first, count), chosen;
      for (std::size_t i = 0; i < rows.size(); ++i) {
        if (!kept_->has(base + first + static_cast<std::int64_t>(i))) continue;
        rows[i].set("machine_row", machine.at(static_cast<std::size_t>(rows[i].integer("machine_row"))));
        chosen.push_back(std::move(rows[i]));
      }
      report_.runs_out += static_cast<std::int64_t>(chosen.size());
      writer.append(runs_table(), chosen);
    });
  }

  /// Rows that belong to runs: those of dropped runs are dropped, the others renumbered.
  void copy_followers(const Input& input, const Table& table, std::int64_t base,
                      const std::vector<std::int64_t>& meter, Writer& writer) {
    const std::int64_t runs = input.count(runs_table());
    in_pieces(input.count(table), [&](std::int64_t first, std::int64_t count) {
      std::vector<Row> rows = input.rows(table, first, count), chosen;
      for (Row& row : rows) {
        const std::int64_t run = row.integer("run_row");
        if (run < 0 || run >= runs)
          throw RecordError(
              fmt::format("/{} refers to run {} of {} (mlpwatt check)", table.group(), run, runs));
        if (!kept_->has(base + run)) continue;
        row.set("run_row", kept_->rank(base + run));
        if (!meter.empty())
          row.set("meter_row", meter.at(static_cast<std::size_t>(row.integer("meter_row"))));
        chosen.push_back(std::move(row));
      }
      writer.append(table, chosen);
    });
  }

  MergeOptions options_;
  std::vector<std::unique_ptr<FileLock>> locks_;
  std::vector<std::string> loose_records_;
  std::vector<std::unique_ptr<Input>> inputs_;
  std::unique_ptr<Kept> kept_;
  Pool machines_{machine_table()}, meters_{meters_table()};
  MergeReport report_;
};

/// About what the output takes: what the inputs do.
std::int64_t bytes_of(const std::vector<std::string>& inputs) {
  std::int64_t sum = 0;
  std::error_code error;
  const auto add = [&](const fs::path& path) {
    if (const auto size = fs::file_size(path, error); !error) sum += static_cast<std::int64_t>(size);
  };
  for (const std::string& input : inputs) {
    if (!fs::is_directory(input)) {
      add(input);
      continue;
    }
    const StoreFiles files = store_files(input);
    for (const auto* part : {&files.hdf5, &files.records}) std::for_each(part->begin(), part->end(), add);
  }
  return sum;
}

bool same_file(const std::string& a, const std::string& b) {
  std::error_code error;
  return fs::equivalent(a, b, error) && !error;
}

}  // namespace

MergeReport merge_files(const std::string& output, const std::vector<std::string>& inputs,
                        const MergeOptions& options) {
  if (!options.replace && fs::exists(output) &&
      std::none_of(inputs.begin(), inputs.end(),
                   [&](const std::string& in) { return same_file(in, output); }))
    throw UsageError(
        fmt::format("{} exists and is none of the inputs; name it among them too to keep its rows, "
                    "or give --replace",
                    output));
  Merge merge(options);
  for (const std::string& input : inputs) merge.open(input);
  const fs::path target(output);
  const std::int64_t needed_bytes = bytes_of(inputs);
  std::error_code error;
  const auto space = fs::space(target.has_parent_path() ? target.parent_path() : ".", error);
  if (!error && space.available < static_cast<std::uintmax_t>(needed_bytes))
    throw DiskFull(file_error(output, fmt::format("cannot write some {} bytes", needed_bytes), ENOSPC),
                   needed_bytes);
  try {
    const FileLock lock((target.parent_path() / ("." + target.filename().string() + ".lock")).string(),
                        output, "another mlpwatt is writing this file; wait for it or choose another one");
    return merge.write(output);
  } catch (const DiskFull&) {
    throw;
  } catch (const RecordError& failed) {
    // A quota, or another process was quicker: HDF5 says it in its own words.
    if (std::string(failed.what()).find(std::strerror(ENOSPC)) == std::string::npos &&
        std::string(failed.what()).find(std::strerror(EDQUOT)) == std::string::npos)
      throw;
    throw DiskFull(failed.what(), needed_bytes);
  }
}

}  // namespace mlpwatt
