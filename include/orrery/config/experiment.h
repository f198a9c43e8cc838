// Everything that a configuration file can say, as plain structs with one field list each (see
// field.h). Sections: [experiment] [layout] [checkpoint] [evaluate] [export], and by name
// [evaluate.X] [dataset.X] [model.X] [call.X]. Values, no tensors; the same on all ranks.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "orrery/config/dataset_kind.h"
#include "orrery/config/evaluate.h"
#include "orrery/config/field.h"
#include "orrery/config/schema.h"  // Option, Position

namespace orrery::config {

struct ExperimentSection {
  std::string name = "experiment";
  std::string output_dir = "runs";
  int64_t seed = 1;
  int64_t prompts_per_step = 0;
  int64_t total_steps = 0;
  int64_t total_epochs = 0;
  double total_seconds = 0;
  bool deterministic = true;
  int threads_per_rank = 1;
  double deadline_seconds = 600;
  std::string redistribution = "direct";
  std::string amx = "auto";
  std::string device = "auto";

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = ExperimentSection;
    // A resumed run: of the samples of a step, n_seqs of the calls is what counts.
    field(&C::name, "name", "name of the run directory", folder_name().on_resume(Resume::kFree));
    field(&C::output_dir, "output_dir",
          "folder that holds run directories; relative to the working directory",
          anything().on_resume(Resume::kFree));
    field(&C::seed, "seed", "key of every random draw", any_natural().on_resume(Resume::kNever));
    field(
        &C::prompts_per_step, "prompts_per_step",
        "samples (prompts, pairs or texts) of a step: n_seqs of each call that does not state its "
        "own; 0: every call states it",
        at_least(0).on_resume(Resume::kFree));
    field(&C::total_steps, "total_steps", "stop after so many steps; 0: no limit",
          at_least(0).on_resume(Resume::kNoted));
    field(&C::total_epochs, "total_epochs", "stop after so many epochs; 0: no limit",
          at_least(0).on_resume(Resume::kNoted));
    field(&C::total_seconds, "total_seconds", "begin no step after so many seconds; 0: no limit",
          at_least(0).on_resume(Resume::kFree));
    field(&C::deterministic, "deterministic", "the same numbers in every run", anything());
    field(&C::threads_per_rank, "threads_per_rank", "processor threads of each worker",
          in_range(1, 1024).on_resume(Resume::kFree));
    field(&C::deadline_seconds, "deadline_seconds",
          "end the job when the peers that a rank waits for make no progress for so long",
          above(0).on_resume(Resume::kFree));
    field(&C::redistribution, "redistribution", "how samples move between calls",
          one_of({"direct", "gather-scatter", "bcast"}).on_resume(Resume::kFree));
    field(&C::amx, "amx",
          "auto: large fp32 matmuls of training and inference use AMX where the processor has it; "
          "off: never, as on processors without",
          one_of({"auto", "off"}).on_resume(Resume::kNoted));
    field(&C::device, "device",
          "where models compute; auto: each worker's GPU where there are GPUs, else the CPU; cuda: "
          "an error where a worker has none; cpu: GPUs stay idle",
          one_of({"auto", "cpu", "cuda"}).on_resume(Resume::kNoted));
  }
};

struct LayoutSection {
  static constexpr Resume kOnResume = Resume::kFree;

  std::string default_layout;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    field(&LayoutSection::default_layout, "default",
          "layout of calls that name none, such as d2t1p1@0-1; empty: data parallel on all workers",
          anything());
  }
};

struct CheckpointConfig {
  static constexpr Resume kOnResume = Resume::kFree;

  int64_t every_steps = 0;
  int64_t every_epochs = 0;
  double every_seconds = 600;
  int keep = 2;
  bool compress = false;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = CheckpointConfig;
    field(&C::every_steps, "every_steps", "checkpoint after so many steps; 0: never", at_least(0));
    field(&C::every_epochs, "every_epochs", "checkpoint after so many epochs; 0: never",
          at_least(0));
    field(&C::every_seconds, "every_seconds", "checkpoint after so many seconds; 0: never",
          at_least(0));
    field(&C::keep, "keep", "newest checkpoints that are kept", at_least(1));
    field(&C::compress, "compress", "zlib: a little smaller, many times slower to write",
          anything());
  }
};

