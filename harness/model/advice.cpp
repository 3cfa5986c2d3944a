#include "harness/model/advice.h"

#include <algorithm>
#include <map>
#include <memory>
#include <stdexcept>

#include "harness/model/recommendation.h"
#include "harness/program.h"

namespace mlpwatt::model {

namespace {

using Json = nlohmann::ordered_json;

/// Quarter of the grid's octaves: from a network in L1 to one beyond L3.
const std::vector<std::int64_t>& advised_sizes() {
  static const std::vector<std::int64_t> sizes{1 << 10, 1 << 14, 1 << 18, 1 << 22};
  return sizes;
}

std::vector<std::string> datasets_of(const Question& question, int most) {
  const Contents& contents = question.contents();
  const std::int64_t machine_row = question.model().machine_row();
  const std::vector<std::int64_t> same = same_machines(contents.rows(machine_table()));
  std::map<std::string, int> runs;
  for (const Row& row : contents.rows(runs_table()))
    if (is_training_step(row) && row.text("backend") == question.backend() &&
        same.at(static_cast<std::size_t>(row.integer("machine_row"))) == machine_row)
      ++runs[row.text("dataset")];
  std::vector<std::pair<int, std::string>> order;
  for (const auto& [name, count] : runs) order.emplace_back(-count, name);
  std::sort(order.begin(), order.end());
  std::vector<std::string> names;
  for (const auto& [count, name] : order)
    if (static_cast<int>(names.size()) < most) names.push_back(name);
  return names;
}

Json candidate_json(const Question& question, const Candidate& candidate) {
  const Configuration& c = candidate.configuration;
  const Placement& p = candidate.work.placement;
  return {{"shape", c.shape},
          {"depth", c.depth},
          {"batch", c.batch},
          {"extrapolated", question.extrapolates(c)},
          {"unpriced", candidate.estimate.unpriced},
          {"parameters", c.network.parameters()},
          {"algorithm", c.algorithm},
          {"threads", c.threads},
          {"per_datum", candidate.per_datum},
          {"per_datum_low95", candidate.per_datum_low95},
          {"per_datum_high95", candidate.per_datum_high95},
          {"working_set_levels",
           {{"l", p.inter_layer}, {"f", p.forward_pass}, {"b", p.backward_pass}, {"d", p.dataset}}}};
}

void advise_for(const Question& question, int most_datasets, Json& advice) {
  const std::int64_t machine_row = question.model().machine_row();
  const Row& machine = question.contents().rows(machine_table()).at(static_cast<std::size_t>(machine_row));
  for (const std::string& dataset : datasets_of(question, most_datasets))
    for (const std::int64_t size : advised_sizes()) {
      std::vector<Candidate> candidates;
      try {
        candidates = recommend(question, {dataset, size, 0, question.batches()});
      } catch (const std::invalid_argument&) {
        continue;  // no such network, or an algorithm nothing was fitted for
      }
      if (candidates.size() < 2) continue;
      const Candidate &best = candidates.front(), &median = candidates[candidates.size() / 2];
      const std::vector<std::string> why = explain(best, median);
      advice.push_back({{"machine", machine.text("host") + ", " + question.computes()},
                        {"dataset", dataset},
                        {"size", size},
                        {"target", to_string(best.estimate.target)},
                        {"form", best.estimate.form},
                        {"provenance", "modelled"},
                        {"candidates", candidates.size()},
                        {"best", candidate_json(question, best)},
                        {"median", candidate_json(question, median)},
                        {"saving", 1 - best.per_datum / median.per_datum},
                        {"why", why.empty() ? "" : why.front()}});
    }
}

}  // namespace

Json advise(const std::string& path, int most_datasets) {
  Json advice = Json::array();
  QuestionOptions options;
  options.model_file = path;
  try {
    const auto contents = std::make_shared<const Contents>(read_file(path));
    const Model any(*contents, path);
    for (const std::int64_t machine_row : any.machine_rows()) {
      options.machine = std::to_string(machine_row);
      for (const std::string& backend : Model(*contents, path, options.machine).backends()) {
        options.backend = backend;
        try {
          advise_for(Question(options, contents), most_datasets, advice);
        } catch (const UsageError&) {  // a device that its runs do not describe, or without an fp32 engine
        }
      }
    }
  } catch (const std::invalid_argument&) {  // no model
  }
  return advice;
}

}  // namespace mlpwatt::model
