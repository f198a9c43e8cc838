// Who gives answers their rewards: a program that is asked about one answer at a time, or a Python
// function that is given lists of them by the runner (tools/rewards/runner.py). Both run in the
// processes of a pool. An answer of a list that failed as a whole is asked about again alone, so
// that a reward depends on no other answer. Local; one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "orrery/algorithm/command_pool.h"
#include "orrery/algorithm/failed_answers.h"
#include "orrery/algorithm/python_function.h"
#include "orrery/algorithm/responses.h"

namespace orrery::algorithm {

/// What became of one answer.
struct Verdict {
  double reward = 0;                          ///< finite in fp32
  std::map<std::string, double> parts = {};   ///< what it is made of; of a function only
  std::optional<FailureReason> failure = {};  ///< it has no reward
  std::string what = {};                      ///< what was seen of the failure
  int64_t restarts = 0;                       ///< processes that were ended for it
};

class AnswerJudge {
 public:
  /// A program: `pool.command`. Nothing is started yet. `spawner` must outlive it.
  AnswerJudge(Spawner& spawner, CommandPoolOptions pool);
  /// A function; `pool.command` is its runner's.
  AnswerJudge(Spawner& spawner, CommandPoolOptions pool, PythonFunction function);
  ~AnswerJudge();

  /// The text that says everything that the verdict on this answer may depend on.
  std::string question(const Response& response) const;

  /// Called once for each answer, in any order. What it throws ends the asking.
  using Decided = std::function<void(size_t answer, Verdict verdict)>;
  /// Asks about all; questions[i] is question(*responses[i]). A function is given those from number
  /// `n_together` on one by one. Throws CallError when what judges is
  /// broken: as CommandPool::ask, and when the function cannot be imported.
  void ask(const std::vector<const Response*>& responses, const std::vector<std::string>& questions,
           const Decided& decided, size_t n_together = SIZE_MAX);

  /// Judging answers as they come, while the caller does something else: CommandPool::Asking says
  /// what that means and what it throws.
  class Stream;

  /// As CommandPool's.
  int64_t take_restarts() { return pool_.take_restarts(); }
  /// What judges, as an error names it: `command python3 judge.py`, `function judge.py:reward`.
  const std::string& name() const { return name_; }

 private:
  struct Asking;  // one ask(), or one Stream
  struct Batch;   // one list of a function's

  void ask_command(const std::vector<const Response*>& responses,
                   const std::vector<std::string>& questions, const Decided& decided);
  void ask_function(const std::vector<const Response*>& responses,
                    const std::vector<std::string>& questions, const Decided& decided,
                    size_t n_together);
  void meet_function();
  /// Asks about these answers in lists of up to `most`; returns those of lists that failed.
  std::vector<size_t> ask_in_batches(const Asking& asking, const std::vector<size_t>& answers,
                                     size_t most);
  /// The next list, and the line that asks about it.
  Batch batch_of(std::vector<size_t> answers);
  std::string line_of(const Asking& asking, const Batch& batch) const;
  /// Decides about the answers of a list, or adds them to `left` when it failed as a whole.
  void take(const Asking& asking, const Batch& batch, const CommandAnswer& answer,
            std::vector<size_t>& left) const;

  CommandPool pool_;
  std::optional<PythonFunction> function_;
  std::string name_;
  int64_t concurrency_ = 1;
  int64_t n_batches_ = 0;  // ever
  bool has_met_ = false;   // it is known that the function is there
  bool wants_tokens_ = false;
};

class AnswerJudge::Stream {
 public:
  /// `decided` as ask() has it, for the answers that are decided before finish() returns.
  /// Starts the function's process and asks whether it can be imported; throws as ask() does.
  Stream(AnswerJudge& judge, Decided decided);
  ~Stream();

  /// Answer number 0, 1, ...; `question` is question(response).
  void add(Response response, std::string question);
  /// Does not wait.
  void advance();
  /// Waits for the verdicts on answers that a process has; the others stay undecided. Returns those
  /// that were in a list of a function's that failed as a whole: to be asked about one by one.
  std::vector<size_t> finish();

 private:
  struct Growing;  // what an Asking is of
  std::unique_ptr<Growing> growing_;
};

}  // namespace orrery::algorithm
