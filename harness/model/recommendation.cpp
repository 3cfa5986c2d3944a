#include "harness/model/recommendation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>
#include <tuple>

#include "harness/text.h"
#include "kernels/dataset.h"
#include "kernels/dataset_parts.h"

namespace mlpwatt::model {

namespace {

struct Choice {
  std::string shape;
  std::int64_t size;
  int depth;
  int batch = 0;  ///< 0: every batch size to be ranked
  // clang-tidy 14 takes the 0 that a <=> is compared with for a pointer
  auto operator<=>(const Choice&) const = default;  // NOLINT(modernize-use-nullptr)
};

/// Every shape and depth that has a network of about so many parameters.
std::set<Choice> choices_of_size(const Wish& wish) {
  const DatasetInfo& info = dataset_info(wish.dataset);
  std::set<Choice> found;
  for (const Shape shape : all_shapes())
    for (const int depth : all_depths()) {
      if (canonical_shape(shape, depth) != shape) continue;
      try {
        const Network network =
            make_network(shape, wish.parameters, depth, info.features, info.outputs, info.task);
        // The study's rule admits half as many or as few; a recommendation should be the size asked for.
        constexpr double kOff = 0.1;
        if (std::abs(static_cast<double>(network.parameters()) / static_cast<double>(wish.parameters) - 1) <=
            kOff)
          found.insert({shape_name(shape), wish.parameters, depth});
      } catch (const InfeasibleNetwork&) {
      }
    }
  if (found.empty())
    throw std::invalid_argument(
        fmt::format("no network of {} has {} parameters within 10 %; try another "
                    "--parameters",
                    wish.dataset, wish.parameters));
  return found;
}

/// Networks some recorded training of which reached the accuracy, with its batch: another one may not.
std::set<Choice> choices_of_accuracy(const Contents& contents, const Wish& wish) {
  const std::vector<Row>& runs = contents.rows(runs_table());
  std::set<Choice> found;
  double best = 0;
  for (const Row& point : contents.rows(curves_table())) {
    const Row& run = runs.at(static_cast<std::size_t>(point.integer("run_row")));
    const double accuracy = point.real("test_accuracy");
    if (run.text("dataset") != wish.dataset || std::isnan(accuracy)) continue;
    best = std::max(best, accuracy);
    if (accuracy >= wish.min_accuracy)
      found.insert({run.text("shape"), run.integer("size"), static_cast<int>(run.integer("depth")),
                    run.integer("batch") > 0 ? static_cast<int>(run.integer("batch")) : 256});
  }
  if (found.empty())
    throw std::invalid_argument(
        best > 0
            ? fmt::format("no recorded training of {} reached a test accuracy of {}; the best reached {:.4g}",
                          wish.dataset, wish.min_accuracy, best)
            : fmt::format("the file holds no training curve of {} with an accuracy; record some with: "
                          "mlpwatt train --dataset {} ...",
                          wish.dataset, wish.dataset));
  return found;
}

/// Without those beyond the first that holds the whole training split: their steps are the same.
std::vector<int> distinct_batches(std::vector<int> batches, std::int64_t train_rows) {
  std::sort(batches.begin(), batches.end());
  batches.erase(std::unique(batches.begin(), batches.end()), batches.end());
  const auto whole = std::lower_bound(batches.begin(), batches.end(), train_rows);
  if (whole != batches.end()) batches.erase(whole + 1, batches.end());
  return batches;
}

}  // namespace

const std::vector<int>& default_batches() {
  static const std::vector<int> batches{32, 64, 128, 256, 512, 1024};
  return batches;
}

Candidate make_candidate(const Question& question, const Configuration& c, Target target) {
  Candidate one{c, question.estimate(c, target), step_work(c, question.hierarchy())};
  const double rows = rows_per_step(c);
  one.per_datum = one.estimate.value / rows;
  one.per_datum_low95 = one.estimate.low95 / rows;
  one.per_datum_high95 = one.estimate.high95 / rows;
  one.s_per_datum =
      target == Target::kTime ? one.per_datum : question.estimate(c, Target::kTime).value / rows;
  return one;
}

std::vector<Candidate> recommend(const Question& question, const Wish& wish) {
  const DatasetInfo& info = dataset_info(wish.dataset);
  const std::vector<int> batches = distinct_batches(wish.batches.empty() ? default_batches() : wish.batches,
                                                    info.observations - test_split_rows(info.observations));
  if ((wish.parameters > 0) == (wish.min_accuracy > 0))
    throw std::invalid_argument("say either --parameters N or --min-accuracy A");
  const std::set<Choice> choices =
      wish.parameters > 0 ? choices_of_size(wish) : choices_of_accuracy(question.contents(), wish);
  std::vector<Candidate> candidates;
  std::set<Target> targets{Target::kTime, Target::kEnergyMeasured, Target::kEnergyModelled};
  std::vector<Configuration> configurations;
  for (const Choice& choice : choices) {
    const bool trained_with_one = choice.batch > 0 && wish.batches.empty();
    for (const int batch : trained_with_one ? std::vector<int>{choice.batch} : batches) {
      if (choice.batch > 0 && batch != choice.batch) continue;
      const Configuration c =
          question.configuration(wish.dataset, choice.shape, choice.size, choice.depth, batch);
      const std::vector<Target> possible = question.model().targets(c.backend, c.algorithm);
      std::erase_if(targets, [&](Target target) {
        return std::find(possible.begin(), possible.end(), target) == possible.end();
      });
      configurations.push_back(c);
    }
  }
  if (configurations.empty())
    throw std::invalid_argument(
        fmt::format("no recorded training of {} reached a test accuracy of {} with the --batches asked for",
                    wish.dataset, wish.min_accuracy));
  // One target for all, or the ranking would compare joules with seconds.
  const Target target = targets.contains(Target::kEnergyMeasured)   ? Target::kEnergyMeasured
                        : targets.contains(Target::kEnergyModelled) ? Target::kEnergyModelled
                                                                    : Target::kTime;
  for (const Configuration& c : configurations) candidates.push_back(make_candidate(question, c, target));
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::pair(!a.estimate.unpriced.empty(), a.per_datum) <
           std::pair(!b.estimate.unpriced.empty(), b.per_datum);
  });
  return candidates;
}

std::vector<std::string> explain(const Candidate& better, const Candidate& other) {
  const char* unit = better.estimate.target == Target::kTime ? "s" : "J";
  const double better_rows = rows_per_step(better.configuration),
               other_rows = rows_per_step(other.configuration);
  std::map<std::string, std::pair<const Share*, const Share*>> terms;
  for (const Share& share : better.estimate.shares) terms[share.term].first = &share;
  for (const Share& share : other.estimate.shares) terms[share.term].second = &share;
  std::vector<std::pair<double, std::string>> lines;
  for (const auto& [term, pair] : terms) {
    const double mine = pair.first != nullptr ? pair.first->cost / better_rows : 0;
    const double theirs = pair.second != nullptr ? pair.second->cost / other_rows : 0;
    if (std::abs(theirs - mine) < 0.01 * other.per_datum) continue;
    lines.emplace_back(
        mine - theirs,
        fmt::format("{:<8} {}{} against {}{} per datum ({} against {} per step)", term, human_si(mine), unit,
                    human_si(theirs), unit, human_si(pair.first != nullptr ? pair.first->amount : 0),
                    human_si(pair.second != nullptr ? pair.second->amount : 0)));
  }
  std::sort(lines.begin(), lines.end());
  std::vector<std::string> text;
  for (auto& [saving, line] : lines) text.push_back(std::move(line));
  return text;
}

}  // namespace mlpwatt::model
