#include "harness/campaign/predict.h"

#include <fmt/format.h>

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "harness/build_facts.h"
#include "harness/model/nnls.h"
#include "harness/run/run_one.h"
#include "harness/text.h"

namespace mlpwatt {
namespace {

/// Of networks beyond this the reference follows fewer rows, so that its part of the check stays put.
constexpr double kCheckedParameters = 40'000;
/// Weights are read forward and backward; Adam reads and writes them and both moments.
constexpr double kStateBytesPerParameter = 4 * (2 + 3 + 3);
/// Activations are written and read forward, and their gradients backward.
constexpr double kBytesPerCell = 4 * 4;

/// Of the file; a kept one of another version is measured again.
constexpr int kCalibrationVersion = 2;

/// Over small and large, shallow and deep, and each kind of shape: what the coefficients are fitted to.
struct Pick {
  Shape shape;
  std::int64_t size;
  int depth;
  int inputs;  ///< 11: the shipped dataset; 60: splice, for wide first layers
};
constexpr Pick kPicks[] = {
    {Shape::kRectangle, 1 << 5, 2, 11},           {Shape::kRectangle, 1 << 7, 4, 11},
    {Shape::kTrapezoid, 1 << 8, 3, 60},           {Shape::kRectangleResidual, 1 << 10, 8, 11},
    {Shape::kRectangle, 1 << 11, 20, 11},         {Shape::kExponential, 1 << 12, 4, 60},
    {Shape::kWideFirst16x, 1 << 13, 5, 11},       {Shape::kRectangle, 1 << 14, 3, 60},
    {Shape::kTrapezoid, 1 << 15, 10, 11},         {Shape::kRectangle, 1 << 16, 16, 11},
    {Shape::kWideFirst4x, 1 << 17, 4, 60},        {Shape::kRectangle, 1 << 18, 2, 60},
    {Shape::kExponential, 1 << 19, 7, 11},        {Shape::kRectangle, 1 << 20, 5, 11},
    {Shape::kRectangleResidual, 1 << 21, 12, 11}, {Shape::kTrapezoid, 1 << 22, 3, 60},
    {Shape::kWideFirst2x, 1 << 23, 6, 11}};

std::vector<double> overhead_features(double parameters) {
  return {1, std::min(parameters, kCheckedParameters), parameters};
}

/// The window that a step of this length gets when its first blocks are tight enough.
double least_window_s(double step_s, const ProtocolOptions& protocol) {
  return std::max(step_s, std::min(std::max(protocol.window_s, protocol.minimum_blocks * step_s),
                                   protocol.longest_window_s() + step_s));
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// The triad sweep's point nearest to `bytes`, by all cores where the backend has such a sweep.
std::string triad_near(const std::string& backend, const RunOptions& options, double bytes) {
  std::string name;
  double best = HUGE_VAL;
  for (const Family& family : catalogue())
    if (family.name == backend + "/stream")
      family.enumerate(options, [&](const Benchmark& benchmark) {
        const auto size = benchmark.parameters.find("working_set_bytes");
        if (!benchmark.name.starts_with(backend + "/stream/triad/") || size == benchmark.parameters.end())
          return;
        const double distance =
            std::fabs(std::log(static_cast<double>(std::get<std::int64_t>(size->second)) / bytes)) -
            (benchmark.name.ends_with("/all") ? 100 : 0);
        if (distance >= best) return;
        best = distance;
        name = benchmark.name;
      });
  return name;
}

/// Coefficients >= 0 that make rows . c nearest to the target in relative terms.
std::vector<double> fit_relative(const std::vector<std::vector<double>>& rows,
                                 const std::vector<double>& target) {
  const auto n = static_cast<Eigen::Index>(rows.size()),
             columns = static_cast<Eigen::Index>(rows.front().size());
  Eigen::MatrixXd a(n, columns);
  for (Eigen::Index i = 0; i < n; ++i)
    for (Eigen::Index c = 0; c < columns; ++c)
      a(i, c) = rows[static_cast<std::size_t>(i)][static_cast<std::size_t>(c)] /
                target[static_cast<std::size_t>(i)];
  const Eigen::VectorXd found = model::nnls(a, Eigen::VectorXd::Ones(n)).x;
  return {found.begin(), found.end()};
}

class Measurer {
 public:
  Measurer(const Machine& machine, const ProtocolOptions& protocol, const Way& way, Clock& clock,
           const std::function<void(const std::string&)>& say)
      : clock_(clock), say_(say) {
    settings_.machine = machine;
    settings_.protocol = protocol;
    settings_.kernel.hierarchy = machine.hierarchy;
    settings_.kernel.threads = way.threads;
    settings_.kernel.isa = way.isa;
    settings_.kernel.dataset.source = DatasetSource::kAuto;
    settings_.command = "mlpwatt plan";
  }
  const RunOptions& options() const { return settings_.kernel; }

  /// Its row, and the time it took in all.
  std::pair<Row, double> measure(const std::string& name) {
    const std::string family = name.substr(0, name.find('/', name.find('/') + 1));
    Benchmark chosen;
    for (const Family& candidate : catalogue())
      if (candidate.name == family)
        candidate.enumerate(options(), [&](const Benchmark& benchmark) {
          if (benchmark.name == name) chosen = benchmark;
        });
    if (chosen.name.empty()) throw std::runtime_error("calibration: no benchmark " + name);
    const double before = clock_.monotonic_s();
    const Record record = run_one(chosen, settings_, {}, clock_);
    const double took_s = clock_.monotonic_s() - before;
    if (record.run.text("status") != "ok")
      throw std::runtime_error(
          fmt::format("calibration: {}: {}: {}", name, record.run.text("status"), record.run.text("reason")));
    say_(fmt::format("calibration: {}  {}/step", name, human_seconds(record.run.real("step_s"))));
    return {record.run, took_s};
  }

 private:
  RunSettings settings_;
  Clock& clock_;
  const std::function<void(const std::string&)>& say_;
};

void measure_peaks(TimeModel& model, Measurer& measurer) {
  std::string peak;
  for (const Family& family : catalogue())
    if (family.name == model.backend + "/fma")
      family.enumerate(measurer.options(), [&](const Benchmark& benchmark) {
        if (peak.empty() || benchmark.quick) peak = benchmark.name;
      });
  if (!model.isa.empty()) peak = model.backend + "/fma/" + model.isa;
  model.peak_flops_per_s = measurer.measure(peak).first.real("flops_per_s");
  const Hierarchy& hierarchy = measurer.options().hierarchy;
  const auto near = static_cast<double>(hierarchy.capacity_bytes("L2", 512 << 10)) / 2;
  const auto last = static_cast<double>(hierarchy.capacity_bytes("L3", 32 << 20));
  const auto rate = [&](double bytes) {
    return measurer.measure(triad_near(model.backend, measurer.options(), bytes))
        .first.real("compulsory_bytes_per_s");
  };
  model.near_bytes_per_s = rate(near * std::max(1, hierarchy.cores));
  model.far_bytes_per_s = rate(3 * last);
}

double measure_loading(const DatasetInfo& dataset, Clock& clock) {
  const double before = clock.monotonic_s();
  const Dataset data = load_dataset(dataset.name, {DatasetSource::kAuto, "", 1});
  return (clock.monotonic_s() - before) /
         static_cast<double>(data.rows * (dataset.features + dataset.outputs));
}

void fit(TimeModel& model, Measurer& measurer, const ProtocolOptions& protocol) {
  std::vector<std::vector<double>> step_rows, overhead_rows;
  std::vector<double> steps, overheads, stretches;
  for (const Pick& pick : kPicks) {
    const DatasetInfo& info = dataset_info(pick.inputs == 11 ? "wine_quality_white" : "splice");
    const Network network =
        make_network(pick.shape, pick.size, pick.depth, info.features, info.outputs, info.task);
    const auto [row, took_s] = measurer.measure(fmt::format(
        "{}/mlp_train/{}/{}/{}/{}", model.backend, info.name, shape_name(pick.shape), pick.size, pick.depth));
    const double step_s = row.real("step_s");
    step_rows.push_back(
        model.features(network, 256, info.observations, measurer.options().hierarchy).values());
    steps.push_back(step_s);
    const double timed_s = row.real("warm_up_s") + row.real("duration_s");
    stretches.push_back(timed_s / least_window_s(step_s, protocol));
    overhead_rows.push_back(overhead_features(static_cast<double>(network.parameters())));
    overheads.push_back(std::max(1e-4, took_s - timed_s));
  }
  model.step = fit_relative(step_rows, steps);
  model.stretch = summarise(stretches).mean;
  model.overhead = fit_relative(overhead_rows, overheads);
  std::vector<double> errors;
  for (std::size_t i = 0; i < steps.size(); ++i)
    errors.push_back(std::fabs(dot(model.step, step_rows[i]) / steps[i] - 1));
  model.step_error = summarise(errors).median;
}

/// Of the window that has just ended.
NodePower node_power(PowerSession& session) {
  NodePower power;
  const WindowPower seen = session.result();
  // as set_totals: where GPUs alone are metered, the model stands in for the processor
  const bool elsewhere = seen.measured && is_accelerators_alone(*seen.measured, seen.channels);
  const auto& total = seen.measured && !(elsewhere && seen.modelled) ? seen.measured : seen.modelled;
  if (!total || !std::isfinite(total->gross.mean_w())) return power;
  power.meters = total->meters;
  power.domains = total->domains;
  power.provenance = to_string(total->provenance);
  power.watts = total->gross.mean_w();
  power.idle_watts = total->idle_w;
  power.slowest_period_s = session.slowest_period_s();
  return power;
}

/// JSON has no NaN.
nlohmann::ordered_json or_null(double value) {
  return std::isnan(value) ? nlohmann::ordered_json() : nlohmann::ordered_json(value);
}
double or_nan(const nlohmann::json& value) { return value.is_null() ? std::nan("") : value.get<double>(); }

}  // namespace

StepFeatures TimeModel::features(const Network& network, int batch, std::int64_t rows,
                                 const Hierarchy& hierarchy) const {
  const Cost cost = mlp_train_cost(network, batch, rows);
  const int units = threads > 0 ? threads : std::max(1, hierarchy.cores);
  const bool far = place(cost.working_sets, hierarchy, units).backward_pass == "memory";
  std::int64_t nodes = network.inputs;
  for (const int width : network.widths) nodes += width;
  StepFeatures features;
  features.layers = network.depth();
  features.compute_s = static_cast<double>(cost.flops()) / peak_flops_per_s;
  features.cells_s = kBytesPerCell * static_cast<double>(nodes) * batch / near_bytes_per_s;
  features.state_s = kStateBytesPerParameter * static_cast<double>(network.parameters()) /
                     (far ? far_bytes_per_s : near_bytes_per_s);
  return features;
}

double TimeModel::step_s(const Network& network, int batch, std::int64_t rows,
                         const Hierarchy& hierarchy) const {
  return dot(step, features(network, batch, rows, hierarchy).values());
}

double TimeModel::run_s(double one_step_s, std::int64_t parameters, const ProtocolOptions& protocol,
                        double for_energy_s) const {
  const double window_s =
      std::max(least_window_s(one_step_s, protocol), std::min(for_energy_s, protocol.longest_window_s()));
  return stretch * window_s + dot(overhead, overhead_features(static_cast<double>(parameters)));
}

double TimeModel::load_s(const DatasetInfo& dataset) const {
  return load_s_per_cell * static_cast<double>(dataset.observations * (dataset.features + dataset.outputs));
}

bool Calibration::has(const std::string& backend, const std::string& isa, int threads) const {
  return std::any_of(models.begin(), models.end(), [&](const TimeModel& model) {
    return model.backend == backend && model.isa == isa && model.threads == threads;
  });
}

const TimeModel& Calibration::model(const std::string& backend, const std::string& isa, int threads) const {
  for (const TimeModel& model : models)
    if (model.backend == backend && model.isa == isa && model.threads == threads) return model;
  throw std::runtime_error(fmt::format("the calibration has nothing about {} isa={} threads={}", backend,
                                       isa.empty() ? "any" : isa, threads));
}

nlohmann::ordered_json calibration_json(const Calibration& calibration) {
  nlohmann::ordered_json models = nlohmann::ordered_json::array();
  for (const TimeModel& model : calibration.models)
    models.push_back({{"backend", model.backend},
                      {"isa", model.isa},
                      {"threads", model.threads},
                      {"peak_flops_per_s", model.peak_flops_per_s},
                      {"near_bytes_per_s", model.near_bytes_per_s},
                      {"far_bytes_per_s", model.far_bytes_per_s},
                      {"step", model.step},
                      {"stretch", model.stretch},
                      {"overhead", model.overhead},
                      {"load_s_per_cell", model.load_s_per_cell},
                      {"step_error", model.step_error}});
  const NodePower& power = calibration.power;
  return {{"mlpwatt_calibration", kCalibrationVersion},
          {"host", calibration.host},
          {"processor", calibration.processor},
          {"measured_utc", calibration.measured_utc},
          {"commit", calibration.commit},
          {"window_s", calibration.window_s},
          {"power",
           {{"asked", power.asked},
            {"meters", power.meters},
            {"domains", power.domains},
            {"provenance", power.provenance},
            {"watts", or_null(power.watts)},
            {"idle_watts", or_null(power.idle_watts)},
            {"slowest_period_s", power.slowest_period_s}}},
          {"models", models}};
}

Calibration parse_calibration(const nlohmann::json& json) {
  if (json.at("mlpwatt_calibration") != kCalibrationVersion)
    throw std::runtime_error(fmt::format("not a calibration of version {}", kCalibrationVersion));
  Calibration calibration;
  calibration.host = json.at("host");
  calibration.processor = json.at("processor");
  calibration.measured_utc = json.at("measured_utc");
  calibration.commit = json.at("commit");
  calibration.window_s = json.at("window_s");
  const nlohmann::json& power = json.at("power");
  calibration.power = {power.at("asked"),           power.at("meters"),        power.at("domains"),
                       power.at("provenance"),      or_nan(power.at("watts")), or_nan(power.at("idle_watts")),
                       power.at("slowest_period_s")};
  for (const nlohmann::json& entry : json.at("models")) {
    TimeModel model;
    model.backend = entry.at("backend");
    model.isa = entry.at("isa");
    model.threads = entry.at("threads");
    model.peak_flops_per_s = entry.at("peak_flops_per_s");
    model.near_bytes_per_s = entry.at("near_bytes_per_s");
    model.far_bytes_per_s = entry.at("far_bytes_per_s");
    model.step = entry.at("step").get<std::vector<double>>();
    model.stretch = entry.at("stretch");
    model.overhead = entry.at("overhead").get<std::vector<double>>();
    model.load_s_per_cell = entry.at("load_s_per_cell");
    model.step_error = entry.at("step_error");
    if (model.step.size() != StepFeatures().values().size() ||
        model.overhead.size() != overhead_features(1).size())
      throw std::runtime_error("wrong number of coefficients");
    calibration.models.push_back(model);
  }
  return calibration;
}

Calibration calibrate(const std::vector<Way>& ways, const Machine& machine, const ProtocolOptions& protocol,
                      double budget_s, PowerSession& power, Clock& clock,
                      const std::function<void(const std::string&)>& say) {
  const double began_s = clock.monotonic_s();
  Calibration calibration;
  calibration.host = machine.host;
  calibration.processor = machine.processor;
  calibration.measured_utc = utc_text(clock.realtime_ns());
  calibration.commit = build_facts().commit;
  calibration.window_s = protocol.window_s;
  power.be_idle_once();
  power.begin_window();
  budget_s = std::max(0.5 * budget_s, budget_s - (clock.monotonic_s() - began_s));  // the meters took some
  // A run takes about three windows with warm-up, check and set-up.
  const double runs = static_cast<double>(ways.size() * (std::size(kPicks) + 3));
  ProtocolOptions shorter = protocol;
  shorter.window_s = std::clamp(budget_s / runs / 3, 0.01, protocol.window_s);
  shorter.maximum_window_s =
      protocol.maximum_window_s * shorter.window_s / std::max(protocol.window_s, shorter.window_s);
  for (const Way& way : ways) {
    TimeModel model;
    model.backend = way.backend;
    model.isa = way.isa;
    model.threads = way.threads;
    const DatasetInfo& shipped = dataset_info("wine_quality_white");
    model.load_s_per_cell = measure_loading(shipped, clock);
    Measurer measurer(machine, shorter, way, clock, say);
    measure_peaks(model, measurer);
    fit(model, measurer, shorter);
    calibration.models.push_back(model);
  }
  power.end_window();
  calibration.power = node_power(power);
  return calibration;
}

}  // namespace mlpwatt
