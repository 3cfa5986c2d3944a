#pragma once
// Whoever can train a network: our engine, a plain trainer on a BLAS, a framework behind a driver. All get
// the same lesson, and prove that they understood it before they are timed.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/compare/blas.h"
#include "kernels/kernel.h"
#include "kernels/reference.h"

namespace mlpwatt {

/// What is to be trained, the same for everybody.
struct Lesson {
  Network network;
  std::shared_ptr<const Dataset> data;
  int batch = 256;
  int threads = 1;  ///< at most so many
  reference::Adam adam;
  reference::Parameters initial;
  std::string folder;  ///< holds the same in files (write_lesson)

  /// Whole batches of the training split: nobody has to compile a second shape.
  int batches() const { return static_cast<int>(data->train_rows() / batch); }
};

/// Writes x.f32, y.f32, weights.f32 and biases.f32 (results/peers/_driver.py) into lesson.folder.
/// Errors: std::runtime_error naming the file.
void write_lesson(const Lesson& lesson);

class Learner {
 public:
  virtual ~Learner() = default;
  const std::string& name() const { return name_; }        ///< "ours", "torch_eager"
  const std::string& library() const { return library_; }  ///< with its version
  virtual std::string mode() const = 0;  ///< how it runs, for the record; valid after open()
  /// What ran, as Kernel::facts; valid after open().
  virtual std::map<std::string, std::string> facts() const = 0;
  virtual void open(const Lesson& lesson) = 0;
  /// Mean loss over batch `evaluate` after one step on each of `batches` from the lesson's initial weights.
  virtual double loss_after(const std::vector<int>& batches, int evaluate) = 0;
  /// Steps on these batches from wherever the weights are; seconds of all but the first `warm`.
  virtual double run_s(const std::vector<int>& batches, std::int64_t warm) = 0;
  /// Where its Adam adds epsilon: see reference::Adam. A proof is held against ours in the same form.
  virtual bool epsilon_on_corrected_root() const { return false; }
  /// Of ours: loss_after by an engine of the same kind whose Adam has the other form.
  /// Errors: std::invalid_argument when there is none.
  virtual double loss_after_on_corrected_root(const std::vector<int>&, int) {
    throw std::invalid_argument(name_ + " has one form of Adam");
  }
  /// Of ours: loss_after from weights moved at random in their last bits. Errors: std::logic_error of others.
  virtual double loss_after_nudged(const std::vector<int>&, int, std::uint64_t) {
    throw std::logic_error(name_ + " starts from the weights it was given");
  }
  /// Ours against the reference, as Kernel::check; nothing for peers, whose losses are held against ours.
  virtual std::optional<Check> check() { return std::nullopt; }
  virtual void close() = 0;
  /// Lives in a process of its own: several may prepare themselves at the same time.
  virtual bool apart() const { return false; }

 protected:
  std::string name_, library_;
};

/// The engine that `mlpwatt run` times. @param backend its name in kernels/backend.h
/// @param options isa, algorithm and hierarchy; it chooses its threads
/// Errors: std::runtime_error when the backend cannot be used here, with the reason.
std::unique_ptr<Learner> make_our_learner(const std::string& backend, const RunOptions& options);
/// A straightforward trainer whose products are the BLAS's: at open() it tries each and keeps the quickest.
/// @param libraries not empty; must outlive the learner
std::unique_ptr<Learner> make_blas_learner(BlasLibraries& libraries);

/// Where drivers are and what runs them.
struct DriverSetting {
  std::string python;          ///< the interpreter
  std::string scripts;         ///< folder of the drivers
  std::string device = "cpu";  ///< or "cuda"
  std::string log_folder;
  double limit_s = 600;  ///< for one answer: compilers run inside
};
/// Names of the drivers in a folder: its *.py but those that start with '_', in alphabetical order.
std::vector<std::string> driver_names(const std::string& folder);
/// Starts one and asks for its library. Errors: PeerAbsent, std::runtime_error.
std::unique_ptr<Learner> make_driver_learner(const std::string& name, const DriverSetting& setting,
                                             int threads);

/// How far a loss may be from ours and still be the same training.
struct LossAgreement {
  bool agrees = false;
  double error = 0, bound = 0;
  std::string detail;  ///< on disagreement: what, both values and the bound
};
/// From the same weights two right trainers differ by rounding before the first step; after `steps` steps by
/// a small share of what was learnt, to which rounding has grown. A tolerance on the loss alone would accept
/// one that had not learnt at all.
/// @param rounding_spread how far our own losses lie apart that differ by the last bits of the first weights:
/// a deep wide network may be chaotic, and then no two libraries (nor two modes of one) agree better than
/// that
LossAgreement losses_agree(double before, double after, double our_before, double our_after, int steps,
                           double rounding_spread = 0);

}  // namespace mlpwatt
