#pragma once
// What `predict` and `recommend` share: which file's model, which machine or device of it, which kernel, and
// turning a network into a configuration of it.

#include <map>
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
  std::string model_file, machine, backend, hierarchy_file, algorithm, isa;
  int threads = 0;
};

/// --model --machine --backend --hierarchy --algorithm --isa --threads
void add_question_options(CLI::App& app, QuestionOptions& options);

/// A model, and the machine the question is about.
class Question {
 public:
  /// @param contents of the model file, where somebody has read it already
  /// Errors: UsageError for a missing model file, a backend nothing was fitted for (names those that were), a
  /// hierarchy file of the other backend, threads or an instruction set asked of a device, a device that the
  /// runs do not describe; as Model and read_hierarchy_file.
  explicit Question(const QuestionOptions& options, std::shared_ptr<const Contents> contents = nullptr);

  /// The configuration the program would run: its own choice of algorithm and threads where none is forced.
  /// On a device that choice is measured when a network is set up; here it is the quickest by the model, as
  /// is that of other programs' runs.
  Configuration configuration(const std::string& dataset, const std::string& shape, std::int64_t size,
                              int depth, int batch) const;
  Estimate estimate(const Configuration& configuration, Target target) const;
  /// Measured energy where the model has it, else modelled energy, else time.
  Target best_target(const std::string& algorithm) const;

  const Model& model() const { return *model_; }
  const Contents& contents() const { return *contents_; }
  const Hierarchy& hierarchy() const { return machine_.hierarchy; }
  const std::string& backend() const { return options_.backend; }
  /// Whether this program can say itself how a network would run: of its own engines on a processor. How
  /// those of a device or of other programs (imported runs) would is read off the fitted runs.
  bool engines_are_ours() const { return engines_are_ours_; }
  /// Whether the file tells the caches that the fitted runs were computed in.
  bool knows_fitted_hierarchy() const { return on_processor() || fitted_hierarchy_; }
  /// Name of the processor or device that the fitted runs were computed by.
  const std::string& computes() const;
  /// No fitted run has a batch as small or as large, as few or as many threads, or that instruction set, or
  /// on a device half as many parameters in that engine: the terms' prices were not seen there.
  bool extrapolates(const Configuration& configuration) const;
  /// "batches of 64 to 256, 1 thread, avx512": what the fitted runs had. Of a device "..., sm_90, resident to
  /// 8192 parameters".
  std::string fitted_runs() const;
  /// Batches that fitted runs had, ascending.
  std::vector<int> batches() const { return {batches_.begin(), batches_.end()}; }
  /// One line: what the answer rests on.
  std::string basis() const;

 private:
  bool on_processor() const { return options_.backend == "cpu"; }
  void choose_backend();
  void choose_hierarchy();
  const Row& fitted_machine() const;
  /// Takes what there is to know from the runs that were fitted.
  void read_fitted_runs();
  void choose_engine_here(Configuration& c) const;
  void choose_as_recorded(Configuration& c) const;
  /// c as `algorithm` would run it: with what the most similar network recorded in it had. Nothing when no
  /// fitted run is of that algorithm.
  std::optional<Configuration> as_recorded(Configuration c, const std::string& algorithm) const;
  /// Octaves of parameters more than the largest fitted run of that engine; 0 where there is none.
  double octaves_beyond(const Configuration& c, const std::string& algorithm) const;
  /// What the machine asked about does differently, for a prediction of this target.
  OtherMachine other_machine(const Configuration& c, Target target) const;

  QuestionOptions options_;
  std::shared_ptr<const Contents> contents_;
  std::unique_ptr<Model> model_;
  DescribedMachine machine_;
  /// Of the file's own probes of the fitted machine, when another machine is asked about.
  std::optional<OtherMachine> probed_;
  std::set<int> batches_, threads_;  ///< of the fitted runs
  std::set<std::string> isas_;
  bool engines_are_ours_ = true;
  struct RecordedRun {
    Configuration configuration;
    double parameters = 0;
  };
  std::vector<RecordedRun> recorded_;          ///< the fitted runs, where engines are not ours
  std::map<std::string, double> largest_;      ///< parameters that each of their engines had
  std::string device_;                         ///< its name, where the runs say it
  std::optional<Hierarchy> fitted_hierarchy_;  ///< of what the runs were computed in, where it is known
};

/// Training rows of an average step of the dataset: to get from steps to data.
double rows_per_step(const Configuration& configuration);

}  // namespace mlpwatt::model
