#pragma once
// Rows whose values stress the file: every special number, every kind of text, from a seed.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "harness/record/record_file.h"
#include "kernels/random.h"

namespace mlpwatt::testing {

/// @param last_row of the tables that the row refers to
inline Row random_row(const Table& table, RandomStream& stream, std::int64_t last_row = 0) {
  static const std::vector<double> reals{0.0,
                                         -0.0,
                                         kAbsentReal,
                                         std::numeric_limits<double>::infinity(),
                                         -std::numeric_limits<double>::max(),
                                         std::numeric_limits<double>::denorm_min(),
                                         1.0 / 3.0,
                                         9.96920997e+36};
  static const std::vector<std::int64_t> integers{0,
                                                  -1,
                                                  kAbsentInteger,
                                                  std::numeric_limits<std::int64_t>::max(),
                                                  std::numeric_limits<std::int64_t>::min(),
                                                  9007199254740993};
  static const std::vector<std::string> texts{"",
                                              "plain",
                                              "µW, Ω, 漢字, \U0001F50C",
                                              "two\nlines\tand \"quotes\" '\\ ",
                                              " ",
                                              std::string(10'000, 'x'),
                                              "{\"epochs\":3}"};
  Row row(table);
  const auto pick = [&](const auto& from) { return from[uniform_below(stream, from.size())]; };
  for (std::size_t i = 0; i < table.columns().size(); ++i) {
    const Column& column = table.columns()[i];
    if (!column.references.empty())
      row.value(i) =
          static_cast<std::int64_t>(uniform_below(stream, static_cast<std::uint64_t>(last_row) + 1));
    else if (column.type == Type::kReal)
      row.value(i) = uniform_below(stream, 2) == 0 ? pick(reals) : uniform_unit(stream);
    else if (column.type == Type::kText)
      row.value(i) = pick(texts);
    else
      row.value(i) =
          uniform_below(stream, 2) == 0 ? pick(integers) : static_cast<std::int64_t>(stream() >> 1);
  }
  return row;
}

inline std::vector<Row> random_rows(const Table& table, std::size_t count, std::uint64_t seed) {
  RandomStream stream(seed);
  std::vector<Row> rows;
  for (std::size_t i = 0; i < count; ++i)
    rows.push_back(random_row(table, stream, static_cast<std::int64_t>(count) - 1));
  return rows;
}

/// Bit for bit, but any NaN is as good as another.
inline bool same_bits(const Row& a, const Row& b) {
  if (!a.same_values(b)) return false;
  for (std::size_t i = 0; i < a.table().columns().size(); ++i)
    if (const double* mine = std::get_if<double>(&a.value(i)); mine != nullptr && !std::isnan(*mine))
      if (std::bit_cast<std::uint64_t>(*mine) != std::bit_cast<std::uint64_t>(std::get<double>(b.value(i))))
        return false;
  return true;
}

inline bool same_bits(const std::vector<Row>& a, const std::vector<Row>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!same_bits(a[i], b[i])) return false;
  return true;
}

/// A record with two meters, samples of both and a curve.
inline Record random_record(std::uint64_t seed) {
  RandomStream stream(seed);
  Record record{random_row(runs_table(), stream), random_row(machine_table(), stream), {}, {}, {}};
  for (int i = 0; i < 2; ++i) record.meters.push_back(random_row(meters_table(), stream));
  for (int i = 0; i < 5; ++i) record.samples.push_back(random_row(samples_table(), stream, 1));
  for (int i = 0; i < 3; ++i) record.curve.push_back(random_row(curves_table(), stream));
  return record;
}

}  // namespace mlpwatt::testing
