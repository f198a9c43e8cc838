// Interface `command_reward`: scores answers by an external command that lives as long as the job.
//
//   its stdin   {"id": "12/0", "prompt": "2+3=", "response": "5", "answer": "5",
//                "fields": {"id": "a17", "level": 3}}                              one a line
//   its stdout  {"reward": 1.0}      one line for each, soon; {"id": ..., "reward": ...} is checked
//   its stderr  goes to the output of the job
//
// `fields` are the record's fields but prompt, answer and system, as they stand there, if the call
// has `fields` among its inputs. It is asked one question at a time; `concurrency` starts several.
// End of its stdin: it should end.
#pragma once

#include <memory>

#include "orrery/algorithm/command_pool.h"
#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/config/field.h"

namespace orrery::algorithm {

struct CommandRewardOptions {
  std::string command;
  double timeout_seconds = 60;
  int64_t restarts = 3;
  int64_t concurrency = 1;
  bool dump_samples = true;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = CommandRewardOptions;
    field(&C::command, "command",
          "program and arguments, found by PATH or relative to the working directory; quotes keep "
          "words together",
          config::anything());
    field(&C::timeout_seconds, "timeout_seconds",
          "how long one answer may take, the first one with the command's start", config::above(0));
    field(&C::restarts, "restarts",
          "how often, in one call, a command that failed is started again", config::at_least(0));
    field(&C::concurrency, "concurrency", "processes of the command on each worker",
          config::in_range(1, 1024));
    field(&C::dump_samples, "dump_samples", "write prompts, answers and rewards to samples/",
          config::anything());
  }

  /// A command that cannot be started.
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

class CommandReward final : public Interface {
 public:
  explicit CommandReward(CommandRewardOptions options) : options_(std::move(options)) {}

  /// In: packed_input_ids, prompt_mask and, if there are any, answers and fields [bytes] uint8.
  /// Out: rewards [N] fp32. Shards that are not the head of their data rank ask nothing and return
  /// zeros, which count for nothing. Throws CallError when the command fails too often.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;

 private:
  CommandRewardOptions options_;
  std::unique_ptr<CommandPool> pool_;  // from the first call on
};

}  // namespace orrery::algorithm
