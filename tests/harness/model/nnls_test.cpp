// Non-negative least squares against scipy's, and the conditions any solution must meet.

#include "harness/model/nnls.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/random.h"
#include "tests/support/temporary_folder.h"

namespace mlpwatt::model {
namespace {

struct Problem {
  Eigen::MatrixXd a;
  Eigen::VectorXd b;
};

Problem random_problem(RandomStream& random, int rows, int terms, bool scaled) {
  Problem p{Eigen::MatrixXd(rows, terms), Eigen::VectorXd(rows)};
  for (int j = 0; j < terms; ++j) {
    const double scale = scaled ? std::pow(10.0, 20 * uniform_unit(random) - 10) : 1;
    for (int i = 0; i < rows; ++i) p.a(i, j) = scale * (uniform_unit(random) - (scaled ? 0 : 0.3));
  }
  for (int i = 0; i < rows; ++i) p.b(i) = uniform_unit(random) - 0.2;
  return p;
}

/// x >= 0, gradient >= 0 where x is 0, gradient 0 where it is not: with these x is a minimum.
void expect_optimal(const Problem& p, const Eigen::VectorXd& x) {
  const Eigen::VectorXd gradient = p.a.transpose() * (p.a * x - p.b);
  for (Eigen::Index j = 0; j < x.size(); ++j) {
    const double bound = 1e-9 * p.a.col(j).norm() * p.b.norm();
    EXPECT_GE(x(j), 0);
    EXPECT_GE(gradient(j), -bound) << "term " << j;
    if (x(j) > 0) {
      EXPECT_LE(gradient(j), bound) << "term " << j;
    }
  }
}

TEST(Nnls, MeetsTheConditionsOfAMinimum) {
  RandomStream random(11);
  for (int trial = 0; trial < 200; ++trial) {
    const int rows = 1 + static_cast<int>(uniform_below(random, 40));
    const int terms = 1 + static_cast<int>(uniform_below(random, 12));
    const Problem p = random_problem(random, rows, terms, trial % 2 == 1);
    expect_optimal(p, nnls(p.a, p.b).x);
  }
}

TEST(Nnls, AgreesWithScipy) {
  if (std::system("/usr/bin/python3 -c 'import scipy.optimize' 2>/dev/null") != 0)
    GTEST_SKIP() << "/usr/bin/python3 has no scipy (Debian: python3-scipy)";
  const testing::TemporaryFolder folder;
  RandomStream random(12);
  nlohmann::json problems = nlohmann::json::array();
  std::vector<Problem> kept;
  for (int trial = 0; trial < 60; ++trial) {
    const int terms = 1 + static_cast<int>(uniform_below(random, 10));
    kept.push_back(random_problem(random, terms + 5, terms, trial % 3 == 2));
    nlohmann::json a = nlohmann::json::array();
    for (Eigen::Index i = 0; i < kept.back().a.rows(); ++i) {
      const Eigen::VectorXd row = kept.back().a.row(i);
      a.push_back(std::vector<double>(row.begin(), row.end()));
    }
    problems.push_back({{"a", a}, {"b", std::vector<double>(kept.back().b.begin(), kept.back().b.end())}});
  }
  std::ofstream(folder.path("in.json")) << problems;
  std::ofstream(folder.path("oracle.py")) << R"(
import json, sys, numpy
from scipy.optimize import nnls
norms = []
for p in json.load(open(sys.argv[1])):
    a = numpy.array(p["a"]); scale = numpy.linalg.norm(a, axis=0)
    norms.append(nnls(a / scale, numpy.array(p["b"]))[1])
json.dump(norms, open(sys.argv[2], "w"))
)";
  const std::string command = "/usr/bin/python3 " + folder.path("oracle.py") + ' ' + folder.path("in.json") +
                              ' ' + folder.path("out.json");
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
  const auto norms = nlohmann::json::parse(std::ifstream(folder.path("out.json")));
  ASSERT_EQ(norms.size(), kept.size());
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const NnlsResult ours = nnls(kept[i].a, kept[i].b);
    EXPECT_NEAR(ours.residual_norm, norms[i].get<double>(), 1e-8 * (1 + kept[i].b.norm())) << "problem " << i;
  }
}

TEST(Nnls, ZeroAndCollinearColumnsDoNotDisturb) {
  Eigen::MatrixXd a(4, 3);
  a << 1, 0, 2, 2, 0, 4, 3, 0, 6, 4, 0, 8;
  const Eigen::VectorXd b = Eigen::Vector4d(1, 2, 3, 4);
  const NnlsResult result = nnls(a, b);
  EXPECT_LT(result.residual_norm, 1e-12);
  EXPECT_EQ(result.x(1), 0);
}

TEST(Nnls, RefusesWhatIsNoProblem) {
  EXPECT_THROW(nnls(Eigen::MatrixXd::Ones(3, 2), Eigen::VectorXd::Ones(2)), std::invalid_argument);
  Eigen::MatrixXd a = Eigen::MatrixXd::Ones(3, 2);
  a(1, 1) = std::nan("");
  EXPECT_THROW(nnls(a, Eigen::VectorXd::Ones(3)), std::invalid_argument);
}

}  // namespace
}  // namespace mlpwatt::model
