// Both training engines against the double reference: every shape, loss, instruction set and team size, over
// widths and batches around the panel boundaries.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "cpu/mlp/engine.h"
#include "cpu/mlp/fused_kernels.h"
#include "cpu/mlp/fused_plan.h"
#include "kernels/kernel.h"
#include "kernels/mlp_check.h"

namespace mlpwatt {
namespace {

/// A learnable little dataset of any size and task.
Dataset make_data(int features, int outputs, Task task, std::int64_t train_rows, std::int64_t test_rows,
                  std::uint64_t seed) {
  Dataset data;
  data.info = {"test", train_rows + test_rows, features, outputs, task};
  data.source = "synthetic";
  data.rows = train_rows + test_rows;
  data.test_rows = test_rows;
  std::mt19937_64 random(seed);
  const auto uniform = [&] { return static_cast<float>(static_cast<double>(random() >> 11) * 0x1p-53); };
  for (std::int64_t r = 0; r < data.rows; ++r) {
    float sum = 0;
    for (int f = 0; f < features; ++f) {
      data.x.push_back(uniform());
      sum += data.x.back() * static_cast<float>(f % 3 + 1);
    }
    const int label = static_cast<int>(sum * 7) % std::max(outputs, 2);
    for (int o = 0; o < outputs; ++o)
      data.y.push_back(task == Task::kMulticlass ? (o == label ? 1.0f : 0.0f)
                       : task == Task::kBinary   ? static_cast<float>(label % 2)
                                                 : uniform());
  }
  return data;
}

struct Case {
  Network network;
  int batch;
  std::int64_t train_rows;
  EngineOptions options;
};

std::string describe(const Case& c) {
  std::string text = c.options.algorithm + " " + isa_name(c.options.isa) + " threads " +
                     std::to_string(c.options.threads) + " task " + task_name(c.network.task) +
                     (c.network.residual ? " residual" : "") + " batch " + std::to_string(c.batch) +
                     " rows " + std::to_string(c.train_rows) + " widths " + std::to_string(c.network.inputs);
  for (const int w : c.network.widths) text += "-" + std::to_string(w);
  return text;
}

Hierarchy small_hierarchy() {
  Hierarchy h;
  h.cores = 3;
  h.levels = {{"L1", 8 << 10}, {"L2", 64 << 10}, {"L3", 1 << 20}};
  return h;
}

Case fused_case(const Network& network, const Dataset& data, Isa isa, int threads, int batch) {
  Case c{network, batch, data.train_rows(), {}};
  c.options.isa = isa;
  c.options.algorithm = "fused";
  c.options.threads = threads;
  c.options.batch = batch;
  c.options.hierarchy = small_hierarchy();
  return c;
}

std::vector<Case> random_cases(unsigned seed, int count) {
  std::mt19937_64 random(seed);
  const auto pick = [&](const std::vector<int>& from) { return from[random() % from.size()]; };
  std::vector<Case> cases;
  for (const Isa isa : available_isas())
    for (const char* algorithm : {"fused", "blocked"})
      for (int i = 0; i < count; ++i) {
        Case c;
        const Task task = static_cast<Task>(i % 3);
        c.network.task = task;
        c.network.inputs = pick({1, 2, 4, 5, 11, 16, 17, 31, 33, 63, 65});
        c.network.residual = i % 2 == 1;
        const int hidden = 1 + static_cast<int>(random() % 4),
                  same = pick({1, 2, 3, 5, 6, 7, 13, 16, 17, 31, 33, 64, 65});
        for (int h = 0; h < hidden; ++h)
          c.network.widths.push_back(
              c.network.residual ? same : pick({1, 2, 3, 4, 5, 6, 7, 13, 15, 16, 17, 33, 65}));
        c.network.widths.push_back(task == Task::kMulticlass ? pick({2, 3, 7, 10}) : 1);
        c.batch = pick({1, 2, 15, 16, 17, 63, 64, 65, 100, 256, 300});
        c.train_rows = c.batch * 2 + pick({0, 1, c.batch / 2});  // a partial last batch, mostly
        c.options.isa = isa;
        c.options.algorithm = algorithm;
        c.options.threads = pick({1, 2, 3, 1, 2, 3, 8});
        c.options.batch = c.batch;
        c.options.hierarchy = small_hierarchy();
        // both forms of Adam, the second with an epsilon that counts
        if (i % 4 >= 2) c.options.adam.epsilon = 1e-4, c.options.adam.epsilon_on_corrected_root = true;
        cases.push_back(c);
      }
  return cases;
}

TEST(Mlp, GradientsAndTenStepsFollowTheReference) {
  int seed = 0;
  for (const Case& c : random_cases(21, 36)) {
    const Dataset data =
        make_data(c.network.inputs, c.network.outputs(), c.network.task, c.train_rows, 20, ++seed);
    const auto engine = make_engine(c.network, data, c.options);
    ASSERT_STREQ(engine->algorithm(), c.options.algorithm.c_str());
    ASSERT_EQ(engine->threads(), c.options.threads);
    ASSERT_EQ(engine->isa(), c.options.isa) << "another instruction set ran";
    const Check check = check_against_reference(*engine, c.network, data, c.batch, c.options.adam, seed, 10);
    ASSERT_TRUE(check.passed) << describe(c) << ": " << check.detail;
  }
}

/// Networks that make the fused engine take each of its paths (its plan is asked, not trusted): gradients by
/// outputs and by rows in one network, data in chunks, sums and weights in several blocks, padded rows.
TEST(Mlp, WideNetworksFollowTheReference) {
  struct Wide {
    Network network;
    int batch;
    bool by_outputs, by_rows, chunks, parts;  ///< on two threads
  };
  // (rows that fill their last panels unevenly, but as many panels for either thread)
  const Wide cases[] = {
      {{700, {3, 5, 4}, false, Task::kMulticlass}, 256, false, true, true, false},
      {{1, {2, 1}, false, Task::kRegression}, 5, false, true, false, false},
      {{8, {300, 290, 7}, false, Task::kMulticlass}, 126, true, true, false, false},
      {{256, {256, 384, 1}, false, Task::kBinary}, 125, true, true, false, false},
      {{90, {197, 197, 197, 3}, true, Task::kMulticlass}, 113, true, true, false, false},
      {{1300, {6, 1, 1}, false, Task::kRegression}, 255, false, true, true, true},
      {{5, {1100, 9, 1}, false, Task::kBinary}, 121, false, true, false, true},
  };
  int seed = 500;
  bool turned_by_outputs = false, turned_by_rows = false;
  for (const Wide& wide : cases) {
    const Dataset data = make_data(wide.network.inputs, wide.network.outputs(), wide.network.task,
                                   wide.batch * 2 + wide.batch / 3, 20, ++seed);
    for (const Isa isa : available_isas())
      for (const int threads : {1, 2, 3}) {
        const Case c = fused_case(wide.network, data, isa, threads, wide.batch);
        const FusedKernels& kernels =
            choose_fused_kernels(wide.network, isa, threads, wide.batch, c.options.hierarchy);
        const FusedPlan plan =
            make_fused_plan(wide.network, kernels, threads, wide.batch, c.options.hierarchy);
        for (std::size_t k = 0; k < plan.turned.size(); ++k)
          if (plan.turned[k]) (plan.by_outputs[k] ? turned_by_outputs : turned_by_rows) = true;
        if (threads == 2) {
          const auto has = [&](bool kind) {
            return std::find(plan.by_outputs.begin(), plan.by_outputs.end(), kind) != plan.by_outputs.end();
          };
          EXPECT_EQ(has(true), wide.by_outputs) << describe(c);
          EXPECT_EQ(has(false), wide.by_rows) << describe(c);
          const int panels = (wide.batch + kernels.lanes - 1) / kernels.lanes;
          EXPECT_EQ(plan.chunk_panels < (panels + 1) / 2, wide.chunks) << describe(c);
          int deepest = wide.network.inputs;
          for (const int width : wide.network.widths) deepest = std::max(deepest, width);
          const FusedBlocks blocks = fused_blocks(WeightWalk::kAlongRows, kernels.lanes, kernels.rows, 8,
                                                  deepest, panels, plan.weight_block_bytes);
          if (wide.parts) {
            EXPECT_GT(blocks.depth_parts, 1) << describe(c);
          }
        }
        const auto engine = make_engine(c.network, data, c.options);
        ASSERT_EQ(engine->isa(), isa) << "another instruction set ran";
        const Check check =
            check_against_reference(*engine, c.network, data, c.batch, c.options.adam, seed, 4);
        ASSERT_TRUE(check.passed) << describe(c) << ": " << check.detail;
        EXPECT_LE(check.error, check.bound) << describe(c);
        // what is stored is what decided: a ReLU's turned sign is allowed for
        EXPECT_GT(check.bound, kFloat32Tolerance.gradient) << describe(c);
      }
  }
  EXPECT_TRUE(turned_by_outputs);
  EXPECT_TRUE(turned_by_rows);
}

/// The same to the bit in runs of any length, evaluations between them, and those as the reference has them.
void expect_the_same_in_parts(CpuEngine& engine, const Network& network, const Dataset& data,
                              const std::string& what) {
  const reference::Parameters start = reference::initial_parameters(network, 3);
  const int order[] = {1, 0, 2, 0, 1};
  engine.set_parameters(start);
  engine.train(order, 5);
  const reference::Parameters at_once = engine.parameters();
  engine.set_parameters(start);
  for (const int part : {0, 3}) {
    engine.train(order + part, part == 0 ? 3 : 2);
    engine.evaluate(Split::kTest);  // leaves nothing behind
  }
  ASSERT_EQ(engine.parameters().weights, at_once.weights) << what;
  ASSERT_EQ(engine.parameters().biases, at_once.biases) << what;
  const reference::Trainer oracle(network, at_once);
  for (const Split which : {Split::kTrain, Split::kTest}) {
    const bool train = which == Split::kTrain;
    const std::int64_t first = train ? 0 : data.train_rows(),
                       rows = train ? data.train_rows() : data.test_rows;
    const auto want = oracle.evaluate(data.x.data() + first * network.inputs,
                                      data.y.data() + first * data.info.outputs, rows);
    const auto got = engine.evaluate(which);
    ASSERT_NEAR(got.loss, want.loss, 1e-5 * (1 + want.loss)) << what;
    if (network.task != Task::kRegression) {
      ASSERT_NEAR(got.accuracy, want.accuracy, 1.01 / static_cast<double>(rows)) << what;
    }
  }
}

/// More threads than panels: groups that share them and meet after every layer, one group of all, uneven
/// groups, members without an output of a narrow layer, threads by themselves without a panel, panels of
/// either width (the plan is asked, not trusted).
TEST(Mlp, GroupsOfThreadsFollowTheReference) {
  const Network networks[] = {{5, {33, 21, 3}, false, Task::kMulticlass},
                              {40, {64, 64, 64, 1}, true, Task::kBinary},
                              {17, {130, 2, 70, 1}, false, Task::kRegression},
                              {90, {97, 97, 97, 3}, true, Task::kMulticlass}};
  int seed = 900, idle_members = 0, idle_groups = 0, one_group = 0, groups = 0, uneven = 0, narrow = 0,
      by_rows = 0;
  for (const Network& network : networks)
    for (const int batch : {3, 40, 150}) {
      const Dataset data = make_data(network.inputs, network.outputs(), network.task, batch * 2 + batch / 3,
                                     batch * 2 + 20, ++seed);
      for (const Isa isa : available_isas())
        for (const int threads : {2, 5, 12}) {
          const Case c = fused_case(network, data, isa, threads, batch);
          const FusedKernels& kernels =
              choose_fused_kernels(network, isa, threads, batch, c.options.hierarchy);
          const FusedPlan plan = make_fused_plan(network, kernels, threads, batch, c.options.hierarchy);
          const bool grouped = plan.groups < threads;
          for (const int width : network.widths) idle_members += grouped && width < threads / plan.groups;
          one_group += grouped && plan.groups == 1;
          groups += grouped && plan.groups > 1;
          uneven += threads % plan.groups != 0;
          idle_groups += plan.groups * kernels.lanes >= batch + kernels.lanes;
          narrow += kernels.lanes < fused_kernels(isa).lanes;
          by_rows += grouped && std::find(plan.by_outputs.begin(), plan.by_outputs.end(), false) !=
                                    plan.by_outputs.end();
          const auto engine = make_engine(network, data, c.options);
          ASSERT_EQ(engine->threads(), threads);
          ASSERT_EQ(engine->isa(), isa);
          const Check check = check_against_reference(*engine, network, data, batch, c.options.adam, seed, 4);
          ASSERT_TRUE(check.passed) << describe(c) << ": " << check.detail;
          expect_the_same_in_parts(*engine, network, data, describe(c));
        }
    }
  EXPECT_GT(idle_members, 0);
  EXPECT_GT(idle_groups, 0);
  EXPECT_GT(one_group, 0);
  EXPECT_GT(groups, 0);
  EXPECT_GT(uneven, 0);
  EXPECT_GT(by_rows, 0);
  if (fused_kernel_widths(available_isas().back()).size() > 1) {
    EXPECT_GT(narrow, 0);
  }
}

TEST(FusedPlan, EveryThreadHasOnePlaceInOneGroup) {
  for (int threads = 1; threads <= 40; ++threads)
    for (int groups = 1; groups <= threads; ++groups) {
      int group = 0, id = 0;
      for (int thread = 0; thread < threads; ++thread) {
        const GroupPlace place = group_of(thread, threads, groups);
        ASSERT_EQ(place.group, group) << thread << " of " << threads << " in " << groups;
        ASSERT_EQ(place.id, id);
        ASSERT_GE(place.size, threads / groups);
        ASSERT_LE(place.size, (threads + groups - 1) / groups);
        if (++id == place.size) ++group, id = 0;
      }
      ASSERT_EQ(group, groups);
      ASSERT_EQ(id, 0);
    }
}

TEST(FusedPlan, GroupsShareOutAllPanelsAndAllThreads) {
  const auto list = [](int threads, int groups, std::int64_t panels) {
    std::string text;
    for (const GroupShape& shape : group_shapes(threads, groups, panels))
      text += std::to_string(shape.panels) + "/" + std::to_string(shape.members) + " ";
    return text;
  };
  EXPECT_EQ(list(8, 4, 4), "1/2 ");
  EXPECT_EQ(list(5, 2, 3), "1/2 2/3 ");
  EXPECT_EQ(list(3, 3, 2), "0/1 1/1 ");
  EXPECT_EQ(list(6, 1, 7), "7/6 ");
}

/// What the choices are for: small networks stay on a core, large ones use a large machine whatever the
/// batch, and a batch that fills half a panel gets one of half the width.
TEST(FusedPlan, TeamsAndPanelsFitTheWork) {
  Hierarchy machine;
  machine.cores = 64;
  machine.levels = {{"L1", 48 << 10}, {"L2", 2 << 20}, {"L3", 256 << 20}};
  // A network of 1,000 parameters does not pay for a second core, one of 16,000 does. (Slower arithmetic
  // makes it worth sharing earlier.)
  Hierarchy two = machine;
  two.cores = 2;
  const auto chosen = [&](std::int64_t parameters) {
    const Network network = make_network(Shape::kRectangle, parameters, 5, 42, 3, Task::kMulticlass);
    return threads_that_pay(network, available_isas().front(), 256, two);
  };
  if (available_isas().front() == Isa::kAvx512) {
    EXPECT_EQ(chosen(1000), 1);
  }
  EXPECT_EQ(chosen(16000), 2);
  const Network small{11, {3, 3, 1}, false, Task::kRegression},
      large{784, {1400, 1400, 1400, 10}, false, Task::kMulticlass};
  for (const Isa isa : available_isas())
    for (const int batch : {32, 64, 256}) {
      EXPECT_EQ(threads_that_pay(small, isa, batch, machine), 1) << isa_name(isa);
      EXPECT_GT(threads_that_pay(large, isa, batch, machine), 32) << isa_name(isa) << ' ' << batch;
      for (const Network* network : {&small, &large}) {
        const FusedKernels& kernels = choose_fused_kernels(*network, isa, 1, batch, machine);
        for (const FusedKernels* other : fused_kernel_widths(isa))
          EXPECT_LE((batch + kernels.lanes - 1) / kernels.lanes * kernels.lanes,
                    (batch + other->lanes - 1) / other->lanes * other->lanes);
      }
    }
}

/// One wide hidden layer, split by its units: members with many blocks, with one, without any; activations
/// that are kept and that are computed again (the plan is asked, not trusted).
TEST(Mlp, ASplitHiddenLayerFollowsTheReference) {
  const Network networks[] = {
      {4, {701, 1}, false, Task::kRegression},   {11, {333, 7}, false, Task::kMulticlass},
      {1, {1500, 1}, false, Task::kBinary},      {42, {260, 3}, false, Task::kMulticlass},
      {64, {130, 33}, false, Task::kMulticlass}, {3, {40, 2}, false, Task::kMulticlass}};
  int seed = 700, split = 0, whole = 0, kept = 0, computed_again = 0, idle_members = 0;
  for (const Network& network : networks)
    for (const int batch : {7, 64, 200}) {
      // three batches of training rows, the last a part of one; more of test rows
      const Dataset data = make_data(network.inputs, network.outputs(), network.task, batch * 2 + batch / 3,
                                     batch * 2 + 20, ++seed);
      for (const Isa isa : available_isas())
        for (const int threads : {1, 2, 3, 5}) {
          const Case c = fused_case(network, data, isa, threads, batch);
          if (!splits_hidden_layer(network, threads, batch, c.options.hierarchy)) {
            ++whole;
            continue;
          }
          ++split;
          const FusedKernels& kernels =
              choose_fused_kernels(network, isa, threads, batch, c.options.hierarchy);
          const OneHiddenPlan plan =
              make_one_hidden_plan(network, kernels, threads, batch, c.options.hierarchy);
          ++(plan.keeps_hidden ? kept : computed_again);
          idle_members += network.widths[0] <= 16 * (threads - 1);
          EXPECT_LE(plan.near_units, plan.block_units);
          const auto engine = make_engine(network, data, c.options);
          ASSERT_STREQ(engine->algorithm(), "fused");
          ASSERT_EQ(engine->threads(), threads);
          ASSERT_EQ(engine->isa(), isa);
          const Check check = check_against_reference(*engine, network, data, batch, c.options.adam, seed, 6);
          ASSERT_TRUE(check.passed) << describe(c) << ": " << check.detail;
          expect_the_same_in_parts(*engine, network, data, describe(c));
        }
    }
  EXPECT_GT(split, 0);
  EXPECT_GT(whole, 0);
  EXPECT_GT(kept, 0);
  EXPECT_GT(computed_again, 0);
  EXPECT_GT(idle_members, 0);
}

/// Floats in [-1, 1), or whole numbers of which float32 holds every sum here exactly.
void fill(std::vector<float>& values, bool whole, std::mt19937_64& random) {
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (float& x : values)
    x = whole ? static_cast<float>(static_cast<int>(random() % 7) - 3) : uniform(random);
}

std::vector<const FusedKernels*> all_kernels() {
  std::vector<const FusedKernels*> all;
  for (const Isa isa : available_isas())
    for (const FusedKernels* kernels : fused_kernel_widths(isa)) all.push_back(kernels);
  return all;
}

/// Both kernels of the weight gradient against sums in double, to the bit for whole numbers, every row and
/// column of the tail; what lies beyond the gradient stays as it was.
TEST(FusedKernels, BothWeightGradientsAreTheSumOverTheBatch) {
  std::mt19937_64 random(3);
  for (const bool whole : {true, false})
    for (const FusedKernels* each : all_kernels()) {
      const FusedKernels& kernels = *each;
      const Isa isa = kernels.isa;
      const int lanes = kernels.lanes;
      for (const int inputs : {1, lanes / 4, lanes / 2 + 1, lanes - 1, lanes, 2 * lanes + 3, 131})
        for (const int outputs : {1, kernels.rows, kernels.rows + 1, 2 * kernels.rows - 1, 110})
          for (const bool turned : {false, true}) {
            const int panels = 3, rows = panels * lanes, in_rows = inputs + 2, delta_rows = outputs + 1;
            const int gradient_row = inputs + 5;
            std::vector<float> in(panels * in_rows * lanes), delta(panels * delta_rows * lanes);
            fill(in, whole, random);
            fill(delta, whole, random);
            const double tolerance = whole ? 0 : 1e-5 * rows;
            std::vector<float> gradient(outputs * gradient_row, 7), bias(outputs, 7);
            PanelGradient work{};
            work.inputs = inputs, work.outputs = outputs, work.panels = panels;
            work.delta = delta.data(), work.delta_stride = delta_rows * lanes;
            work.in = in.data(), work.in_stride = in_rows * lanes;
            work.gradient = gradient.data(), work.gradient_row = gradient_row;
            work.bias_gradient = bias.data();
            for (const bool accumulate : {false, true}) {
              work.accumulate = accumulate;
              if (turned) {
                std::vector<float> scratch(kernels.turned_floats(inputs, panels), 9);
                kernels.turn_inputs(work, scratch.data());
                kernels.outer_gradient(work, scratch.data());
              } else {
                kernels.weight_gradient(work);
              }
            }
            const auto cell = [&](const std::vector<float>& x, int stride, int feature, int row) {
              return double{x[row / lanes * stride + feature * lanes + row % lanes]};
            };
            const std::string what = isa_name(isa) + (turned ? " turned " : " ") + std::to_string(inputs) +
                                     " x " + std::to_string(outputs);
            for (int o = 0; o < outputs; ++o) {
              double sum = 0;
              for (int r = 0; r < rows; ++r) sum += cell(delta, delta_rows * lanes, o, r);
              EXPECT_NEAR(bias[o], 2 * sum, tolerance) << what;
              for (int i = 0; i < gradient_row; ++i) {
                double product = 0;
                for (int r = 0; r < rows && i < inputs; ++r)
                  product += cell(delta, delta_rows * lanes, o, r) * cell(in, in_rows * lanes, i, r);
                const float got = gradient[o * gradient_row + i];
                ASSERT_TRUE(std::fabs(got - (i < inputs ? 2 * product : 7)) <= tolerance)
                    << what << " at " << o << ',' << i << ": " << got;
              }
            }
            work.bias_gradient = nullptr;  // not wanted: not written
            if (!turned) kernels.weight_gradient(work);
          }
    }
}

/// Forward against sums in double, to the bit for whole numbers: from the bias or from what stands in `out`,
/// over every height of tile, one panel and several, sums in one part and in two.
TEST(FusedKernels, ForwardIsTheProductFromTheBiasOrFromWhatStandsThere) {
  std::mt19937_64 random(7);
  for (const bool whole : {true, false})
    for (const FusedKernels* each : all_kernels()) {
      const FusedKernels& kernels = *each;
      const Isa isa = kernels.isa;
      const int lanes = kernels.lanes;
      for (const int inputs : {1, 6, 41, 1300})
        for (const int outputs : {1, kernels.rows, kernels.rows + 1, 2 * kernels.rows - 1})
          for (const int panels : {1, kernels.narrow_panels, kernels.narrow_panels + 1})
            for (const bool accumulate : {false, true})
              for (const bool relu : {false, true}) {
                const int in_stride = (inputs + 2) * lanes, out_stride = (outputs + 1) * lanes;
                std::vector<float> weights(outputs * inputs), bias(outputs), in(panels * in_stride),
                    out(panels * out_stride);
                for (std::vector<float>* values : {&weights, &bias, &in, &out}) fill(*values, whole, random);
                const std::vector<float> stood = out;
                PanelForward work{};
                work.inputs = inputs, work.outputs = outputs, work.panels = panels;
                work.weights = weights.data(), work.weights_row = inputs;
                work.bias = accumulate ? nullptr : bias.data();
                work.accumulate = accumulate, work.relu = relu;
                work.in = in.data(), work.in_stride = in_stride;
                work.out = out.data(), work.out_stride = out_stride;
                work.weight_block_bytes = 1 << 20;
                kernels.forward(work);
                const double tolerance = whole ? 0 : 2e-7 * (inputs + 1) * std::sqrt(inputs);
                for (int panel = 0; panel < panels; ++panel) {
                  for (int o = 0; o < outputs; ++o)
                    for (int lane = 0; lane < lanes; ++lane) {
                      const int at = panel * out_stride + o * lanes + lane;
                      double sum = accumulate ? stood[at] : bias[o];
                      for (int i = 0; i < inputs; ++i)
                        sum += double{weights[o * inputs + i]} * in[panel * in_stride + i * lanes + lane];
                      if (relu) sum = std::max(sum, 0.0);
                      ASSERT_NEAR(out[at], sum, tolerance)
                          << isa_name(isa) << ' ' << inputs << " -> " << outputs << ", panel " << panel;
                    }
                  for (int lane = 0; lane < lanes; ++lane) {
                    const int beyond = panel * out_stride + outputs * lanes + lane;
                    ASSERT_EQ(out[beyond], stood[beyond]) << "beyond the outputs";
                  }
                }
              }
    }
}

/// The input gradient against sums in double, to the bit for whole numbers: masked, with and without the
/// residual's own gradient, panels in groups and weights in blocks.
TEST(FusedKernels, BackwardIsTheProductUnderTheMask) {
  std::mt19937_64 random(5);
  for (const bool whole : {true, false})
    for (const FusedKernels* each : all_kernels()) {
      const FusedKernels& kernels = *each;
      const Isa isa = kernels.isa;
      const int lanes = kernels.lanes, tile = kernels.rows;
      for (const auto& [inputs, outputs] : std::vector<std::pair<int, int>>{
               {1, 1}, {tile, 2}, {tile + 1, lanes + 1}, {2 * tile - 1, 131}, {70, 3}, {33, 33}, {300, 300}})
        for (const int panels : {1, 3})
          for (const int block_bytes : {1 << 10, 1 << 20})
            for (const bool residual : {false, true}) {
              if (residual && inputs != outputs) continue;
              std::vector<float> weights(outputs * inputs + lanes), delta(panels * outputs * lanes),
                  mask(panels * (inputs + 3) * lanes), addend(panels * outputs * lanes);
              for (std::vector<float>* values : {&weights, &delta, &mask, &addend})
                fill(*values, whole, random);
              std::vector<float> out(panels * inputs * lanes, 99), before(out);
              PanelBackward work{};
              work.inputs = inputs, work.outputs = outputs, work.panels = panels;
              work.weights = weights.data(), work.weights_row = inputs;
              work.delta = delta.data(), work.delta_stride = outputs * lanes;
              work.out = out.data(), work.out_stride = inputs * lanes;
              work.mask = mask.data(), work.mask_stride = (inputs + 3) * lanes;
              work.addend = residual ? addend.data() : nullptr;
              work.before = residual ? before.data() : nullptr;
              work.weight_block_bytes = block_bytes;
              kernels.backward(work);
              const double tolerance = whole ? 0 : 2e-7 * (outputs + 1) * outputs;
              for (int panel = 0; panel < panels; ++panel)
                for (int i = 0; i < inputs; ++i)
                  for (int lane = 0; lane < lanes; ++lane) {
                    const int at = (panel * inputs + i) * lanes + lane,
                              mask_at = (panel * (inputs + 3) + i) * lanes + lane;
                    double sum = residual ? double{addend[at]} : 0.0;
                    for (int o = 0; o < outputs; ++o)
                      sum += double{weights[o * inputs + i]} * delta[(panel * outputs + o) * lanes + lane];
                    const std::string what = isa_name(isa) + ' ' + std::to_string(inputs) + " <- " +
                                             std::to_string(outputs) + " at " + std::to_string(at);
                    if (residual) {
                      ASSERT_TRUE(std::fabs(before[at] - sum) <= tolerance) << what << ": " << before[at];
                    }
                    ASSERT_TRUE(std::fabs(out[at] - (mask[mask_at] > 0 ? sum : 0)) <= tolerance)
                        << what << ": " << out[at] << ", " << sum;
                  }
            }
    }
}

TEST(Mlp, EvaluationAgreesWithTheReferenceOnBothSplits) {
  int seed = 100;
  for (const Case& c : random_cases(22, 6)) {
    const Dataset data =
        make_data(c.network.inputs, c.network.outputs(), c.network.task, c.train_rows, 137, ++seed);
    const auto engine = make_engine(c.network, data, c.options);
    const reference::Parameters initial = reference::initial_parameters(c.network, seed);
    engine->set_parameters(initial);
    const reference::Trainer oracle(c.network, initial);
    for (const Split split : {Split::kTrain, Split::kTest}) {
      const std::int64_t first = split == Split::kTrain ? 0 : data.train_rows();
      const std::int64_t rows = split == Split::kTrain ? data.train_rows() : data.test_rows;
      const auto want = oracle.evaluate(data.x.data() + first * data.info.features,
                                        data.y.data() + first * data.info.outputs, rows);
      const auto got = engine->evaluate(split);
      ASSERT_FALSE(!(std::abs(got.loss - want.loss) <= 1e-5 * (1 + want.loss)))
          << describe(c) << ": " << got.loss << ", reference " << want.loss;
      if (c.network.task == Task::kRegression)
        ASSERT_TRUE(std::isnan(got.accuracy)) << describe(c);
      else  // a tie in float may fall the other way
        ASSERT_FALSE(!(std::abs(got.accuracy - want.accuracy) <= 1.01 / static_cast<double>(rows)))
            << describe(c);
    }
  }
}

TEST(Mlp, AHundredStepsStayWithTheReference) {
  DatasetOptions options;
  const Dataset data = load_dataset("wine_quality_white", options);
  for (const Shape shape : all_shapes())
    for (const char* algorithm : {"fused", "blocked"})
      for (const Isa isa : available_isas()) {
        // the best one all shapes, the others two
        if (isa != available_isas().back() && shape != Shape::kTrapezoid && shape != Shape::kWideFirst4x)
          continue;
        const Network network =
            make_network(shape, 1024, 4, data.info.features, data.info.outputs, data.info.task);
        EngineOptions engine_options;
        engine_options.isa = isa;
        engine_options.algorithm = algorithm;
        engine_options.threads = 2;
        engine_options.hierarchy = small_hierarchy();
        const auto engine = make_engine(network, data, engine_options);
        ASSERT_EQ(engine->isa(), isa);
        const Check check = check_against_reference(*engine, network, data, 256, engine_options.adam, 5, 100);
        EXPECT_TRUE(check.passed) << shape_name(shape) << " " << algorithm << " " << isa_name(isa) << ": "
                                  << check.detail;
      }
}

TEST(Mlp, RerunsAreBitEqual) {
  const Dataset data = make_data(13, 5, Task::kMulticlass, 500, 50, 3);
  // the second: one layer's gradient by outputs, beside others by rows; the third: split by hidden units
  for (const Network& network : {Network{13, {17, 17, 9, 5}, false, Task::kMulticlass},
                                 Network{13, {700, 400, 5}, false, Task::kMulticlass},
                                 Network{13, {900, 5}, false, Task::kMulticlass}})
    for (const char* algorithm : {"fused", "blocked"})
      for (const Isa isa : available_isas())
        for (const int threads : {1, 2, 3}) {
          EngineOptions options;
          options.isa = isa;
          options.algorithm = algorithm;
          options.threads = threads;
          options.hierarchy = small_hierarchy();
          SCOPED_TRACE(std::string(algorithm) + " " + isa_name(isa) + " " + std::to_string(threads));
          if (network.depth() == 2) {
            ASSERT_TRUE(splits_hidden_layer(network, threads, 256, options.hierarchy));
          }
          std::vector<reference::Parameters> results;
          std::vector<double> losses;
          for (int repeat = 0; repeat < 3; ++repeat) {
            const auto engine = make_engine(network, data, options);
            engine->set_parameters(reference::initial_parameters(network, 1));
            const int order[] = {0, 1, 1, 0, 1};
            losses.push_back(engine->train(order, 5));
            results.push_back(engine->parameters());
          }
          for (int repeat = 1; repeat < 3; ++repeat) {
            EXPECT_EQ(losses[0], losses[repeat]);
            EXPECT_EQ(results[0].weights, results[repeat].weights);
            EXPECT_EQ(results[0].biases, results[repeat].biases);
          }
        }
}

/// An engine whose results are bent on the way out.
class BrokenEngine : public MlpEngine {
 public:
  enum class Fault { kGradient, kLoss, kNan, kLateMove, kSometimes };
  BrokenEngine(std::unique_ptr<MlpEngine> inner, Fault fault) : inner_(std::move(inner)), fault_(fault) {
    train_batches_ = inner_->train_batches();
  }
  const char* algorithm() const override { return inner_->algorithm(); }
  int threads() const override { return inner_->threads(); }
  double train(const int* batches, std::int64_t count) override {
    const double loss = inner_->train(batches, count);
    ++steps_;
    return fault_ == Fault::kLoss ? loss * 1.01 : fault_ == Fault::kNan ? std::nan("") : loss;
  }
  reference::Evaluation evaluate(Split split) override { return inner_->evaluate(split); }
  void set_parameters(const reference::Parameters& p) override { inner_->set_parameters(p); }
  reference::Parameters parameters() const override {
    reference::Parameters all = inner_->parameters();
    if (fault_ == Fault::kLateMove && steps_ % 3 == 0)  // the last step of each trial
      for (auto& layer : all.weights)
        for (double& w : layer) w += 1e-4;
    return all;
  }
  reference::Parameters first_moments() const override {
    reference::Parameters moments = inner_->first_moments();
    // as a race would: in every other trial
    const bool now = fault_ == Fault::kGradient || (fault_ == Fault::kSometimes && trials_++ % 2 == 0);
    if (now) moments.weights[1][2] += 0.1 * std::abs(moments.weights[1][0]) + 1e-4;
    return moments;
  }

