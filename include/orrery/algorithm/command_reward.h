// Interface `command_reward`: scores answers by an external command that lives as long as the job,
// or by a Python function, which a command of the program's own runs (python_function.h).
//
//   its stdin   {"id": "12/0", "prompt": "2+3=", "response": "5", "answer": "5",
//                "fields": {"id": "a17", "level": 3}}                              one a line
//   its stdout  {"id": "12/0", "reward": 1.0}     one line for each, soon; null: no reward
//   its stderr  goes to the output of the job
//
// `fields` are the record's fields but prompt, answer and system, as they stand there, if the call
// has `fields` among its inputs. It is asked one question at a time; `concurrency` starts several.
// End of its stdin: it should end. The protocol and what becomes of answers without a reward:
// docs/rewards.md.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "orrery/algorithm/answer_judge.h"
#include "orrery/algorithm/failed_answers.h"
#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/algorithm/overlong_penalty.h"
#include "orrery/config/field.h"

namespace orrery::algorithm {

/// `stop`, `leave_out` or a number that is finite in fp32.
config::Check failed_answer_choice();

struct CommandRewardOptions : OverlongOptions {
  std::string command;
  std::string function;
  std::string python = PythonFunction().python;
  int64_t batch_size = PythonFunction().batch_size;
  double max_memory_gib = PythonFunction().max_memory_gib;
  double timeout_seconds = 60;
  int64_t restarts = 1;
  int64_t concurrency = 1;
  bool while_generating = true;
  std::string on_failed_answer = "leave_out";
  double max_failed_share = 0.5;
  double max_failed_share_20_steps = 0.2;
  bool dump_samples = true;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = CommandRewardOptions;
    // A resumed run: what one does about a verifier that is too slow decides about answers to come.
    field(&C::command, "command",
          "program and arguments, found by PATH or relative to the working directory; quotes keep "
          "words together",
          config::anything());
    field(&C::function, "function",
          "instead of a command: a Python function that is given a list of answers and returns "
          "their rewards",
          config::python_function());
    field(&C::python, "python", "Python that runs the function, by PATH or a path",
          config::anything().on_resume(config::Resume::kFree));
    field(&C::batch_size, "batch_size", "answers that the function is given at once, at most",
          config::in_range(1, 4096).on_resume(config::Resume::kFree));
    field(&C::max_memory_gib, "max_memory_gib",
          "a process of the function that holds more memory after its answers is started again",
          config::above(0).on_resume(config::Resume::kFree));
    field(
        &C::timeout_seconds, "timeout_seconds",
        "how long one answer may take from when the command has read its question, of which a new "
        "one has at least 5 s; or the answers that a function is given at once, the first ones "
        "60 s longer",
        config::above(0).on_resume(config::Resume::kNoted));
    field(&C::restarts, "restarts",
          "how often an answer at which the command ended or spoke nonsense is asked for again",
          config::at_least(0).on_resume(config::Resume::kNoted));
    field(&C::concurrency, "concurrency", "processes of the command on each worker",
          config::in_range(1, 1024).on_resume(config::Resume::kFree));
    field(&C::while_generating, "while_generating",
          "judge answers that are finished while others are still generated, where both calls are "
          "on one worker",
          config::anything().on_resume(config::Resume::kFree));
    field(&C::on_failed_answer, "on_failed_answer",
          "an answer without a reward: stop the job, leave it out of the training, or give it this "
          "reward (null leaves out)",
          failed_answer_choice());
    field(&C::max_failed_share, "max_failed_share",
          "share of a step's answers without a reward above which the job stops",
          config::in_range(0, 1).on_resume(config::Resume::kFree));
    field(&C::max_failed_share_20_steps, "max_failed_share_20_steps", "the same over 20 steps",
          config::in_range(0, 1).on_resume(config::Resume::kFree));
    OverlongOptions::visit_fields(field);
    field(&C::dump_samples, "dump_samples", "write prompts, answers and rewards to samples/",
          config::anything());
  }

  PythonFunction python_function() const;
  /// A command that cannot be started, a function that cannot be imported, or a penalty for long
  /// answers that contradicts itself.
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;

 private:
  std::optional<OptionProblem> source_problem() const;
};

class CommandReward final : public Interface {
 public:
  explicit CommandReward(CommandRewardOptions options);

  /// In: packed_input_ids, prompt_mask and, if there are any, answers, fields and prompt_texts
  /// [bytes] uint8.
  /// Out: rewards [N] fp32; NaN: left out. Shards that are not the head of their data rank ask
  /// nothing and return zeros, which count for nothing. Throws CallError when the command is
  /// broken, when too many answers fail (data rank 0), or at the first one that does with `stop`.
  /// Collective over `model.data_group`.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;

  /// Null without `while_generating`. The pool is the one that inference() asks: the same
  /// processes.
  std::unique_ptr<AnswerWatcher> watch(ModelContext& model, const data::SequenceBatch& samples,
                                       const CallContext& call) override;

  /// The failed answers of the last steps, of all data ranks; of heads only.
  std::string state() const override { return share_.state(); }
  void restore(const std::string& state) override { share_.restore(state); }

 private:
  struct Round;  // one call

  void prepare(const ModelContext& model, const CallContext& call);
  void ask(Round& round);
  /// Decides by the verdict that came with the sample, or puts it among those to be asked about.
  void take_early(Round& round, size_t response, std::vector<size_t>& asked,
                  std::vector<size_t>& suspects);
  /// As decide(), of what is not on record yet.
  void decide_now(Round& round, size_t response, Verdict verdict);
  void decide(Round& round, size_t response, Verdict verdict);
  /// Throws if this data rank's failures alone are too many for the step.
  void stop_early(const Round& round) const;
  /// Whether the failures of all data ranks are too many; throws on data rank 0 if so.
  bool are_too_many(const Round& round) const;
  void report(const Round& round);
  CallError too_many(const Round& round, const FailedShare::Excess& excess,
                     const std::vector<FailedAnswer>& failed) const;

  CommandRewardOptions options_;
  std::optional<float> reward_of_failed_;     // none: left out
  std::unique_ptr<AnswerJudge> judge_;        // from the first call on
  std::optional<FailedAnswerRecord> record_;  // from the first call on
  FailedShare share_;
};

}  // namespace orrery::algorithm
