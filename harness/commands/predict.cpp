// mlpwatt predict: time and energy per step of one configuration, from the model of a file, without running
// it; and what another algorithm, batch or machine would make of it. --verify runs both and compares.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "harness/model/question.h"
#include "harness/model/verification.h"
#include "harness/options.h"
#include "harness/program.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  model::QuestionOptions question;
  NetworkOptions network;
  int batch = 256;
  std::string against;    ///< an algorithm
  int against_batch = 0;  ///< 0 = the same
  bool verify = false, json = false;
  model::VerifyOptions verification;
};

/// What the answer is compared with: another algorithm or batch, or the machine that was fitted.
struct Against {
  std::string name;
  model::Candidate asked, other;  ///< by the target both can be predicted for, energy before time
  bool extrapolated = false;
  double saving() const { return 1 - asked.per_datum / other.per_datum; }
};

/// Nothing where nothing else was asked about.
std::optional<Against> compare_with(const Options& options, const model::Question& question,
                                    const model::Configuration& c) {
  model::QuestionOptions other = options.question;
  std::vector<std::string> names;
  if (!options.against.empty()) {
    other.algorithm = options.against;
    names.push_back(options.against);
  }
  if (options.against_batch > 0) names.push_back(fmt::format("batch {}", options.against_batch));
  if (names.empty() && !options.question.hierarchy_file.empty() && question.knows_fitted_hierarchy()) {
    other.hierarchy_file.clear();
    names.push_back("the fitted machine");
  }
  if (names.empty()) return std::nullopt;
  if (question.engines_are_ours()) {
    other.isa = c.isa;
    // Threads stay as they are, or two things would differ at once.
    other.threads = c.threads;
  }
  const model::Question other_question(other);
  const model::Configuration d = other_question.configuration(
      c.dataset, c.shape, c.size, c.depth, options.against_batch > 0 ? options.against_batch : c.batch);
  const std::vector<model::Target> possible = question.model().targets(d.backend, d.algorithm);
  const model::Target best = question.best_target(c.algorithm);
  const model::Target target =
      std::find(possible.begin(), possible.end(), best) == possible.end() ? model::Target::kTime : best;
  return Against{fmt::format("{}", fmt::join(names, ", ")), make_candidate(question, c, target),
                 make_candidate(other_question, d, target), other_question.extrapolates(d)};
}

Json against_json(const Against& against) {
  return {{"name", against.name},
          {"provenance", "modelled"},
          {"target", model::to_string(against.asked.estimate.target)},
          {"algorithm", against.other.configuration.algorithm},
          {"batch", against.other.configuration.batch},
          {"extrapolated", against.extrapolated},
          {"per_datum", against.asked.per_datum},
          {"other_per_datum", against.other.per_datum},
          {"saving", against.saving()}};
}

void print_against(const Against& against, std::ostream& out) {
  const char* unit = against.asked.estimate.target == model::Target::kTime ? "s" : "J";
  out << fmt::format("\nagainst {}: {}{} per datum instead of {}{}, {:.1f} % {} (modelled)\n", against.name,
                     human_si(against.asked.per_datum), unit, human_si(against.other.per_datum), unit,
                     100 * std::abs(against.saving()), against.saving() < 0 ? "more" : "less");
  for (const std::string& line : model::explain(against.asked, against.other)) out << "  " << line << '\n';
}

Json estimate_json(const model::Estimate& estimate, double rows) {
  Json shares = Json::array();
  for (const model::Share& share : estimate.shares)
    shares.push_back({{"term", share.term},
                      {"amount", share.amount},
                      {"price", share.price},
                      {"unit", share.unit},
                      {"cost", share.cost}});
  return {{"target", model::to_string(estimate.target)},
          {"form", estimate.form},
          {"provenance", "modelled"},
          {"unit", estimate.target == model::Target::kTime ? "s" : "J"},
          {"per_step", estimate.value},
          {"per_step_low95", estimate.low95},
          {"per_step_high95", estimate.high95},
          {"per_datum", estimate.value / rows},
          {"terms", shares},
          {"unpriced", estimate.unpriced},
          {"inseparable", estimate.inseparable}};
}

int predict(const Options& options, Context& context) {
  const model::Question question(options.question);
  const model::Configuration c =
      question.configuration(options.network.dataset, options.network.shape, options.network.size,
                             options.network.depth, options.batch);
  const model::StepWork work = model::step_work(c, question.hierarchy());
  const double rows = model::rows_per_step(c);
  std::vector<model::Estimate> estimates;
  for (const model::Target target : question.model().targets(c.backend, c.algorithm))
    estimates.push_back(question.estimate(c, target));
  if (estimates.empty())
    estimates.push_back(question.estimate(c, model::Target::kTime));  // says what is missing
  const std::optional<Against> against = compare_with(options, question, c);
  std::optional<model::Verification> verification;
  if (options.verify) {
    if (!against) throw UsageError("--verify needs something to compare with: --against or --against-batch");
    if (!options.question.hierarchy_file.empty())
      throw UsageError("--verify runs on this machine; it cannot check a machine of --hierarchy");
    verification = model::verify(against->asked, against->other, options.verification, context.err);
  }
  if (options.json) {
    Json object{{"configuration", c.name()}, {"algorithm", c.algorithm},
                {"threads", c.threads},      {"isa", c.isa},
                {"batch", c.batch},          {"parameters", c.network.parameters()},
                {"provenance", "modelled"},  {"basis", question.basis()},
                {"estimates", Json::array()}};
    object["extrapolated"] = question.extrapolates(c);
    object["working_set_levels"] = {{"l", work.placement.inter_layer},
                                    {"f", work.placement.forward_pass},
                                    {"b", work.placement.backward_pass},
                                    {"d", work.placement.dataset}};
    for (const model::Estimate& estimate : estimates)
      object["estimates"].push_back(estimate_json(estimate, rows));
    if (against) object["against"] = against_json(*against);
    if (verification) object["against"]["verification"] = model::verification_json(*verification);
    context.out << object.dump(2) << '\n';
    return kExitOk;
  }
  context.out << fmt::format("{}, {} on {} thread(s), {}, {} parameters\n", c.name(), c.algorithm, c.threads,
                             c.isa, c.network.parameters());
  context.out << fmt::format("working sets      l {}, f {}, b {}, d {}\n", work.placement.inter_layer,
                             work.placement.forward_pass, work.placement.backward_pass,
                             work.placement.dataset);
  for (const model::Estimate& estimate : estimates) {
    const bool time = estimate.target == model::Target::kTime;
    const char* unit = time ? "s" : "J";
    context.out << fmt::format("\n{} per step  {}{} ({}{} .. {}{}, 95 %), {}{} per datum; form {}\n",
                               model::to_string(estimate.target), human_si(estimate.value), unit,
                               human_si(estimate.low95), unit, human_si(estimate.high95), unit,
                               human_si(estimate.value / rows), unit, estimate.form);
    std::vector<std::vector<std::string>> lines{{"term", "amount", "price", "cost", "share"}};
    for (const model::Share& share : estimate.shares)
      if (share.cost > 0)
        lines.push_back({share.term, human_si(share.amount),
                         fmt::format("{:.3g} {}", share.price, share.unit), human_si(share.cost) + unit,
                         fmt::format("{:.0f} %", 100 * share.cost / estimate.value)});
    context.out << text_table(lines);
    if (!estimate.unpriced.empty())
      context.out << fmt::format("not in it, as no run of the file has any: {}; it costs more\n",
                                 fmt::join(estimate.unpriced, ", "));
    if (!estimate.inseparable.empty())
      context.out << fmt::format(
          "not priced apart by this file's runs, so that what moves between them there is not in "
          "it: {}\n",
          fmt::join(estimate.inseparable, ", "));
  }
  if (against) print_against(*against, context.out);
  if (question.extrapolates(c) || (against && against->extrapolated))
    context.out << fmt::format("extrapolated: the file has runs with {} only\n", question.fitted_runs());
  if (verification) context.out << model::verification_text(*verification) << '\n';
  context.out << '\n' << question.basis() << '\n';
  return kExitOk;
}

const CommandRegistration registration{
    "predict", "time and energy per step of one configuration from a fitted model, without running it",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      add_network_options(app, options->network);
      app.add_option("--batch", options->batch, "rows of a training batch")
          ->capture_default_str()
          ->check(CLI::Range(1, 1 << 24));
      model::add_question_options(app, options->question);
      app.add_option(
          "--against", options->against,
          "compare with this algorithm: fused, blocked, a twin (twin_unblocked, twin_shallow), or of a "
          "GPU resident, cooperative, graph, graph_tf32, graph_bf16");
      app.add_option("--against-batch", options->against_batch, "compare with batches of so many rows")
          ->check(CLI::Range(1, 1 << 24));
      app.add_flag("--verify", options->verify, "run both, in turns, and say what was measured");
      model::add_verify_options(app, options->verification);
      app.add_flag("--json", options->json, "one JSON object");
      return [options](Context& context) { return predict(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt
