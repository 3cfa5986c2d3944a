// The report page: every figure is there, drawn or excused, for full and for poor files.

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "harness/build_facts.h"
#include "tests/harness/model/synthetic_file.h"
#include "tests/harness/program.h"
#include "tests/support/shell.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/text_of.h"

namespace mlpwatt {
namespace {

using testing::run;
using testing::shell;
using testing::Shell;
using testing::TemporaryFolder;
using testing::text_of;

std::string source(const std::string& path) { return build_facts().source_dir + "/" + path; }

int occurrences(const std::string& text, const std::string& words) {
  int count = 0;
  for (std::size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) ++count;
  return count;
}

Shell check_page(const std::string& page, const std::string& drawn = "") {
  return shell("/usr/bin/python3 " + source("tests/results/check_page.py") + " " + page + " " +
               source("results/figures") + (drawn.empty() ? "" : " --drawn " + drawn));
}

/// Everything a row of the training grid has beside its time.
void complete(Row& row) {
  const model::Configuration c = model::configuration_of(row);
  const Cost cost = mlp_train_cost(c.network, 256, c.dataset_rows);
  row.set("flops", cost.flops());
  row.set("compulsory_read_bytes", cost.compulsory_read_bytes);
  row.set("compulsory_write_bytes", cost.compulsory_write_bytes);
  const WorkingSets& sets = cost.working_sets;
  row.set("working_set_l_bytes", sets.inter_layer.total_bytes());
  row.set("working_set_f_bytes", sets.forward_pass.total_bytes());
  row.set("working_set_b_bytes", sets.backward_pass.total_bytes());
  row.set("working_set_d_bytes", sets.dataset.total_bytes());
  row.set("flops_per_s", static_cast<double>(cost.flops()) / row.real("step_s"));
  row.set("l1_miss_simulated", static_cast<double>(cost.flops()) / 100);
  row.set("l3_miss_simulated", static_cast<double>(cost.flops()) / 10000);
}

Row probe_row(const std::string& name, const std::string& family, std::int64_t bytes, double rate) {
  Row row(runs_table());
  row.set("name", name);
  row.set("family", family);
  row.set("backend", "cpu");
  row.set("status", "ok");
  row.set("threads", 2);
  row.set("step_s", 1e-6);
  if (family == "cpu/fma")
    row.set("flops_per_s", rate);
  else
    row.set("other_parameters",
            "{\"working_set_bytes\":" + std::to_string(bytes) + ",\"loads_per_step\":1000}");
  if (family == "cpu/stream") row.set("compulsory_bytes_per_s", rate);
  return row;
}

/// One network trained by us and by two peers in turns, as mlpwatt compare-peers leaves it.
std::vector<Row> comparison_rows(std::int64_t size, int depth) {
  Row ours = testing::training_row("mnist", "rectangle", size, depth, "fused", 2);
  ours.set("step_s", 1e-9 * static_cast<double>(size));
  complete(ours);
  ours.set("parameters", model::configuration_of(ours).network.parameters());
  ours.set("comparison", "once upon a time, " + ours.text("name"));
  std::vector<Row> rows{ours};
  for (const auto& [peer, ratio] : {std::pair{"torch", 9.0}, std::pair{"jax", 3.0}}) {
    Row row = ours;
    row.set("name", "peer/" + std::string(peer) + ours.text("name").substr(3));
    row.set("family", "peer/" + std::string(peer));
    row.set("backend", "peer/" + std::string(peer));
    row.set("step_s", ours.real("step_s") * ratio);
    row.set("ratio_to_ours", ratio);
    row.set("ratio_low95", 0.9 * ratio);
    row.set("ratio_high95", 1.1 * ratio);
    rows.push_back(std::move(row));
  }
  return rows;
}

struct Training {
  Row run;
  std::vector<Row> curve, samples;
};

/// Three networks of one dataset trained for 20 epochs, the deeper one slower and no better.
std::vector<Training> trainings() {
  std::vector<Training> all;
  for (const int depth : {3, 5, 9}) {
    Training one{testing::training_row("mnist", "rectangle", 16384, depth, "fused", 1), {}, {}};
    one.run.set("family", "cpu/train");
    one.run.set("step_s", 1e-4 * depth);
    one.run.set("start_monotonic_ns", std::int64_t{1000000000});
    one.run.set("duration_s", 2.0);
    complete(one.run);
    for (int epoch = 1; epoch <= 20; ++epoch) {
      Row point(curves_table());
      point.set("epoch", epoch);
      point.set("test_loss", 1.0 / epoch + 0.01 * depth);
      point.set("total_seconds", 0.1 * depth * epoch);
      one.curve.push_back(point);
      Row sample(samples_table());
      sample.set("monotonic_s", 0.5 + 0.15 * epoch);
      sample.set("value", epoch > 4 && epoch < 17 ? 60.0 : 20.0);
      one.samples.push_back(sample);
    }
    all.push_back(std::move(one));
  }
  return all;
}

/// A file with all that figures can show: probes, trainings, counters, power readings, curves, comparisons
/// with peers, a model.
void write_full_file(const std::string& path, const std::string& host, std::int64_t l2_bytes = 512 << 10) {
  Contents contents =
      testing::synthetic_contents("traffic", {{"step", 2e-6}, {"flop", 3e-11}, {"L3", 6e-11}}, 120, 0.05);
  for (Row& row : contents.rows(runs_table())) complete(row);
  contents.rows(machine_table()).front().set("host", host);
  contents.rows(machine_table()).front().set("l2_bytes", l2_bytes);
  const auto add = [&](Row run, std::vector<Row> curve = {}, std::vector<Row> samples = {}) {
    Record record;
    record.machine = contents.rows(machine_table()).front();
    record.run = std::move(run);
    record.run.set("host", host);
    record.curve = std::move(curve);
    record.samples = std::move(samples);
    if (!record.samples.empty()) {
      Row meter(meters_table());
      meter.set("name", "pretend");
      meter.set("domain", "node");
      meter.set("provenance", "measured");
      meter.set("unit", "W");
      record.meters = {meter};
    }
    contents.add(std::move(record));
  };
  add(probe_row("cpu/fma/avx2", "cpu/fma", 0, 1e11));
  for (std::int64_t bytes = 4096; bytes <= 64 << 20; bytes *= 2) {
    const std::string text = std::to_string(bytes);
    add(probe_row("cpu/stream/read/" + text, "cpu/stream", bytes,
                  2e11 / (1 + static_cast<double>(bytes) / 1e6)));
    add(probe_row("cpu/chase/" + text, "cpu/chase", bytes, 0));
  }
  for (int width = 1; width <= 40; ++width) {
    Row product = probe_row("cpu/gemm_width/" + std::to_string(width), "cpu/gemm_width", 0, 0);
    product.set("isa", "avx2");
    product.set("flops_per_s", 1e11 * width / (width + 4.0 * (width % 8 != 0)));
    add(product);
  }
  for (Training& one : trainings()) add(std::move(one.run), std::move(one.curve), std::move(one.samples));
  for (const int depth : {2, 6})
    for (const std::int64_t size : {4096, 65536, 1 << 20})
      for (Row& row : comparison_rows(size, depth)) add(std::move(row));
  write_file(path, contents);
  ASSERT_EQ(run({"fit", path, "--resamples", "20"}).status, 0);
}

/// One full file and its page serve several tests: figures take seconds.
class Report : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (shell("/usr/bin/python3 -c 'import h5py, matplotlib'").status != 0) return;
    shared_ = new TemporaryFolder;
    write_full_file(full("full.h5"), "pretend");
    made_ = run({"report", full("full.h5"), "-o", full("full.html"), "--figures", full("figures")});
  }
  static void TearDownTestSuite() {
    delete shared_;
    shared_ = nullptr;
  }
  void SetUp() override {
    if (shared_ == nullptr) GTEST_SKIP() << "/usr/bin/python3 has no h5py or no matplotlib";
    ASSERT_EQ(made_.status, 0) << made_.err;
  }
  static std::string full(const std::string& name) { return shared_->path(name); }
  TemporaryFolder folder_;

