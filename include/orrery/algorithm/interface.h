// What a model function call does: an interface turns a batch of samples into a batch (generate,
// inference), or trains its model on one (train_step). A new algorithm is one class here and one
// line in registry.cpp; docs/extending.md shows a complete one.
//
// The worker calls an interface on every shard of the call, from its main thread. Samples are those
// of the shard's data rank; keys have the interface's own names (remaps are done).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "orrery/algorithm/answer_watcher.h"
#include "orrery/algorithm/rule_match.h"
#include "orrery/comm/communicator.h"
#include "orrery/data/sequence_batch.h"
#include "orrery/data/tokenizer.h"
#include "orrery/metrics/evaluation.h"
#include "orrery/metrics/statistics.h"
#include "orrery/model/decoder.h"
#include "orrery/model/generator.h"
#include "orrery/parallel/train_engine.h"

namespace orrery::algorithm {

/// The shard that a call runs on. Nothing is owned.
struct ModelContext {
  model::Decoder* decoder = nullptr;           ///< null: a role without parameters
  parallel::TrainEngine* engine = nullptr;     ///< null: never trained
  const data::Tokenizer* tokenizer = nullptr;  ///< of the role
  /// Of the data sets, and of all who generate and learn.
  const data::Tokenizer* data_tokenizer = nullptr;
  comm::Communicator* data_group = nullptr;  ///< the data ranks of the call
  /// Of a train_step that reads teacher_hidden: the shard in the same place of the role that gave
  /// it. Null: there is none on this worker.
  const model::Decoder* teacher = nullptr;
  bool is_dp_head = true;  ///< its results count for its data rank
};

/// When and how a call runs.
struct CallContext {
  std::string call;
  int64_t step = 0;   ///< 1-based; 0: before training
  int64_t epoch = 0;  ///< 0-based
  uint64_t seed = 1;  ///< of the experiment: key of all draws
  parallel::MicroBatchLimits limits;
  int data_rank = 0;
  int data_size = 1;
  int64_t calls_per_step = 1;  ///< how often the call runs in a step
  /// Of generate and inference: the keys that the graph wants, by the interface's names. What
  /// costs something may be left out where it is not among them.
  std::vector<std::string> outputs;
  std::filesystem::path samples;         ///< folder for dumps of generated samples; empty: none
  std::filesystem::path failed_answers;  ///< folder of their record; empty: none
  std::vector<AnswerWatcher*> watchers;  ///< of a generate call: to be told of its answers
};

class Interface;

/// Who rewards the answers of an evaluation. Nothing is owned.
struct EvaluationReward {
  std::string name;
  double weight = 1;
  Interface* interface = nullptr;  ///< its inference() gives rewards
};

/// What an evaluation is about: this data rank's part of a set. A sample's id is its row.
///   prompts:      packed_prompts, answers, ...      -> answers and whether they are right
///   completions:  packed_input_ids, prompt_mask     -> the loss of each
///   preferences:  the same, two sequences a sample  -> how often the better one is preferred
struct EvaluationInput {
  data::SequenceBatch batch;
  std::string set = {};  ///< empty: the only one
  // Of prompts:
  model::GenerationOptions sampling = {};  ///< group_size answers a prompt
  std::optional<MatchRule> match = {};     ///< nothing: by rewards, else the interface's own rule
  std::vector<EvaluationReward> rewards = {};
  double correct_above = 0;          ///< without match: rewards above it mean right
  std::vector<std::string> by = {};  ///< fields of the records to tell results apart by
  std::filesystem::path dump = {};   ///< file of the answers; empty: none
};

/// What it found. Names of the statistics are without `eval/`.
struct Evaluation {
  metrics::Statistics statistics;
  std::vector<metrics::EvaluatedRecord> records = {};
};

class Interface {
 public:
  virtual ~Interface() = default;

  /// The methods that an interface does not have throw CallError with its name.
  virtual data::SequenceBatch generate(ModelContext& model, const data::SequenceBatch& input,
                                       const CallContext& call);
  virtual data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                        const CallContext& call);
  /// One record of statistics a minibatch. Collective over `model.data_group`.
  virtual std::vector<metrics::Statistics> train_step(ModelContext& model,
                                                      const data::SequenceBatch& input,
                                                      const CallContext& call);
  /// What the model as it is makes of a set, without a change to it. Collective over the shards of
  /// a data rank and, where there are rewards, over `model.data_group`.
  virtual Evaluation evaluate(ModelContext& model, const EvaluationInput& input,
                              const CallContext& call);

  /// Of an inference call that judges answers and can begin while others are still generated: who
  /// does that. What it finds comes back as `extra` of the samples, and inference() takes it.
  ///   samples  those that are to be answered, with the inputs of the call that data sets give
  /// Null: it judges all answers at once. Local; on heads of the call.
  virtual std::unique_ptr<AnswerWatcher> watch(ModelContext& model,
                                               const data::SequenceBatch& samples,
                                               const CallContext& call);

  /// What the interface remembers from step to step, for checkpoints: text, equal on all shards of
  /// the call; empty: nothing.
  virtual std::string state() const { return {}; }
  /// Goes on from what state() gave. Throws CheckpointError for another text.
  virtual void restore(const std::string& state);

  /// Statistics of the last generate or inference call (rewards, lengths); empties them.
  metrics::Statistics take_statistics();

 protected:
  metrics::Statistics statistics_;
};

}  // namespace orrery::algorithm