struct ExportConfig {
  static constexpr Resume kOnResume = Resume::kFree;

  int64_t every_steps = 0;
  int64_t every_epochs = 0;
  double every_seconds = 0;
  bool at_end = true;
  int keep = 2;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = ExportConfig;
    field(&C::every_steps, "every_steps", "write the trained models after so many steps; 0: never",
          at_least(0));
    field(&C::every_epochs, "every_epochs", "write them after so many epochs; 0: never",
          at_least(0));
    field(&C::every_seconds, "every_seconds", "write them after so many seconds; 0: never",
          at_least(0));
    field(&C::at_end, "at_end", "also after the last step", anything());
    field(&C::keep, "keep", "newest exports that are kept", at_least(1));
  }
};

struct DynamicSamplingConfig {
  bool enabled = false;
  std::string rewards = "rewards";
  std::string accept = "accuracy";
  double correct_above = 0;
  double low = 0;
  double high = 1;
  double min_spread = 0;
  int64_t groups_per_round = 0;
  int64_t max_rounds = 8;
  std::string on_limit = "refuse";
  std::string surplus = "carry_over";
  int64_t filter_after_answers = 0;
  double min_pass_rate = 0;
  double max_pass_rate = 1;
  int64_t retry_after = 4;
  int64_t easy_first_steps = 0;
  double easy_first_from = 0.5;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = DynamicSamplingConfig;
    // A resumed run: what was drawn and what was carried over belongs to the keys that it cannot
    // change.
    field(&C::enabled, "enabled",
          "generate again until a step has as many groups of answers to learn from as it takes",
          anything().on_resume(Resume::kNever));
    field(&C::rewards, "rewards", "key of the graph by which groups are judged",
          anything().on_resume(Resume::kNever));
    field(&C::accept, "accept",
          "accuracy: low < share of right answers < high; reward_spread: largest - smallest reward "
          "> min_spread",
          one_of({"accuracy", "reward_spread"}));
    field(&C::correct_above, "correct_above", "accuracy: an answer with a reward above it is right",
          in_range(-1e30, 1e30));
    field(&C::low, "low", "accuracy: lower bound, itself not accepted; -1: none", in_range(-1, 1));
    field(&C::high, "high", "accuracy: upper bound, itself not accepted; 2: none", in_range(0, 2));
    field(&C::min_spread, "min_spread", "reward_spread: bound, itself not accepted",
          in_range(0, 1e30));
    field(&C::groups_per_round, "groups_per_round",
          "groups that are generated and judged together; 0: as many as a step takes",
          at_least(0).on_resume(Resume::kNever));
    field(&C::max_rounds, "max_rounds",
          "rounds of a step; 0: until every prompt has been drawn once", at_least(0));
    field(&C::on_limit, "on_limit",
          "a step that is not full then: refuse ends the job, use_partial trains on what there is",
          one_of({"refuse", "use_partial"}));
    field(&C::surplus, "surplus", "accepted groups that the step does not take",
          one_of({"carry_over", "discard"}));
    field(&C::filter_after_answers, "filter_after_answers",
          "a prompt with so many answers is drawn by its last pass rate only; 0: every prompt is",
          at_least(0));
    field(&C::min_pass_rate, "min_pass_rate", "drawn from this pass rate ...", in_range(0, 1));
    field(&C::max_pass_rate, "max_pass_rate", "... to this one", in_range(0, 1));
    field(&C::retry_after, "retry_after",
          "a prompt that was passed over so often is tried again; 0: never", at_least(0));
    field(&C::easy_first_steps, "easy_first_steps",
          "so many steps the lower bound falls, from easy_first_from to min_pass_rate; 0: it is "
          "always that",
          at_least(0));
    field(&C::easy_first_from, "easy_first_from", "where it begins", in_range(0, 1));
  }
};

struct DatasetConfig {
  std::string path;
  std::string kind = "prompts";
  std::string prompt_field = "prompt";
  std::string messages_field;
  std::string answer_field = "answer";
  std::string completion_field = "completion";
  std::string chosen_field = "chosen";
  std::string rejected_field = "rejected";
  std::string margin_field;
  std::string label_field = "label";
  std::string id_field = "id";
  std::string system_field = "system";
  std::string system_prefix;
  std::string system_suffix;
  std::string prompt_prefix;
  std::string prompt_suffix;
  int64_t max_prompt_tokens = 1024;
  int64_t max_tokens = 2048;
  std::string use = "auto";
  std::string add_bos = "auto";
  double weight = 0;
  std::string on_bad_record = "fail";

  bool is(DatasetKind wanted) const { return kind == config::name(wanted); }

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = DatasetConfig;
    // A resumed run: the fingerprint of its rows says whether it is the same data in the same
    // order. The bounds of records mend a run that met one that it cannot take: rows that they
    // leave out are left out from then on.
    field(&C::path, "path",
          "JSONL file, one record a line, or a pre-tokenized dataset that tools/tokenize.py made",
          input_path().on_resume(Resume::kFree));
    field(
        &C::kind, "kind",
        "prompts: prompts and reference answers; completions: prompts with answers to learn; "
        "preferences: prompts with a better and a worse answer; labelled: prompts with an answer "
        "that is good or bad; messages: prompts or completions, as the calls read, of records with "
        "messages_field",
        one_of(dataset_kind_options()).on_resume(Resume::kNever));
    field(&C::prompt_field, "prompt_field", "field of the prompt", anything());
    field(&C::messages_field, "messages_field",
          "field of a list of messages {role, content}, in place of prompt and completion, written "
          "by "
          "the chat template beside the model's tokenizer; empty: none",
          anything());
    field(&C::answer_field, "answer_field", "field of the reference answer", anything());
    field(&C::completion_field, "completion_field",
          "field of the answer to learn, or that is good or bad", anything());
    field(&C::chosen_field, "chosen_field", "field of the better answer", anything());
    field(&C::rejected_field, "rejected_field", "field of the worse answer", anything());
    field(&C::margin_field, "margin_field",
          "field of how much better the better answer is, a number from 0 on; empty: none",
          anything());
    field(&C::label_field, "label_field",
          "field that says whether the answer is good: true or false", anything());
    field(&C::id_field, "id_field", "field of the record's id, unique if present", anything());
    field(&C::system_field, "system_field",
          "field of an instruction that comes before the prompt; a record may lack it", anything());
    field(&C::system_prefix, "system_prefix", "text before the instruction, where there is one",
          escaped_text());
    field(&C::system_suffix, "system_suffix", "text behind it", escaped_text());
    field(&C::prompt_prefix, "prompt_prefix",
          "text before every prompt; names of special tokens give these tokens", escaped_text());
    field(&C::prompt_suffix, "prompt_suffix", "text between prompt and answer", escaped_text());
    field(&C::max_prompt_tokens, "max_prompt_tokens",
          "longest prompt with all of these, in tokens; the model's positions bound it too",
          at_least(1).on_resume(Resume::kNoted));
    field(&C::max_tokens, "max_tokens",
          "longest prompt with completion and end token, in tokens; the model's positions bound it "
          "too",
          at_least(2).on_resume(Resume::kNoted));
    field(
        &C::use, "use",
        "train: trained on, also where it is evaluated; evaluate: never trained on; auto: trained "
        "on unless it is evaluated and there are others",
        one_of({"auto", "train", "evaluate"}).on_resume(Resume::kFree));
    field(&C::add_bos, "add_bos",
          "whether prompts get the tokenizer's beginning-of-sequence token, unless they begin with "
          "it; auto: as "
          "the tokenizer's own template does",
          one_of({"auto", "true", "false"}));
    field(&C::weight, "weight", "share among several datasets; 0: by number of rows",
          at_least(0).on_resume(Resume::kNever));
    field(&C::on_bad_record, "on_bad_record", "what to do with a record that cannot be used",
          one_of({"fail", "skip"}).on_resume(Resume::kNoted));
  }
};

struct ModelConfig {
  /// How many of a stage's layers recompute_layers means; of `auto` that nobody has replaced by
  /// a number: none. Of fewer layers than it says: all of them.
  int64_t recomputed_layers(int64_t n_layers_of_stage) const;

  std::string path;
  std::string dtype = "fp32";
  std::string recompute_layers = "auto";
  std::string offload = "auto";
  std::string architecture = "llama";
  std::string head = "language";
  std::string tokenizer = "auto";
  int64_t vocab_size = 259;
  int64_t hidden_size = 128;
  int64_t intermediate_size = 344;
  int64_t n_layers = 4;
  int64_t n_heads = 4;
  int64_t n_kv_heads = 4;
  int64_t head_dim = 0;
  int64_t max_positions = 2048;
  double rope_theta = 10000;
  double norm_eps = 1e-5;
  bool tie_embeddings = false;
  double lr = 1e-5;
  std::string lr_schedule = "constant";
  double min_lr_ratio = 0;
  int64_t warmup_steps = 0;
  double warmup_proportion = 0;
  double weight_decay = 0;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double adam_eps = 1e-8;
  std::string moments_dtype = "auto";
  std::string gradient_dtype = "fp32";
  double max_grad_norm = 1;
  double balance_coefficient = 0;
  std::string on_nonfinite = "skip";
  int64_t max_skipped_updates = 20;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = ModelConfig;
    field(&C::path, "path", "Hugging Face directory; empty: random weights of the sizes below",
          input_path());
    field(&C::dtype, "dtype",
          "type of parameters and computation; bf16: parameters, with fp32 master weights where "
          "they are "
          "trained, and on a CPU computation in fp32",
          one_of({"fp32", "fp64", "bf16"}).on_resume(Resume::kNever));
    field(
        &C::recompute_layers, "recompute_layers",
        "so many layers of each pipeline stage, the first ones, keep only their input in training "
        "and run again in backward: a tenth of their memory, a third more matmuls, the same "
        "numbers; auto: as few as fit into the GPU's memory (`orrery plan --device cuda` says how "
        "many), 0 on CPUs",
        count_or({"auto", "all"}).on_resume(Resume::kFree));
    field(&C::offload, "offload",
          "when_idle: what a GPU does not need of the role waits in pinned memory of the host, the "
          "optimizer's state of a trained role outside its train_step, the parameters of one that "
          "never changes outside its calls, unless a loss or an evaluation reads them; never: it "
          "stays on the GPU; auto: when_idle where a "
          "phase would not fit into the GPU's memory otherwise (`orrery plan --device cuda` says "
          "which roles), never on CPUs. The numbers are the same",
          one_of({"auto", "never", "when_idle"}).on_resume(Resume::kFree));
    field(&C::architecture, "architecture",
          "none: a role without parameters, such as a rule that gives rewards",
          one_of({"llama", "none"}).on_resume(Resume::kNever));
    field(&C::head, "head",
          "language: logits; value: one number a token, of a critic or reward model (begins at "
          "random on a language model's files)",
          one_of({"language", "value"}).on_resume(Resume::kNever));
    field(&C::tokenizer, "tokenizer",
          "byte: one token a byte; a path: a directory with a tokenizer.json, or a pre-tokenized "
          "dataset; "
          "auto: the table of the data sets if all are pre-tokenized datasets, else that of `path` "
          "if it "
          "has one, else that of the other roles, else byte",
          input_path_or({"auto", "byte"}).on_resume(Resume::kNever));
    field(&C::vocab_size, "vocab_size", "tokens", at_least(1).on_resume(Resume::kNever));
    field(&C::hidden_size, "hidden_size", "width of the residual stream",
          at_least(1).on_resume(Resume::kNever));
    field(&C::intermediate_size, "intermediate_size", "width inside the MLP",
          at_least(1).on_resume(Resume::kNever));
    field(&C::n_layers, "n_layers", "blocks", at_least(1).on_resume(Resume::kNever));
    field(&C::n_heads, "n_heads", "query heads", at_least(1).on_resume(Resume::kNever));
    field(&C::n_kv_heads, "n_kv_heads", "key and value heads",
          at_least(1).on_resume(Resume::kNever));
    field(&C::head_dim, "head_dim", "width of a head; 0: hidden_size / n_heads",
          at_least(0).on_resume(Resume::kNever));
    field(&C::max_positions, "max_positions", "longest sequence, in tokens",
          at_least(1).on_resume(Resume::kNever));
    field(&C::rope_theta, "rope_theta", "base of the rotary frequencies",
          above(0).on_resume(Resume::kNever));
    field(&C::norm_eps, "norm_eps", "epsilon of the norms", above(0).on_resume(Resume::kNever));
    field(&C::tie_embeddings, "tie_embeddings", "the head is the embedding",
          anything().on_resume(Resume::kNever));
    field(&C::lr, "lr", "peak learning rate", in_range(0, 1).on_resume(Resume::kNoted));
    field(&C::lr_schedule, "lr_schedule", "how it falls after the warm-up",
          one_of({"constant", "linear", "cosine"}).on_resume(Resume::kNoted));
    field(&C::min_lr_ratio, "min_lr_ratio", "last learning rate / peak",
          in_range(0, 1).on_resume(Resume::kNoted));
    field(&C::warmup_steps, "warmup_steps", "linear warm-up, in optimizer steps",
          at_least(0).on_resume(Resume::kNoted));
    field(&C::warmup_proportion, "warmup_proportion",
          "the same as a share of all steps, if warmup_steps is 0",
          in_range(0, 1).on_resume(Resume::kNoted));
    field(&C::weight_decay, "weight_decay", "decoupled; not on norms and biases",
          at_least(0).on_resume(Resume::kNoted));
    field(&C::beta1, "beta1", "Adam: decay of the mean",
          in_range(0, 0.999999).on_resume(Resume::kNoted));
    field(&C::beta2, "beta2", "Adam: decay of the mean square",
          in_range(0, 0.999999).on_resume(Resume::kNoted));
    field(&C::adam_eps, "adam_eps", "Adam: added to the denominator",
          above(0).on_resume(Resume::kNoted));
    field(&C::moments_dtype, "moments_dtype",
          "type of Adam's two moments; auto: fp64 beside fp64, else fp32; bf16: half the memory, "
          "rounded stochastically",
          one_of({"auto", "bf16"}).on_resume(Resume::kNoted));
    field(&C::gradient_dtype, "gradient_dtype",
          "type of the buffer that a minibatch's gradients add up in, fp64 beside fp64; bf16: half "
          "the memory, the sum of a micro-batch and of the data ranks is made in fp32 and rounded "
          "to the nearest, so that a minibatch of many micro-batches loses what is small beside "
          "the sum",
          one_of({"fp32", "bf16"}).on_resume(Resume::kNoted));
    field(&C::max_grad_norm, "max_grad_norm", "clip the gradient to this norm; 0: never",
          at_least(0).on_resume(Resume::kNoted));
    field(&C::balance_coefficient, "balance_coefficient",
          "weight in the loss of how unevenly the experts are used; 0: not in it", at_least(0));
    field(
        &C::on_nonfinite, "on_nonfinite",
        "a loss or gradient that is NaN or infinite: leave the update out, counted, or end the job",
        one_of({"skip", "stop"}).on_resume(Resume::kNoted));
    field(&C::max_skipped_updates, "max_skipped_updates",
          "with skip: so many such updates in a row end the job; 0: never",
          at_least(0).on_resume(Resume::kNoted));
  }
};

struct CallConfig {
  std::string model;
  std::string kind;
  std::string interface;
  std::vector<KeyBinding> inputs;
  std::vector<KeyBinding> outputs;
  int64_t n_seqs = 0;
  std::string layout;
  bool enabled = true;
  int64_t max_tokens_per_micro_batch = 0;
  int64_t n_micro_batches = 1;
  bool log_return_value = false;
  std::string post_realloc;
  double ema_decay = 0;
  std::vector<Option> options;  ///< the other keys of the section, for the interface

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = CallConfig;
    field(&C::model, "model", "the role: name of a [model.X] section",
          anything().on_resume(Resume::kNever));
    field(&C::kind, "kind", "what the interface does",
          one_of({"generate", "inference", "train_step"}).on_resume(Resume::kNever));
    field(&C::interface, "interface", "name of a registered interface",
          anything().on_resume(Resume::kNever));
    field(&C::inputs, "inputs", "keys it reads: `key` or `interface_key:graph_key`, by commas",
          anything().on_resume(Resume::kNever));
    field(&C::outputs, "outputs", "keys it writes, in the same form",
          anything().on_resume(Resume::kNever));
    field(&C::n_seqs, "n_seqs",
          "samples of one run of the call, a divisor of the largest n_seqs of all calls; unless "
          "given, experiment.prompts_per_step",
          at_least(1).on_resume(Resume::kNever));
    field(&C::layout, "layout", "such as d2t1p1@0-1; empty: layout.default",
          anything().on_resume(Resume::kFree));
    field(&C::enabled, "enabled",
          "false: as if the section were not there, but for evaluate.rewards that name it",
          anything().on_resume(Resume::kNever));
    field(&C::max_tokens_per_micro_batch, "max_tokens_per_micro_batch",
          "memory limit of a micro-batch, in tokens; 0: no limit",
          at_least(0).on_resume(Resume::kFree));
    field(&C::n_micro_batches, "n_micro_batches", "at least so many micro-batches",
          at_least(1).on_resume(Resume::kFree));
    field(&C::log_return_value, "log_return_value", "also log the mean of each output",
          anything().on_resume(Resume::kFree));
    field(&C::post_realloc, "post_realloc",
          "role that gets the trained parameters after the call; empty: none",
          anything().on_resume(Resume::kNever));
    field(&C::ema_decay, "ema_decay", "of that: new = ema_decay * old + (1 - ema_decay) * trained",
          in_range(0, 1));
  }
};

/// A list of named sections in order of their first appearance.
template <class T>
using Named = std::vector<std::pair<std::string, T>>;

struct Experiment {
  ExperimentSection experiment;
  LayoutSection layout;
  CheckpointConfig checkpoint;
  EvaluateConfig evaluate;
  ExportConfig export_;
  DynamicSamplingConfig dynamic_sampling;
  /// What is evaluated: the sets of evaluate.sets in their order, or evaluate.dataset alone.
  std::vector<EvaluationSet> evaluation_sets;
  Named<DatasetConfig> datasets;
  Named<ModelConfig> models;
  Named<CallConfig> calls;
  std::map<std::string, Position, std::less<>> positions;  ///< by `call.actor_gen.layout`

  /// Where a key was written; for one that was not, its section; else the file itself.
  Position where(std::string_view key) const;

  /// The key that says `name` of a set: `evaluate.aime.k`, or `evaluate.k` where that was written.
  std::string key_of(const EvaluationSet& set, std::string_view name) const;
  /// Whether a set is of this data set.
  bool is_evaluated(std::string_view dataset) const;
  /// Null: there is no set of that name.
  const EvaluationSet* find_evaluation_set(std::string_view name) const;

  const DatasetConfig* find_dataset(std::string_view name) const;
  const ModelConfig* find_model(std::string_view role) const;
  const CallConfig* find_call(std::string_view name) const;
  /// The first enabled call that writes this key of the graph, with its name; null: none does.
  const std::pair<std::string, CallConfig>* writer_of(std::string_view graph_key) const;
};

/// Whether one of its outputs is this key of the graph.
bool writes(const CallConfig& call, std::string_view graph_key);

}  // namespace orrery::config