 private:
  static TemporaryFolder* shared_;
  static testing::Outcome made_;
};
TemporaryFolder* Report::shared_ = nullptr;
testing::Outcome Report::made_;

TEST_F(Report, AFullFileDrawsEveryFigure) {
  std::string all;
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source("results/figures"))) {
    if (entry.path().extension() != ".py") continue;
    const std::string name = entry.path().stem();
    all += " " + name;
    ++count;
    for (const std::string kind : {".svg", ".png"})
      EXPECT_GT(std::filesystem::file_size(full("figures/" + name + kind)), 2000u) << name << kind;
  }
  EXPECT_GE(count, 11);
  const Shell checked = check_page(full("full.html"), all);
  EXPECT_EQ(checked.status, 0) << checked.out;
}

/// The command of a headless browser, or "".
std::string browser() {
  for (const std::string name : {"chromium", "chromium-browser", "google-chrome"})
    if (shell("command -v " + name).status == 0)
      return name +
             " --headless --no-sandbox --disable-gpu --no-first-run --disable-dev-shm-usage "
             "--enable-logging=stderr --v=0 --virtual-time-budget=10000 ";
  return "";
}

/// What the browser says is wrong with the page: each figure that is not there or whose image it could not
/// draw, and everything it writes to its console. @return one line a fault
std::string faults_in_browser(const std::string& page, const TemporaryFolder& folder) {
  // The page has no script of its own; a copy of it reports how large its images came out.
  std::string copy = text_of(page);
  const std::size_t end = copy.rfind("</body>");
  if (end == std::string::npos) return "no </body>";
  copy.insert(end, R"(<script>addEventListener("load", () => {
    for (const section of document.querySelectorAll("section[id]")) {
      const image = section.querySelector("img");
      if (!image) continue;
      section.dataset.drawn = image.complete && image.naturalWidth > 100 && image.clientWidth > 100
        ? "yes-" + section.id : "no";
    }
  });</script>)");
  std::ofstream(folder.path("in-browser.html")) << copy;
  const Shell shown =
      shell("HOME=" + folder.path("") + " " + browser() + "--user-data-dir=" + folder.path("profile") +
            " --dump-dom file://" + folder.path("in-browser.html"));
  std::string faults =
      shown.status == 0 ? "" : "the browser ended with " + std::to_string(shown.status) + '\n';
  for (const auto& entry : std::filesystem::directory_iterator(source("results/figures"))) {
    const std::string name = entry.path().stem();
    if (entry.path().extension() == ".py" &&
        shown.out.find("data-drawn=\"yes-" + name + "\"") == std::string::npos)
      faults += "figure " + name + " is not drawn\n";
  }
  std::istringstream lines(shown.out);
  for (std::string line; std::getline(lines, line);)
    if (line.find(":CONSOLE") != std::string::npos) faults += line + '\n';
  return faults;
}

TEST_F(Report, ABrowserDrawsEveryFigureAndComplainsOfNothing) {
  if (browser().empty()) GTEST_SKIP() << "no headless browser (Debian: chromium)";
  EXPECT_EQ(faults_in_browser(full("full.html"), folder_), "");
  const std::string screenshot = folder_.path("page.png");
  shell("HOME=" + folder_.path("") + " " + browser() + "--user-data-dir=" + folder_.path("profile") +
        " --window-size=1100,1400 --screenshot=" + screenshot + " file://" + full("full.html"));
  ASSERT_TRUE(std::filesystem::exists(screenshot));
  EXPECT_GT(std::filesystem::file_size(screenshot), 20000u);  // an empty page makes a few kilobytes

  // The same eyes see a page whose image is broken and whose script fails.
  std::string broken = text_of(full("full.html"));
  const std::string begin = "data:image/svg+xml;base64,";
  broken.replace(broken.find(begin) + begin.size(), 200, "AAAA");
  broken.insert(broken.rfind("</body>"), "<script>nothing.there()</script>");
  std::ofstream(folder_.path("broken.html")) << broken;
  const std::string faults = faults_in_browser(folder_.path("broken.html"), folder_);
  EXPECT_NE(faults.find("is not drawn"), std::string::npos) << faults;
  EXPECT_NE(faults.find("CONSOLE"), std::string::npos) << faults;
}

TEST_F(Report, PoorFilesStillGiveAPage) {
  Contents one;
  Record record;
  record.machine = testing::plain_machine("alone");
  record.run = testing::training_row("banana", "rectangle", 1024, 3, "fused", 1);
  record.run.set("step_s", 1e-5);
  complete(record.run);
  one.add(record);
  write_file(folder_.path("one.h5"), one);
  Contents none;
  record.run = Row(runs_table());
  record.run.set("name", "cpu/gemm/nn/1x1x1");
  record.run.set("status", "failed");
  none.add(record);
  write_file(folder_.path("none.h5"), none);
  for (const std::string name : {"one", "none"}) {
    const auto outcome = run({"report", folder_.path(name + ".h5"), "-o", folder_.path(name + ".html")});
    ASSERT_EQ(outcome.status, 0) << name << outcome.err;
    const Shell checked =
        check_page(folder_.path(name + ".html"), name == "one" ? "study2_datum_by_parameters" : "");
    EXPECT_EQ(checked.status, 0) << name << ": " << checked.out;
  }
}

TEST_F(Report, FlaggedEnergiesStayOutUnlessAskedFor) {
  Contents contents = read_file(full("full.h5"));
  int flagged = 0;
  for (Row& row : contents.rows(runs_table())) {
    row.set("step_energy_j_measured", 100 * row.real("step_s"));
    row.set("energy_quality", row.text("family") == "cpu/mlp_train" ? "under_sampled" : "ok");
    flagged += row.text("energy_quality") != "ok";
  }
  ASSERT_GT(flagged, 0);
  write_file(folder_.path("flagged.h5"), contents);
  const auto page_of = [&](std::vector<std::string> more) {
    std::vector<std::string> words{"report", folder_.path("flagged.h5"),  "-o", folder_.path("flagged.html"),
                                   "--only", "study2_datum_by_parameters"};
    words.insert(words.end(), more.begin(), more.end());
    EXPECT_EQ(run(words).status, 0);
    std::ostringstream text;
    text << std::ifstream(folder_.path("flagged.html")).rdbuf();
    return text.str();
  };
  const std::string runs = "<td class=\"n\">" + std::to_string(flagged) + "</td>";
  const std::string left_out = "flagged, left out (--flagged-energies)</td>" + runs;
  const std::string without = page_of({}), with = page_of({"--flagged-energies"});
  EXPECT_NE(without.find(left_out), std::string::npos) << without;
  EXPECT_EQ(with.find("left out (--flagged"), std::string::npos);
  // the cost of a training datum falls back to seconds
  const Shell units = shell("cd " + source("results/report") + " && /usr/bin/python3 -c 'import results; " +
                            "f=[\"" + folder_.path("flagged.h5") + "\"]; " +
                            "print(*(results.cost_per_datum(results.Results(f, a).training())[1] " +
                            "for a in (False, True)))'");
  EXPECT_EQ(units.out, "s J\n");
}

TEST_F(Report, TwoMachinesAreKeptApart) {
  write_full_file(folder_.path("b.h5"), "berta", 2 << 20);
  const auto made = run({"report", full("full.h5"), folder_.path("b.h5"), "-o", folder_.path("two.html"),
                         "--figures", folder_.path("two")});
  ASSERT_EQ(made.status, 0) << made.err;
  const std::string page = text_of(folder_.path("two.html"));
  EXPECT_NE(page.find("more than one machine"), std::string::npos);
  std::string all;
  for (const auto& entry : std::filesystem::directory_iterator(source("results/figures"))) {
    if (entry.path().extension() != ".py") continue;
    const std::string name = entry.path().stem();
    all += " " + name;
    const std::string drawn = text_of(folder_.path("two/" + name + ".svg"));
    for (const std::string host : {"pretend, Pretend", "berta, Pretend"}) {
      if (name != "peers") {  // ratios, each of one machine: the page says so
        EXPECT_NE(drawn.find(host), std::string::npos)
            << name << " does not tell which points are of " << host;
      }
    }
  }
  const Shell checked = check_page(folder_.path("two.html"), all);
  EXPECT_EQ(checked.status, 0) << checked.out;
  // each machine's second level is where its own points leave it
  for (const std::string name :
       {"study4_datum_by_working_sets", "study5_energy_to_loss", "counters_and_watts"})
    EXPECT_GT(occurrences(text_of(folder_.path("two/" + name + ".svg")), ">L2<"),
              occurrences(text_of(full("figures/" + name + ".svg")), ">L2<"))
        << name;
}

