#include "kernels/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/random.h"

namespace mlpwatt::reference {
namespace {

struct Batch {
  std::vector<float> x, y;
  std::int64_t rows = 0;
};

Batch make_batch(const Network& network, std::int64_t rows, std::uint64_t seed) {
  Batch batch;
  batch.rows = rows;
  RandomStream stream(seed);
  for (std::int64_t i = 0; i < rows * network.inputs; ++i)
    batch.x.push_back(static_cast<float>(uniform_unit(stream)));
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto label = uniform_below(stream, static_cast<std::uint64_t>(network.outputs()));
    for (int j = 0; j < network.outputs(); ++j) {
      if (network.task == Task::kMulticlass) batch.y.push_back(j == static_cast<int>(label) ? 1 : 0);
      if (network.task == Task::kBinary) batch.y.push_back(uniform_unit(stream) < 0.5 ? 0 : 1);
      if (network.task == Task::kRegression) batch.y.push_back(static_cast<float>(uniform_unit(stream)));
    }
  }
  return batch;
}

// Biases away from zero, so that no gradient test passes for want of them.
Parameters random_parameters(const Network& network, std::uint64_t seed) {
  Parameters parameters = initial_parameters(network, seed);
  RandomStream stream(seed + 1);
  for (auto& layer : parameters.biases)
    for (double& bias : layer) bias = 0.4 * uniform_unit(stream) - 0.1;
  return parameters;
}

// Largest difference between the gradients and central finite differences of the loss, over every
// weight and bias. A ReLU whose kink lies inside the step has no such difference: those are asked again with
// a smaller step, which moves the kink out.
double gradient_error(const Trainer& trainer, const Batch& batch, const Parameters& gradients) {
  Trainer probe = trainer;
  Parameters ignored = make_parameters(trainer.network());
  const auto difference = [&](double& value, double gradient) {
    const double kept = value;
    double error = 0;
    for (const double step : {1e-5, 1e-6, 1e-7}) {
      value = kept + step;
      const double above = probe.loss_and_gradients(batch.x.data(), batch.y.data(), batch.rows, ignored);
      value = kept - step;
      const double below = probe.loss_and_gradients(batch.x.data(), batch.y.data(), batch.rows, ignored);
      value = kept;
      error = std::abs((above - below) / (2 * step) - gradient);
      if (error <= 2e-8) break;
    }
    return error;
  };
  double worst = 0;
  const auto take = [&](double error) {
    if (!std::isnan(worst) && !(error <= worst)) worst = error;
  };
  for (std::size_t k = 0; k < gradients.weights.size(); ++k) {
    for (std::size_t i = 0; i < gradients.weights[k].size(); ++i)
      take(difference(probe.parameters().weights[k][i], gradients.weights[k][i]));
    for (std::size_t i = 0; i < gradients.biases[k].size(); ++i)
      take(difference(probe.parameters().biases[k][i], gradients.biases[k][i]));
  }
  return worst;
}

class Gradients : public testing::TestWithParam<std::tuple<Shape, Task, int>> {};

TEST_P(Gradients, AgreeWithFiniteDifferences) {
  const auto [shape, task, depth] = GetParam();
  const Network network = make_network(shape, 160, depth, 5, task == Task::kMulticlass ? 3 : 1, task);
  const Batch batch = make_batch(network, 6, 77);
  const Trainer trainer(network, random_parameters(network, 5));
  Parameters gradients;
  trainer.loss_and_gradients(batch.x.data(), batch.y.data(), batch.rows, gradients);
  EXPECT_TRUE(gradient_error(trainer, batch, gradients) <= 1e-7);
  // The proof itself must see a gradient that is wrong in one place, and a NaN.
  Parameters broken = gradients;
  broken.biases[1][0] += 1e-5;
  EXPECT_FALSE(gradient_error(trainer, batch, broken) <= 1e-7);
  broken.biases[1][0] = std::nan("");
  EXPECT_FALSE(gradient_error(trainer, batch, broken) <= 1e-7);
}

INSTANTIATE_TEST_SUITE_P(EveryShapeAndLoss, Gradients,
                         testing::Combine(testing::ValuesIn(all_shapes()),
                                          testing::Values(Task::kMulticlass, Task::kBinary,
                                                          Task::kRegression),
                                          testing::Values(2, 4, 7)),
                         [](const auto& test) {
                           return shape_name(std::get<0>(test.param)) + "_" +
                                  task_name(std::get<1>(test.param)) + "_" +
                                  std::to_string(std::get<2>(test.param));
                         });

TEST(Reference, ResidualAddsTheInput) {
  const Network network{1, {1, 1, 1}, true, Task::kRegression};
  Parameters parameters = make_parameters(network);
  parameters.weights = {{2}, {3}, {1}};
  const float x = 1;
  // h0 = 2, h1 = 3*2 + 2 = 8, p = sigmoid(8); without the residual sigmoid(6)
  EXPECT_NEAR(Trainer(network, parameters).predict(&x, 1)[0], 1 / (1 + std::exp(-8.0)), 1e-15);
  const Network plain{1, {1, 1, 1}, false, Task::kRegression};
  EXPECT_NEAR(Trainer(plain, parameters).predict(&x, 1)[0], 1 / (1 + std::exp(-6.0)), 1e-15);
}

TEST(Reference, LossesByHand) {
  const float x = 0;
  {
    const Network network{1, {3}, false, Task::kMulticlass};
    const float y[] = {0, 1, 0};
    const Trainer trainer(network, make_parameters(network));
    EXPECT_NEAR(trainer.evaluate(&x, y, 1).loss, std::log(3.0), 1e-15);
    EXPECT_EQ(trainer.evaluate(&x, y, 1).accuracy, 0);  // a tie goes to the first class
  }
  {
    const Network network{1, {1}, false, Task::kBinary};
    const float y = 1;
    const Trainer trainer(network, make_parameters(network));
    EXPECT_NEAR(trainer.evaluate(&x, &y, 1).loss, std::log(2.0), 1e-15);
    EXPECT_EQ(trainer.evaluate(&x, &y, 1).accuracy, 1);  // 0.5 counts as the second class
  }
  {
    const Network network{1, {1}, false, Task::kRegression};
    const float y = 0.25f;
    const Trainer trainer(network, make_parameters(network));
    EXPECT_NEAR(trainer.evaluate(&x, &y, 1).loss, 0.0625, 1e-15);
    EXPECT_TRUE(std::isnan(trainer.evaluate(&x, &y, 1).accuracy));
  }
}

TEST(Reference, ExtremeSumsGiveFiniteLosses) {
  for (const Task task : {Task::kMulticlass, Task::kBinary}) {
    const Network network{1, {task == Task::kMulticlass ? 2 : 1}, false, task};
    Parameters parameters = make_parameters(network);
    parameters.weights[0][0] = 1000;
    const float x = 1, y[] = {0, 1};
    const double loss = Trainer(network, parameters).evaluate(&x, y, 1).loss;
    EXPECT_NEAR(loss, 1000, 1e-9) << task_name(task);
  }
}

// One weight, one input 1, target y, MSE on a sigmoid: everything by hand for two steps.
TEST(Reference, AdamByHandForTwoSteps) {
  const Network network{1, {1}, false, Task::kRegression};
  const Adam adam{0.1, 0.9, 0.999, 1e-7};
  Trainer trainer(network, make_parameters(network), adam);
  const float x = 1, y = 1;
  double w = 0, m = 0, v = 0;  // the bias sees the same gradient and stays equal to the weight
  for (int t = 1; t <= 2; ++t) {
    const double p = 1 / (1 + std::exp(-2 * w));
    const double g = 2 * (p - 1) * p * (1 - p);
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    EXPECT_NEAR(trainer.step(&x, &y, 1), (p - 1) * (p - 1), 1e-15);
    // Keras: the bias corrections in the rate, epsilon beside the uncorrected root.
    w -= 0.1 * std::sqrt(1 - std::pow(0.999, t)) / (1 - std::pow(0.9, t)) * m / (std::sqrt(v) + 1e-7);
    EXPECT_NEAR(trainer.parameters().weights[0][0], w, 1e-15) << "step " << t;
    EXPECT_NEAR(trainer.parameters().biases[0][0], w, 1e-15) << "step " << t;
  }
  EXPECT_EQ(trainer.steps_taken(), 2);
  // Kingma and Ba: both moments corrected first, epsilon beside the corrected root; with an epsilon that
  // counts.
  Adam published{0.1, 0.9, 0.999, 0.3};
  published.epsilon_on_corrected_root = true;
  Trainer other(network, make_parameters(network), published);
  w = m = v = 0;
  for (int t = 1; t <= 3; ++t) {
    const double p = 1 / (1 + std::exp(-2 * w)), g = 2 * (p - 1) * p * (1 - p);
    m = 0.9 * m + 0.1 * g;
    v = 0.999 * v + 0.001 * g * g;
    other.step(&x, &y, 1);
    const double first = m / (1 - std::pow(0.9, t)), second = v / (1 - std::pow(0.999, t));
    w -= 0.1 * first / (std::sqrt(second) + 0.3);
    EXPECT_NEAR(other.parameters().weights[0][0], w, 1e-14) << "step " << t;
  }
  // The first step is the learning rate itself, almost: g is far larger than epsilon's share.
  Trainer once(network, make_parameters(network), adam);
  once.step(&x, &y, 1);
  EXPECT_NEAR(once.parameters().weights[0][0], 0.1, 1e-5);
}

TEST(Reference, ChunksDoNotShow) {
  const Network network{4, {6, 3}, false, Task::kMulticlass};
  const Batch batch = make_batch(network, 600, 3);  // more rows than are taken at once
  const Trainer trainer(network, initial_parameters(network, 1));
  Parameters whole, part;
  const double loss = trainer.loss_and_gradients(batch.x.data(), batch.y.data(), 600, whole);
  double parts = 0, gradient = 0;
  for (int r = 0; r < 600; ++r) {
    parts += trainer.loss_and_gradients(&batch.x[r * 4], &batch.y[r * 3], 1, part) / 600;
    gradient += part.weights[0][5] / 600;
  }
  EXPECT_NEAR(loss, parts, 1e-12);
  EXPECT_NEAR(whole.weights[0][5], gradient, 1e-12);
  EXPECT_NEAR(trainer.evaluate(batch.x.data(), batch.y.data(), 600).loss, loss, 1e-12);
  const auto outputs = trainer.predict(batch.x.data(), 600);
  ASSERT_EQ(outputs.size(), 1800u);
  EXPECT_NEAR(outputs[1797] + outputs[1798] + outputs[1799], 1, 1e-12);
}

TEST(Reference, TrainingLowersTheLoss) {
  const Network network = make_network(Shape::kRectangleResidual, 512, 4, 6, 3, Task::kMulticlass);
  const Batch batch = make_batch(network, 32, 9);
  Trainer trainer(network, initial_parameters(network, 2), Adam{1e-2});
  const double before = trainer.evaluate(batch.x.data(), batch.y.data(), 32).loss;
  for (int step = 0; step < 200; ++step) trainer.step(batch.x.data(), batch.y.data(), 32);
  EXPECT_LT(trainer.evaluate(batch.x.data(), batch.y.data(), 32).loss, 0.5 * before);
}

TEST(Reference, InitialParameters) {
  const Network network{30, {20, 10, 4}, false, Task::kMulticlass};
  const Parameters a = initial_parameters(network, 7), b = initial_parameters(network, 7);
  EXPECT_EQ(a.weights, b.weights);
  EXPECT_NE(a.weights, initial_parameters(network, 8).weights);
  const double limits[] = {std::sqrt(6.0 / 30), std::sqrt(6.0 / 20), std::sqrt(6.0 / 14)};
  for (int k = 0; k < 3; ++k) {
    double largest = 0;
    for (const double w : a.weights[k]) {
      EXPECT_EQ(w, static_cast<double>(static_cast<float>(w)));
      largest = std::max(largest, std::abs(w));
    }
    EXPECT_LE(largest, limits[k] * (1 + 1e-7));
    EXPECT_GT(largest, 0.8 * limits[k]);
    for (const double bias : a.biases[k]) EXPECT_EQ(bias, 0);
  }
  // The stream itself, which every kernel on every platform has to reproduce: the standard fixes the 10000th
  // value of a default mt19937_64.
  RandomStream stream;
  stream.discard(9999);
  EXPECT_EQ(stream(), 9981545732273789042u);
}

TEST(Reference, WrongShapeOfInitialParametersIsRefused) {
  const Network network{3, {2, 1}, false, Task::kBinary};
  EXPECT_THROW(Trainer(network, make_parameters({3, {3, 1}})), std::invalid_argument);
  EXPECT_THROW(Trainer(network, {}), std::invalid_argument);
}

TEST(Reference, GemmAllTransposesByHand) {
  const float a[] = {1, 2, 3, 4, 5, 6};   // [2 x 3]
  const float b[] = {1, 0, 2, 1, 0, 3};   // [3 x 2]
  const float at[] = {1, 4, 2, 5, 3, 6};  // a transposed
  const float bt[] = {1, 2, 0, 0, 1, 3};  // b transposed
  const std::vector<double> product{5, 11, 14, 23};
  for (int form = 0; form < 4; ++form) {
    const bool ta = (form & 1) != 0, tb = (form & 2) != 0;
    std::vector<double> c(4, std::nan(""));
    gemm(ta, tb, 2, 2, 3, 1, ta ? at : a, ta ? 2 : 3, tb ? bt : b, tb ? 3 : 2, 0, c.data(), 2);
    EXPECT_EQ(c, product) << form;
    gemm(ta, tb, 2, 2, 3, 2, ta ? at : a, ta ? 2 : 3, tb ? bt : b, tb ? 3 : 2, 10, c.data(), 2);
    EXPECT_EQ(c, (std::vector<double>{60, 132, 168, 276})) << form;
  }
}

}  // namespace
}  // namespace mlpwatt::reference
