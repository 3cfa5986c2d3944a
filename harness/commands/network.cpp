// mlpwatt network: one configuration of the grid, its cost, and where its working sets live here.

#include <fmt/format.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "harness/options.h"
#include "harness/program.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  NetworkOptions network;
  int batch = 256;
  int units = 0;
  bool json = false;
};

Json working_set_json(const WorkingSet& set, const std::string& level) {
  return {{"replicated_bytes", set.replicated_bytes},
          {"distributed_bytes", set.distributed_bytes},
          {"total_bytes", set.total_bytes()},
          {"level", level}};
}

int show_network(const Options& options, Context& context) {
  const DatasetInfo& dataset = dataset_info(options.network.dataset);
  const Network network = to_network(options.network);
  const Hierarchy hierarchy = read_hierarchy();
  const int units = options.units > 0 ? options.units : hierarchy.cores;
  const std::int64_t train_rows = dataset.observations - (dataset.observations * 2 + 5) / 10;
  const Cost cost = mlp_train_cost(network, options.batch, dataset.observations);
  const Placement placement = place(cost.working_sets, hierarchy, units);
  if (options.json) {
    const WorkingSets& sets = cost.working_sets;
    Json object{{"dataset", dataset.name},
                {"shape", options.network.shape},
                {"size", options.network.size},
                {"depth", options.network.depth},
                {"inputs", network.inputs},
                {"outputs", network.outputs()},
                {"task", task_name(network.task)},
                {"residual", network.residual},
                {"widths", network.widths},
                {"parameters", network.parameters()},
                {"batch", options.batch},
                {"steps_per_epoch", (train_rows + options.batch - 1) / options.batch},
                {"flops_per_step", cost.flops()},
                {"multiplies_per_step", cost.multiplies},
                {"adds_per_step", cost.adds},
                {"study_forward_macs_per_step", cost.study_forward_macs},
                {"study_backward_macs_per_step", cost.study_backward_macs},
                {"compulsory_read_bytes_per_step", cost.compulsory_read_bytes},
                {"compulsory_write_bytes_per_step", cost.compulsory_write_bytes},
                {"working_sets",
                 {{"inter_layer", working_set_json(sets.inter_layer, placement.inter_layer)},
                  {"forward_pass", working_set_json(sets.forward_pass, placement.forward_pass)},
                  {"backward_pass", working_set_json(sets.backward_pass, placement.backward_pass)},
                  {"dataset", working_set_json(sets.dataset, placement.dataset)}}},
                {"units", units},
                {"hierarchy_source", hierarchy.source}};
    context.out << object.dump(2) << '\n';
    return kExitOk;
  }
  context.out << fmt::format("{} {} of {} parameters asked, depth {} ({}{})\n", dataset.name,
                             options.network.shape, options.network.size, options.network.depth,
                             task_name(network.task), network.residual ? ", residual" : "");
  context.out << fmt::format("widths            {} -> {}\n", network.inputs, fmt::join(network.widths, " "));
  context.out << fmt::format("parameters        {}\n", network.parameters());
  context.out << fmt::format("flops per step    {} (batch {}; every multiply and add)\n", cost.flops(),
                             options.batch);
  context.out << fmt::format("study's counting  {} forward + {} backward multiply-accumulates\n",
                             cost.study_forward_macs, cost.study_backward_macs);
  context.out << fmt::format("compulsory bytes  {} read, {} written\n",
                             human_bytes(static_cast<double>(cost.compulsory_read_bytes)),
                             human_bytes(static_cast<double>(cost.compulsory_write_bytes)));
  const auto row = [](const std::string& name, const WorkingSet& set, const std::string& level) {
    return std::vector<std::string>{name, human_bytes(static_cast<double>(set.replicated_bytes)),
                                    human_bytes(static_cast<double>(set.distributed_bytes)), level};
  };
  context.out << '\n'
              << text_table({{"working set", "replicated", "distributed", "lives in"},
                             row("l inter-layer", cost.working_sets.inter_layer, placement.inter_layer),
                             row("f forward pass", cost.working_sets.forward_pass, placement.forward_pass),
                             row("b backward pass", cost.working_sets.backward_pass, placement.backward_pass),
                             row("d dataset", cost.working_sets.dataset, placement.dataset)});
  context.out << fmt::format("(distributed over {} cores; hierarchy: {})\n", units, hierarchy.source);
  return kExitOk;
}

const CommandRegistration registration{
    "network", "one configuration: widths, parameters, FLOPs, bytes, working sets and where each lives",
    [](CLI::App& app) -> Action {
      auto options = std::make_shared<Options>();
      add_network_options(app, options->network);
      add_batch_option(app, options->batch);
      whole_number(app.add_option("--units", options->units,
                                  "cores the distributed sets are split over; 0 = all of this machine"),
                   0, 1 << 24);
      app.add_flag("--json", options->json, "one JSON object");
      return [options](Context& context) { return show_network(*options, context); };
    }};

}  // namespace
}  // namespace mlpwatt
