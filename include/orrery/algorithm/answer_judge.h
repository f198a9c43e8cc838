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
  /// Asks about all; questions[i] is question(*responses[i]). Throws CallError when what judges is
  /// broken: as CommandPool::ask, and when the function cannot be imported.
  void ask(const std::vector<const Response*>& responses, const std::vector<std::string>& questions,
           const Decided& decided);

  /// As CommandPool's.
  int64_t take_restarts() { return pool_.take_restarts(); }
  /// What judges, as an error names it: `command python3 judge.py`, `function judge.py:reward`.
  const std::string& name() const { return name_; }

 private:
  struct Asking;  // one ask() of a function

  void ask_command(const std::vector<const Response*>& responses,
                   const std::vector<std::string>& questions, const Decided& decided);
  void ask_function(const std::vector<const Response*>& responses,
                    const std::vector<std::string>& questions, const Decided& decided);
  void meet_function();
  /// Asks about these answers in lists of up to `most`; returns those of lists that failed.
  std::vector<size_t> ask_in_batches(const Asking& asking, const std::vector<size_t>& answers,
                                     size_t most);

  CommandPool pool_;
  std::optional<PythonFunction> function_;
  std::string name_;
  int64_t concurrency_ = 1;
  int64_t n_batches_ = 0;  // ever
  bool has_met_ = false;   // it is known that the function is there
  bool wants_tokens_ = false;
};

}  // namespace orrery::algorithm