TEST_F(Report, EnergiesAreShownInJoules) {
  Contents contents = testing::synthetic_contents("traffic", {{"step", 2e-6}, {"flop", 3e-11}}, 120, 0.05);
  for (Row& row : contents.rows(runs_table())) {
    complete(row);
    const double watts = 40 + 5 * static_cast<double>(row.integer("threads"));
    row.set("step_energy_j_measured", watts * row.real("step_s"));
    row.set("power_w_measured", watts);
    row.set("energy_quality", "ok");
  }
  // the deeper ones draw more: in joules they are dearer than in seconds
  for (Training& one : trainings()) {
    Record record;
    record.machine = contents.rows(machine_table()).front();
    record.run = std::move(one.run);
    record.run.set("power_w_measured", 10.0 * static_cast<double>(record.run.integer("depth")));
    record.curve = std::move(one.curve);
    contents.add(std::move(record));
  }
  write_file(folder_.path("joules.h5"), contents);
  ASSERT_EQ(run({"fit", folder_.path("joules.h5"), "--resamples", "20"}).status, 0);
  ASSERT_EQ(run({"report", folder_.path("joules.h5"), "-o", folder_.path("joules.html"), "--figures",
                 folder_.path("joules")})
                .status,
            0);
  for (const std::string name : {"study1_epoch_by_rows", "study2_datum_by_parameters",
                                 "study3_datum_by_flops_and_depth", "study4_datum_by_working_sets"}) {
    EXPECT_NE(text_of(folder_.path("joules/" + name + ".svg")).find("[J]"), std::string::npos) << name;
    EXPECT_NE(text_of(full("figures/" + name + ".svg")).find("[s]"), std::string::npos) << name;
  }
  EXPECT_NE(text_of(folder_.path("joules/counters_and_watts.svg")).find("power [W]"), std::string::npos);
  const std::string page = text_of(folder_.path("joules.html"));
  EXPECT_NE(page.find("<td>energy per step</td><td>measured</td><td class=\"n\">120</td>"),
            std::string::npos);
  EXPECT_NE(page.find("<td>energy_measured</td>"), std::string::npos) << "a model of joules";
  EXPECT_NE(page.find("energy measured per step"), std::string::npos) << "and its errors";
  const auto costs = [&](const std::string& file) {
    const Shell python =
        shell("cd " + source("results/report") + " && PYTHONPATH=../figures /usr/bin/python3 -c '" +
              "import study5_energy_to_loss as s, results\n"
              "found, unit, provenance = s.cost_to_losses(results.Results([\"" +
              file +
              "\"]))\n"
              "(trained,) = found.values()\n"
              "print(unit, provenance, *(round(cost[-1], 6) for _, _, cost in trained))'");
    EXPECT_EQ(python.status, 0) << python.out;
    return python.out;
  };
  // 20 epochs of 0.1 s times depth, at 10 W times depth
  EXPECT_EQ(costs(folder_.path("joules.h5")), "J measured 180.0 500.0 1620.0\n");
  EXPECT_EQ(costs(full("full.h5")).substr(0, 2), "s ") << "nothing looked on";
}

TEST_F(Report, AFewMeteredRunsDoNotHideTheOthers) {
  Contents contents = testing::synthetic_contents("traffic", {{"step", 2e-6}, {"flop", 3e-11}}, 40, 0.05);
  std::vector<Row>& rows = contents.rows(runs_table());
  for (Row& row : rows) complete(row);
  const auto figure = [&](const std::string& name, std::size_t metered) {
    for (std::size_t i = 0; i < metered; ++i)
      rows[i].set("step_energy_j_measured", 40 * rows[i].real("step_s"));
    write_file(folder_.path(name + ".h5"), contents);
    const auto made = run({"report", folder_.path(name + ".h5"), "-o", folder_.path(name + ".html"),
                           "--figures", folder_.path(name), "--only", "study2_datum_by_parameters"});
    EXPECT_EQ(made.status, 0) << made.err;
    return text_of(folder_.path(name + "/study2_datum_by_parameters.svg"));
  };
  EXPECT_NE(figure("few", 3).find("[s]"), std::string::npos);
  EXPECT_NE(figure("most", rows.size() - 4).find("[J]"), std::string::npos);
  EXPECT_NE(text_of(folder_.path("most.html")).find("for want of such a value: 4 single"), std::string::npos);
}

TEST_F(Report, AGpusPointsMeetNoCachesOfItsHost) {
  Contents contents = testing::synthetic_contents("traffic", {{"step", 2e-6}, {"flop", 3e-11}}, 40, 0);
  for (Row& row : contents.rows(runs_table())) {
    complete(row);
    row.set("backend", "gpu");
    row.set("family", "gpu/mlp_train");
  }
  for (const std::string family : {"gpu/fma", "gpu/stream"}) {
    Record record;
    record.machine = contents.rows(machine_table()).front();
    record.run = probe_row(family + "/read/1", family, 1 << 20, 1e12);
    record.run.set("backend", "gpu");
    record.run.set("flops_per_s", 1e12);
    record.run.set("compulsory_bytes_per_s", 1e12);
    contents.add(std::move(record));
  }
  write_file(folder_.path("gpu.h5"), contents);
  const std::string sets = "study4_datum_by_working_sets";
  ASSERT_EQ(run({"report", folder_.path("gpu.h5"), "-o", folder_.path("gpu.html"), "--figures",
                 folder_.path("gpu"), "--only", sets, "--only", "roofline", "--only", "probes"})
                .status,
            0);
  const std::string drawn = text_of(folder_.path("gpu/" + sets + ".svg"));
  EXPECT_NE(drawn.find("gpu: median"), std::string::npos);
  EXPECT_EQ(occurrences(drawn, ">L2<"), 0);
  EXPECT_GT(occurrences(text_of(full("figures/" + sets + ".svg")), ">L2<"), 0);
  const std::string page = text_of(folder_.path("gpu.html"));
  EXPECT_NE(page.find("No fma and stream runs"), std::string::npos);

  // where the runs describe their device, its own are drawn
  for (Row& row : contents.rows(runs_table())) {
    mlpwatt::testing::set_pretended_device(row);
    row.set("l2_bytes_measured", 2.0 * static_cast<double>(row.integer("flops")));
    row.set("dram_bytes_measured", 0.5 * static_cast<double>(row.integer("flops")));
  }
  // (another sitting on the same machine)
  Row machine = contents.rows(machine_table()).front();
  machine.set("governor", "performance");
  for (const char* unit : {"fp32", "bf16_wgmma"}) {
    Record record;
    record.machine = machine;
    record.run = probe_row(std::string("gpu/fma/") + unit, "gpu/fma", 1, 1);
    record.run.set("flops_per_s", std::string(unit) == "fp32" ? 5e13 : 8e14);
    mlpwatt::testing::set_pretended_device(record.run);
    contents.add(std::move(record));
  }
  for (std::int64_t octave = 1 << 16; octave <= 1 << 30; octave *= 2)
    for (const std::int64_t bytes : {octave, octave / 4 * 5})
      for (const char* where : {"", "/shared"}) {
        Record record;
        record.machine = machine;
        record.run = probe_row("gpu/stream/read/" + std::to_string(bytes) + where, "gpu/stream", bytes, 1);
        record.run.set("compulsory_bytes_per_s", std::string(where) == "" ? 2e12 : 9e15);
        mlpwatt::testing::set_pretended_device(record.run);
        contents.add(std::move(record));
      }
  write_file(folder_.path("described.h5"), contents);
  ASSERT_EQ(run({"report", folder_.path("described.h5"), "-o", folder_.path("described.html"), "--figures",
                 folder_.path("described"), "--only", sets, "--only", "roofline", "--only", "probes",
                 "--only", "counters_and_watts"})
                .status,
            0);
  const std::string counted = text_of(folder_.path("described/counters_and_watts.svg"));
  EXPECT_NE(counted.find("bytes per FLOP"), std::string::npos);
  EXPECT_NE(counted.find("to memory, "), std::string::npos);
  const std::string roofs = text_of(folder_.path("described/roofline.svg"));
  EXPECT_NE(roofs.find("the whole device, fp32: 5e+04 GFLOP/s"), std::string::npos);
  EXPECT_NE(roofs.find("bf16_wgmma 8e+05 GFLOP/s"), std::string::npos);
  EXPECT_NE(roofs.find("L2 2e+03 GB/s"), std::string::npos) << "shared memory is none of its caches";
  EXPECT_NE(text_of(folder_.path("described.html")).find("pretend, Pretend GPU. Roofs"), std::string::npos);
  EXPECT_NE(text_of(folder_.path("described.html")).find("<td>Pretend GPU</td><td>132 multiprocessors</td>"),
            std::string::npos)
      << "the page opens with what computed";
  EXPECT_NE(text_of(folder_.path("described/probes.svg")).find("the whole device"), std::string::npos);
  const std::string described = text_of(folder_.path("described/" + sets + ".svg"));
  EXPECT_GT(occurrences(described, ">L2<"), 0);
  EXPECT_EQ(occurrences(described, ">L3<"), 0);
}

TEST_F(Report, WidthsThatFallOffTheCliffAreNamed) {
  // rates of w / (w + 4) beside whole vectors of 8: each against the nearest of those
  EXPECT_NE(text_of(full("full.html")).find("the worst is 1 with 0.20, below 0.7: 1, 2, 3, 4, 5, 6, 7, 9"),
            std::string::npos);
}

TEST_F(Report, TheRooflineSaysWhatItLeavesOut) {
  // probes ran on 2 threads; the trainings on 1 to 4
  const std::string page = text_of(full("full.html"));
  EXPECT_NE(page.find("runs of kernels stand under the roofs"), std::string::npos);
  EXPECT_NE(page.find("are not shown: on more threads"), std::string::npos);
}

TEST_F(Report, OfANetworkRecordedInSeveralWaysTheCheapestCounts) {
  Contents contents = testing::synthetic_contents("traffic", {{"step", 2e-6}, {"flop", 3e-11}}, 12, 0);
  const std::vector<Row> rows = contents.rows(runs_table());
  for (Row row :
       rows) {  // the same networks once more, on another number of threads and a hundred times dearer
    complete(row);
    row.set("threads", std::int64_t{16});
    row.set("step_s", 100 * row.real("step_s"));
    contents.rows(runs_table()).push_back(std::move(row));
  }
  for (Row& row : contents.rows(runs_table())) complete(row);
  const std::string name = "study1_epoch_by_rows";
  const auto slope = [&](const std::string& file, const Contents& some) {
    write_file(folder_.path(file + ".h5"), some);
    const std::string page = folder_.path(file + ".html");
    EXPECT_EQ(run({"report", folder_.path(file + ".h5"), "-o", page, "--only", name}).status, 0);
    const std::string text = text_of(page);
    const std::size_t at = text.find("cpu: median ");
    EXPECT_NE(at, std::string::npos);
    EXPECT_EQ(text.find("were recorded in several ways") != std::string::npos, file == "ways");
    return text.substr(at, text.find("quartiles", at) - at);
  };
  Contents once = contents;
  std::vector<Row>& first = once.rows(runs_table());
  first.erase(first.begin() + static_cast<std::ptrdiff_t>(rows.size()), first.end());
  EXPECT_EQ(slope("ways", contents), slope("once", once));
}

TEST_F(Report, TheCheckerSeesABrokenPage) {
  ASSERT_EQ(run({"report", full("full.h5"), "-o", folder_.path("page.html"), "--only", "roofline"}).status,
            0);
  EXPECT_EQ(check_page(folder_.path("page.html")).status, 1);  // the other figures are not on it
  std::ofstream(folder_.path("page.html"), std::ios::app) << "<img src='http://elsewhere/x.png'></b>";
  const Shell checked = check_page(folder_.path("page.html"));
  EXPECT_NE(checked.out.find("self-contained"), std::string::npos) << checked.out;
  EXPECT_NE(checked.out.find("</b>"), std::string::npos) << checked.out;
}

TEST(ReportCommand, RefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  EXPECT_EQ(run({"report", folder.path("missing.h5")}).status, 2);
  std::ofstream(folder.path("text.h5")) << "no HDF5";
  EXPECT_EQ(run({"report", folder.path("text.h5")}).status, 1);
}

}  // namespace
}  // namespace mlpwatt