 private:
  std::unique_ptr<MlpEngine> inner_;
  Fault fault_;
  int steps_ = 0;
  mutable int trials_ = 0;
};

TEST(Mlp, TheCheckCatchesABrokenEngine) {
  const Dataset data = make_data(6, 3, Task::kMulticlass, 300, 30, 4);
  const Network network{6, {9, 8, 3}, false, Task::kMulticlass};
  EngineOptions options;
  options.threads = 1;
  options.algorithm = "fused";
  options.hierarchy = small_hierarchy();
  using Fault = BrokenEngine::Fault;
  for (const Fault fault :
       {Fault::kGradient, Fault::kLoss, Fault::kNan, Fault::kLateMove, Fault::kSometimes}) {
    for (const bool freely : {true, false}) {
      BrokenEngine engine(make_engine(network, data, options), fault);
      const Check check = freely ? check_against_reference(engine, network, data, 256, options.adam, 1, 3)
                                 : check_engine(engine, network, data, 256, options.adam, 1, 3);
      EXPECT_FALSE(check.passed) << "fault " << static_cast<int>(fault) << " went unseen";
      EXPECT_FALSE(check.detail.empty());
    }
  }
  EXPECT_FALSE(check_within(std::nan(""), 1.0, "a NaN").passed);
}

TEST(Mlp, APoisonedWeightIsSeen) {
  const Dataset data = make_data(6, 3, Task::kMulticlass, 300, 30, 4);
  const Network network{6, {9, 8, 3}, false, Task::kMulticlass};
  for (const Isa isa : available_isas())
    for (const char* algorithm : {"fused", "blocked"}) {
      EngineOptions options;
      options.isa = isa;
      options.threads = 1;
      options.algorithm = algorithm;
      options.hierarchy = small_hierarchy();
      const auto engine = make_engine(network, data, options);
      reference::Parameters poisoned = reference::initial_parameters(network, 1);
      poisoned.weights[0][3] = std::nan("");
      engine->set_parameters(poisoned);
      const int batch = 0;
      EXPECT_TRUE(std::isnan(engine->train(&batch, 1))) << algorithm << " " << isa_name(isa);
    }
}

TEST(Mlp, ExpAndLogAreWithinTwoUnitsInTheLastPlace) {
  constexpr int kCount = 1 << 16;
  std::vector<float> x(kCount), y(kCount);
  std::mt19937_64 random(1);
  for (const Isa isa : available_isas()) {
    for (float& v : x) v = static_cast<float>(static_cast<double>(random() >> 11) * 0x1p-53 * 160 - 80);
    fused_kernels(isa).exp_many(x.data(), y.data(), kCount);
    for (int i = 0; i < kCount; ++i) {
      const double want = std::exp(static_cast<double>(x[i]));
      ASSERT_FALSE(!(std::abs(y[i] - want) <= 2 * 0x1p-23 * want)) << "exp " << x[i] << " " << isa_name(isa);
    }
    for (float& v : x)
      v = static_cast<float>(std::exp(static_cast<double>(random() >> 11) * 0x1p-53 * 60 - 30));
    fused_kernels(isa).log_many(x.data(), y.data(), kCount);
    for (int i = 0; i < kCount; ++i) {
      const double want = std::log(static_cast<double>(x[i]));
      ASSERT_FALSE(!(std::abs(y[i] - want) <= 2 * 0x1p-23 * (std::abs(want) + 1e-1)))
          << "log " << x[i] << " " << isa_name(isa);
    }
  }
}

/// One step of many parameters against the formula in double: gradients of every size, none at all, in
/// copies.
TEST(FusedKernels, AdamIsItsFormulaToTheLastDigits) {
  constexpr std::int64_t kCount = 1237;  // whole blocks, a vector and a tail
  std::mt19937_64 random(11);
  const auto unit = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  const AdamStep step{1e-3f, 0.9f, 0.999f, 1e-7f};
  for (const Isa isa : available_isas())
    for (const int copies : {1, 3}) {
      std::vector<float> gradient(static_cast<std::size_t>(copies) * kCount), w(kCount), m(kCount), v(kCount);
      for (float& g : gradient)
        g = static_cast<float>((unit() < 0.5 ? -1 : 1) * std::exp(60 * unit() - 45)) * (random() % 8 != 0);
      for (std::int64_t i = 0; i < kCount; ++i) {
        w[i] = static_cast<float>(unit() - 0.5);
        const bool fresh = random() % 4 == 0;  // the first step's moments are 0
        m[i] = fresh ? 0 : static_cast<float>(1e-3 * (unit() - 0.5));
        v[i] = fresh ? 0 : static_cast<float>(std::exp(30 * unit() - 40));
        for (int c = 0; c < copies && fresh && i % 2 == 0; ++c) gradient[c * kCount + i] = 0;
      }
      const std::vector<float> w0 = w, m0 = m, v0 = v;
      fused_kernels(isa).adam(step, 0, kCount, gradient.data(), copies, kCount, w.data(), m.data(), v.data());
      for (std::int64_t i = 0; i < kCount; ++i) {
        float sum = 0;
        for (int c = 0; c < copies; ++c) sum += gradient[c * kCount + i];
        const double g = sum, first = 0.9f * double{m0[i]} + double{1 - 0.9f} * g,
                     second = 0.999f * double{v0[i]} + double{1 - 0.999f} * (g * g);
        const double moved = 1e-3f * first / (std::sqrt(second) + 1e-7f);
        const std::string what = isa_name(isa) + " " + std::to_string(copies) + " " + std::to_string(i);
        ASSERT_NEAR(m[i], first, 2e-7 * (std::abs(m0[i]) + std::abs(g))) << what;
        ASSERT_NEAR(v[i], second, 4e-7 * second + 1e-44) << what;
        // what the moments' own rounding moves, a few units of the quotient, and the last digit of w
        ASSERT_NEAR(w[i], w0[i] - moved,
                    1.5e-6 * std::abs(moved) +
                        3e-7 * 1e-3 * (std::abs(m0[i]) + std::abs(g)) / (std::sqrt(second) + 1e-7) +
                        0x1p-24 * std::abs(w0[i] - moved) + 1e-12)
            << what;
      }
      gradient[17] = std::nanf("");
      fused_kernels(isa).adam(step, 0, kCount, gradient.data(), copies, kCount, w.data(), m.data(), v.data());
      EXPECT_TRUE(std::isnan(w[17])) << "a poisoned gradient must be seen";
      EXPECT_FALSE(std::isnan(w[18]));
    }
}

TEST(Mlp, EveryQuickEntryPassesItsCheck) {
  RunOptions options;
  options.hierarchy = small_hierarchy();
  options.threads = 2;
  int checked = 0;
  for (const Family& family : catalogue())
    if (family.name == "cpu/mlp_train")
      family.enumerate(options, [&](const Benchmark& benchmark) {
        if (!benchmark.quick || std::get<std::int64_t>(benchmark.parameters.at("size")) > 65536) return;
        auto kernel = benchmark.make(options);
        kernel->set_up();
        const Check check = kernel->check();
        EXPECT_TRUE(check.passed) << benchmark.name << ": " << check.detail;
        kernel->run(3);
        EXPECT_GT(kernel->cost().flops(), 0);
        ++checked;
      });
  EXPECT_GE(checked, 8);
}

// The layer products by themselves, widths around every tile's and vector's edge.
TEST(PanelWidth, EveryEntryProvesItsResult) {
  for (const Isa isa : available_isas())
    for (const int threads : {1, 2}) {
      RunOptions options;
      options.isa = isa_name(isa);
      options.threads = threads;
      int tested = 0;
      for (const Family& family : catalogue())
        if (family.name == "cpu/panel_width")
          family.enumerate(options, [&](const Benchmark& benchmark) {
            const std::int64_t width = std::get<std::int64_t>(benchmark.parameters.at("n"));
            if (width > 34 && width != 97 && width != 257 && width != 300) return;
            const auto kernel = benchmark.make(options);
            kernel->set_up();
            const Check check = kernel->check();
            EXPECT_TRUE(check.passed) << benchmark.name << ' ' << isa_name(isa) << ' ' << check.detail;
            EXPECT_EQ(kernel->facts().at("isa"), isa_name(isa));
            ++tested;
          });
      EXPECT_EQ(tested, 37);
    }
}

TEST(Mlp, WrongRequestsAreNamed) {
  const Dataset data = make_data(6, 3, Task::kMulticlass, 30, 3, 4);
  const Network network{6, {9, 3}, false, Task::kMulticlass};
  EngineOptions options;
  options.hierarchy = small_hierarchy();
  options.algorithm = "clever";
  try {
    make_engine(network, data, options);
    FAIL() << "accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("clever"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("fused"), std::string::npos);
  }
  const Network wider{7, {9, 3}, false, Task::kMulticlass};
  options.algorithm = "";
  EXPECT_THROW(make_engine(wider, data, options), std::invalid_argument);
}

}  // namespace
}  // namespace mlpwatt
