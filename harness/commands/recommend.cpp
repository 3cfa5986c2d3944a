// mlpwatt recommend: networks and batch sizes that meet a wish, cheapest predicted datum first, and why;
// --verify runs the top and the median pick side by side.

#include <fmt/format.h>

#include <algorithm>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/model/recommendation.h"
#include "harness/model/verification.h"
#include "harness/options.h"
#include "harness/program.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  model::QuestionOptions question;
  model::Wish wish;
  std::size_t top = 10;
  bool verify = false, json = false;
  model::VerifyOptions verification;
};

std::string levels_of(const model::Candidate& candidate) {
  const Placement& p = candidate.work.placement;
  return fmt::format("l {}, f {}, b {}, d {}", p.inter_layer, p.forward_pass, p.backward_pass, p.dataset);
}

std::string network_text(const model::Candidate& candidate) {
  const model::Configuration& c = candidate.configuration;
  return fmt::format("{} depth {} batch {}", c.shape, c.depth, c.batch);
}

Json candidate_json(const model::Candidate& candidate, const model::Question& question) {
  const model::Configuration& c = candidate.configuration;
  return {{"shape", c.shape},
          {"size", c.size},
          {"depth", c.depth},
          {"batch", c.batch},
          {"extrapolated", question.extrapolates(c)},
          {"parameters", c.network.parameters()},
          {"widths", c.network.widths},
          {"algorithm", c.algorithm},
          {"threads", c.threads},
          {"target", model::to_string(candidate.estimate.target)},
          {"form", candidate.estimate.form},
          {"provenance", "modelled"},
          {"per_datum", candidate.per_datum},
          {"per_datum_low95", candidate.per_datum_low95},
          {"per_datum_high95", candidate.per_datum_high95},
          {"working_set_levels",
           {{"l", candidate.work.placement.inter_layer},
            {"f", candidate.work.placement.forward_pass},
            {"b", candidate.work.placement.backward_pass},
            {"d", candidate.work.placement.dataset}}}};
}

void print_candidates(const std::vector<model::Candidate>& candidates, std::size_t top, std::ostream& out) {
  const char* unit = candidates.front().estimate.target == model::Target::kTime ? "s" : "J";
  std::vector<std::vector<std::string>> lines{{"rank", "network", "parameters", "algorithm",
                                               "per datum (modelled)", "95 % interval", "working sets in"}};
  const auto add = [&](std::size_t rank) {
    const model::Candidate& one = candidates[rank];
    const model::Configuration& c = one.configuration;
    lines.push_back({std::to_string(rank + 1), network_text(one), std::to_string(c.network.parameters()),
                     fmt::format("{} x{}", c.algorithm, c.threads), human_si(one.per_datum) + unit,
                     fmt::format("{}{} .. {}{}", human_si(one.per_datum_low95), unit,
                                 human_si(one.per_datum_high95), unit),
                     levels_of(one)});
  };
  for (std::size_t i = 0; i < std::min(top, candidates.size()); ++i) add(i);
  if (candidates.size() / 2 >= top) add(candidates.size() / 2);
  out << text_table(lines);
}

int recommend(const Options& options, Context& context) {
  const model::Question question(options.question);
  const std::vector<model::Candidate> candidates = model::recommend(question, options.wish);
  const model::Candidate &best = candidates.front(), &median = candidates[candidates.size() / 2];
  const std::vector<std::string> why = model::explain(best, median);
  std::unique_ptr<model::Verification> verification;
  if (options.verify) {
    if (candidates.size() < 2) throw std::runtime_error("--verify needs two candidates, there is one");
    if (!options.question.hierarchy_file.empty())
      throw UsageError("--verify runs on this machine; it cannot check a machine of --hierarchy");
    verification =
        std::make_unique<model::Verification>(model::verify(best, median, options.verification, context.err));
  }
  if (options.json) {
    Json object{{"dataset", options.wish.dataset},
                {"provenance", "modelled"},
                {"basis", question.basis()},
                {"candidates", Json::array()},
                {"why_against_median", why}};
    for (const model::Candidate& candidate : candidates)
      object["candidates"].push_back(candidate_json(candidate, question));
    if (verification) object["verification"] = model::verification_json(*verification);
    context.out << object.dump(2) << '\n';
  } else {
    print_candidates(candidates, options.top, context.out);
    context.out << fmt::format("\n{} candidates, ranked by {} per datum, form {}\n", candidates.size(),
                               model::to_string(best.estimate.target), best.estimate.form);
    const auto extrapolated =
        std::count_if(candidates.begin(), candidates.end(),
                      [&](const model::Candidate& c) { return question.extrapolates(c.configuration); });
    if (extrapolated > 0)
      context.out << fmt::format("{} of them are extrapolated: the file has runs with {} only\n",
                                 extrapolated, question.fitted_runs());
    if (!best.estimate.inseparable.empty())
      context.out << fmt::format(
          "not priced apart by this file's runs, so that what moves between them there is not in "
          "the ranking: {}\n",
          fmt::join(best.estimate.inseparable, ", "));
    const auto unpriced = std::find_if(candidates.begin(), candidates.end(), [](const model::Candidate& c) {
      return !c.estimate.unpriced.empty();
    });
    if (unpriced != candidates.end())
      context.out << fmt::format(
          "{} of them are ranked last: no run of the file has any {}, so that what it "
          "costs is not in their numbers\n",
          candidates.end() - unpriced, fmt::join(unpriced->estimate.unpriced, ", "));
    if (candidates.size() > 1) {
      context.out << fmt::format("why {} rather than the median pick {}:\n", network_text(best),
                                 network_text(median));
      for (const std::string& line : why) context.out << "  " << line << '\n';
      if (why.empty()) context.out << "  no term differs by 1 % of the cost: the model sees no difference\n";
    }
    context.out << question.basis() << '\n';
    if (verification)
      context.out << fmt::format("{}: {}\n", model::verification_text(*verification),
                                 verification->holds() ? "the winner is measurably cheaper"
                                 : verification->decides()
                                     ? "NOT measurably cheaper"
                                     : "predicted to save joules, not seconds, and no meter measured joules");
  }
  return verification && verification->decides() && !verification->holds() ? kExitFailure : kExitOk;
}

const CommandRegistration registration{
    "recommend",
    "ranks networks and batch sizes by predicted cost of a training datum and says why; --verify runs two of "
    "them",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      app.add_option("--dataset", options->wish.dataset, "one of the study's 13 tasks")->required();
      app.add_option("--parameters", options->wish.parameters, "number of trainable parameters wanted")
          ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 32));
      app.add_option("--min-accuracy", options->wish.min_accuracy,
                     "test accuracy that a recorded training of the network reached")
          ->check(CLI::Range(0.0, 1.0));
      app.add_option(
             "--batches", options->wish.batches,
             fmt::format("batch sizes to rank; default: {}, or with --min-accuracy those that reached it",
                         fmt::join(model::default_batches(), ",")))
          ->delimiter(',')
          ->check(CLI::Range(1, 1 << 24));
      app.add_option("--top", options->top, "lines to print")->capture_default_str();
      app.add_flag("--verify", options->verify,
                   "run the top and the median pick and compare; exit 1 if not cheaper");
      model::add_verify_options(app, options->verification);
      model::add_question_options(app, options->question);
      app.add_flag("--json", options->json, "one JSON object");
      return [options](Context& context) { return recommend(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt
