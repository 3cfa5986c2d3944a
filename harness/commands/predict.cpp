// mlpwatt predict: time and energy per step of one configuration, from the model of a file, without running
// it.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/model/question.h"
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
  bool json = false;
};

Json estimate_json(const model::Estimate& estimate, double rows) {
  Json shares = Json::array();
  for (const model::Share& share : estimate.shares)
    shares.push_back(
        {{"term", share.term}, {"amount", share.amount}, {"price", share.price}, {"cost", share.cost}});
  return {{"target", model::to_string(estimate.target)},
          {"form", estimate.form},
          {"provenance", "modelled"},
          {"unit", estimate.target == model::Target::kTime ? "s" : "J"},
          {"per_step", estimate.value},
          {"per_step_low95", estimate.low95},
          {"per_step_high95", estimate.high95},
          {"per_datum", estimate.value / rows},
          {"terms", shares}};
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
  if (options.json) {
    Json object{{"configuration", c.name()}, {"algorithm", c.algorithm},
                {"threads", c.threads},      {"isa", c.isa},
                {"batch", c.batch},          {"parameters", c.network.parameters()},
                {"provenance", "modelled"},  {"basis", question.basis()},
                {"estimates", Json::array()}};
    object["working_set_levels"] = {{"l", work.placement.inter_layer},
                                    {"f", work.placement.forward_pass},
                                    {"b", work.placement.backward_pass},
                                    {"d", work.placement.dataset}};
    for (const model::Estimate& estimate : estimates)
      object["estimates"].push_back(estimate_json(estimate, rows));
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
        lines.push_back({share.term, human_si(share.amount), fmt::format("{:.3g} {}", share.price, unit),
                         human_si(share.cost) + unit,
                         fmt::format("{:.0f} %", 100 * share.cost / estimate.value)});
    context.out << text_table(lines);
  }
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
      app.add_flag("--json", options->json, "one JSON object");
      return [options](Context& context) { return predict(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt
