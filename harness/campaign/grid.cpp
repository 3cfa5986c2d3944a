#include "harness/campaign/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cpu/isa.h"
#include "harness/machine.h"
#include "harness/program.h"
#include "kernels/nearest.h"

namespace mlpwatt {
namespace {

/// "4096" or "2^12".
std::int64_t parse_number(const std::string& option, const std::string& word) {
  const auto whole = [&](std::string_view text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < 0)
      throw UsageError(
          fmt::format("{} '{}' is not a number, a power like 2^10 or a range like 2^5..2^10", option, word));
    return value;
  };
  if (!word.starts_with("2^")) return whole(word);
  const std::int64_t exponent = whole(std::string_view(word).substr(2));
  if (exponent > 40) throw UsageError(fmt::format("{} '{}' is too large", option, word));
  return std::int64_t{1} << exponent;
}

template <class T>
std::vector<T> or_all(const std::vector<T>& chosen, const std::vector<T>& all) {
  return chosen.empty() ? all : chosen;
}

/// Each network once: at depth 2 the shapes coincide.
std::vector<Shape> distinct_shapes(const std::vector<Shape>& shapes, int depth) {
  std::vector<Shape> distinct;
  for (const Shape shape : shapes)
    if (const Shape canonical = canonical_shape(shape, depth);
        std::find(distinct.begin(), distinct.end(), canonical) == distinct.end())
      distinct.push_back(canonical);
  return distinct;
}

/// Why this machine or this program cannot run it; empty = it can.
std::string why_not(const std::string& backend, const std::string& isa, const GridFilter& filter) {
  if (filter.any_machine) return "";
  const std::string family = backend + "/mlp_train";
  const auto& families = catalogue();
  const auto found =
      std::find_if(families.begin(), families.end(), [&](const Family& f) { return f.name == family; });
  if (found == families.end())
    return fmt::format("this program was built without {} (--any-machine plans it all the same)", family);
  const std::vector<std::string> isas = read_machine().isas;
  if (backend == "cpu" && !isa.empty() && std::find(isas.begin(), isas.end(), isa) == isas.end())
    return fmt::format("this machine has no {} (--any-machine plans it all the same)", isa);
  return "";
}

/// The middle of a value's share of [0, 1).
double coordinate(std::size_t index, std::size_t count) {
  return (static_cast<double>(index) + 0.5) / static_cast<double>(count);
}

}  // namespace

std::vector<std::int64_t> parse_numbers(const std::string& option, const std::vector<std::string>& words,
                                        const std::vector<std::int64_t>& grid) {
  std::vector<std::int64_t> numbers;
  for (const std::string& word : words) {
    const std::size_t dots = word.find("..");
    if (dots == std::string::npos) {
      numbers.push_back(parse_number(option, word));
      if (!grid.empty() && std::find(grid.begin(), grid.end(), numbers.back()) == grid.end())
        throw UsageError(fmt::format("{} '{}' is none of {}", option, word, fmt::join(grid, " ")));
      continue;
    }
    const std::int64_t low = parse_number(option, word.substr(0, dots)),
                       high = parse_number(option, word.substr(dots + 2));
    const std::size_t before = numbers.size();
    for (const std::int64_t value : grid)
      if (low <= value && value <= high) numbers.push_back(value);
    if (numbers.size() == before)
      throw UsageError(fmt::format("{} '{}' holds none of {}", option, word, fmt::join(grid, " ")));
  }
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
  return numbers;
}

Grid make_grid(const GridFilter& filter) {
  std::vector<int> datasets;
  for (std::size_t i = 0; i < all_datasets().size(); ++i)
    if (filter.datasets.empty() || std::find(filter.datasets.begin(), filter.datasets.end(),
                                             all_datasets()[i].name) != filter.datasets.end())
      datasets.push_back(static_cast<int>(i));
  for (const std::string& name : filter.datasets) dataset_info(name);
  std::vector<Shape> shapes;
  for (const std::string& name : filter.shapes) shapes.push_back(parse_shape(name));
  shapes = or_all(shapes, all_shapes());
  for (const std::string& isa : filter.isas)
    if (isa != "any") parse_isa(isa);
  for (const std::string& backend : filter.backends)
    if (backend != "cpu" && backend != "gpu")
      throw UsageError(unknown_name("backend", backend, {"cpu", "gpu"}));
  const auto backends = or_all(filter.backends, {"cpu"}), isas = or_all(filter.isas, {"any"});
  const auto threads = or_all(filter.threads, {0}), batches = or_all(filter.batches, {256});
  const auto sizes = or_all(filter.sizes, all_sizes());
  const auto depths = or_all(filter.depths, all_depths());

  Grid grid;
  grid.axes = 8;
  for (std::size_t b = 0; b < backends.size(); ++b)
    for (std::size_t i = 0; i < isas.size(); ++i) {
      const std::string isa = isas[i] == "any" ? "" : isas[i];
      if (const std::string reason = why_not(backends[b], isa, filter); !reason.empty()) {
        grid.infeasible.push_back({fmt::format("{}/mlp_train isa={}", backends[b], isas[i]), reason});
        continue;
      }
      for (const int d : datasets)
        for (std::size_t l = 0; l < depths.size(); ++l) {
          const std::vector<Shape> distinct = distinct_shapes(shapes, depths[l]);
          grid.duplicates += static_cast<std::int64_t>((shapes.size() - distinct.size()) * sizes.size());
          for (const Shape shape : distinct)
            for (std::size_t s = 0; s < sizes.size(); ++s) {
              const DatasetInfo& info = all_datasets()[static_cast<std::size_t>(d)];
              GridPoint point;
              point.backend = backends[b];
              point.dataset = d;
              point.entry.benchmark = fmt::format("{}/mlp_train/{}/{}/{}/{}", backends[b], info.name,
                                                  shape_name(shape), sizes[s], depths[l]);
              point.entry.isa = isa;
              try {
                point.network =
                    make_network(shape, sizes[s], depths[l], info.features, info.outputs, info.task);
              } catch (const InfeasibleNetwork& error) {
                grid.infeasible.push_back({point.entry.benchmark, error.what()});
                continue;
              }
              const auto shape_index = static_cast<std::size_t>(shape);
              for (std::size_t t = 0; t < threads.size(); ++t)
                for (std::size_t n = 0; n < batches.size(); ++n) {
                  point.entry.threads = threads[t];
                  point.entry.batch = batches[n];
                  point.coordinates = {coordinate(static_cast<std::size_t>(d), all_datasets().size()),
                                       coordinate(shape_index, all_shapes().size()),
                                       coordinate(s, sizes.size()),
                                       coordinate(l, depths.size()),
                                       coordinate(b, backends.size()),
                                       coordinate(i, isas.size()),
                                       coordinate(t, threads.size()),
                                       coordinate(n, batches.size())};
                  grid.points.push_back(point);
                }
            }
        }
    }
  return grid;
}

}  // namespace mlpwatt
