#pragma once
// What `predict` and `recommend` share: which file's model, which machine, which kernel, and turning a
// network into a configuration of it.

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/model/hierarchy_file.h"
#include "harness/model/model.h"

namespace CLI {
class App;
}

namespace mlpwatt::model {

struct QuestionOptions {
  std::string model_file, machine, hierarchy_file, algorithm, isa;
  int threads = 0;
};

/// --model --machine --hierarchy --algorithm --isa --threads
void add_question_options(CLI::App& app, QuestionOptions& options);

/// A model, and the machine the question is about.
class Question {
 public:
  /// Errors: UsageError for a missing model file; as Model and read_hierarchy_file.
  explicit Question(const QuestionOptions& options);

  /// The configuration the program would run: its own choice of algorithm and threads where none is forced.
  Configuration configuration(const std::string& dataset, const std::string& shape, std::int64_t size,
                              int depth, int batch) const;
  Estimate estimate(const Configuration& configuration, Target target) const;
  /// Measured energy where the model has it, else modelled energy, else time.
  Target best_target(const std::string& algorithm) const;

  const Model& model() const { return *model_; }
  const Contents& contents() const { return contents_; }
  const Hierarchy& hierarchy() const { return machine_.hierarchy; }
  /// No fitted run has a batch as small or as large, as few or as many threads, or that instruction set: the
  /// terms' prices were not seen there.
  bool extrapolates(const Configuration& configuration) const;
  /// "batches of 64 to 256, 1 thread, avx512": what the fitted runs had.
  std::string fitted_runs() const;
  /// Batches that fitted runs had, ascending.
  std::vector<int> batches() const { return {batches_.begin(), batches_.end()}; }
  /// One line: what the answer rests on.
  std::string basis() const;

 private:
  /// What the machine asked about does differently, for a prediction of this target.
  OtherMachine other_machine(const std::string& algorithm, Target target) const;

  QuestionOptions options_;
  Contents contents_;
  std::unique_ptr<Model> model_;
  DescribedMachine machine_;
  /// Of the file's own probes of the fitted machine, when another machine is asked about.
  std::optional<OtherMachine> probed_;
  std::set<int> batches_, threads_;  ///< of the fitted runs
  std::set<std::string> isas_;
};

/// Training rows of an average step of the dataset: to get from steps to data.
double rows_per_step(const Configuration& configuration);

}  // namespace mlpwatt::model
