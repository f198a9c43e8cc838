#include "orrery/config/synonyms.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <vector>

#include "orrery/base/text.h"

namespace orrery::config {

namespace {

// In alphabetical order of their names. A key of ours has its section in front, X for a name.
constexpr Synonym kSynonyms[] = {
    {"adam_beta1", "model.X.beta1"},
    {"adam_beta2", "model.X.beta2"},
    {"adam_epsilon", "model.X.adam_eps"},
    {"adam_offload", "model.X.offload; when_idle"},
    {"adv_estimator", "call.X.estimator, call.X.method"},
    {"async_reward", "call.X.interface; rewards by a program are interface command_reward"},
    {"batch_size", "call.X.n_seqs"},
    {"beta",
     "call.X.beta, call.X.kl_coef, call.X.kl_loss; beta is dpo's, a KL reward's weight is "
     "kl_coef, that of a KL loss is kl_loss"},
    {"bf16", "model.X.dtype; write dtype = bf16"},
    {"chosen_key", "dataset.X.chosen_field"},
    {"clip_eps", "call.X.clip_range"},
    {"clip_grad", "model.X.max_grad_norm"},
    {"clip_range_value", "call.X.value_clip_range"},
    {"clip_ratio", "call.X.clip_range"},
    {"clip_ratio_c", "call.X.c_clip"},
    {"clip_ratio_high", "call.X.clip_range_high"},
    {"clip_ratio_low", "call.X.clip_range"},
    {"cliprange", "call.X.clip_range"},
    {"cliprange_value", "call.X.value_clip_range"},
    {"critic_lr", "model.X.lr; each role has its own section"},
    {"data_path", "dataset.X.path"},
    {"dataset_name", "dataset.X.path; a file of JSON lines, nothing is downloaded"},
    {"dataset_path", "dataset.X.path"},
    {"do_sample", "call.X.greedy; greedy = true is do_sample = false"},
    {"dual_clip", "call.X.c_clip"},
    {"early_stopping_patience", "evaluate.stop_after; with keep_best"},
    {"ent_coef", "call.X.entropy_coef"},
    {"entropy_coeff", "call.X.entropy_coef"},
    {"epochs", "experiment.total_epochs"},
    {"epsilon", "call.X.clip_range"},
    {"epsilon_high", "call.X.clip_range_high"},
    {"eval_batch_size", "evaluate.max_batch"},
    {"eval_dataset", "evaluate.dataset"},
    {"eval_steps", "evaluate.every_steps"},
    {"filter_groups", "dynamic_sampling.enabled"},
    {"fp16", "model.X.dtype; fp32, fp64 or bf16"},
    {"gamma", "call.X.discount, call.X.gamma; gamma is the margin of simpo"},
    {"gen_batch_size", "dynamic_sampling.groups_per_round"},
    {"generate_max_len", "call.X.max_new_tokens"},
    {"gradient_accumulation_steps",
     "call.X.n_micro_batches; it cuts a batch for memory and changes no number"},
    {"gradient_checkpointing", "model.X.recompute_layers; all is gradient_checkpointing = true"},
    {"gradient_clipping", "model.X.max_grad_norm"},
    {"group_n", "call.X.group_size"},
    {"importance_sampling_level", "call.X.ratio_level"},
    {"init_kl_coef", "call.X.kl_coef"},
    {"input_key", "dataset.X.prompt_field"},
    {"kl_beta", "call.X.kl_coef"},
    {"kl_coeff", "call.X.kl_coef, call.X.kl_loss; kl_coef weighs a KL reward, kl_loss a KL loss"},
    {"kl_horizon", "call.X.adaptive_kl_horizon"},
    {"kl_loss_coef", "call.X.kl_loss"},
    {"kl_loss_type", "call.X.kl_loss_estimator"},
    {"kl_target", "call.X.adaptive_kl_target"},
    {"label_key", "dataset.X.answer_field"},
    {"lam", "call.X.gae_lambda"},
    {"lambd", "call.X.gae_lambda"},
    {"lambda", "call.X.gae_lambda"},
    {"learning_rate", "model.X.lr"},
    {"log_interval", "nothing; every step is written to metrics.jsonl"},
    {"logging_steps", "nothing; every step is written to metrics.jsonl"},
    {"loss_agg_mode", "call.X.aggregation"},
    {"loss_type", "call.X.surrogate, call.X.aggregation, call.X.loss; loss is that of dpo"},
    {"lr_scheduler", "model.X.lr_schedule"},
    {"lr_scheduler_type", "model.X.lr_schedule"},
    {"lr_warmup_ratio", "model.X.warmup_proportion"},
    {"lr_warmup_steps", "model.X.warmup_steps"},
    {"max_completion_length", "call.X.max_new_tokens"},
    {"max_epochs", "experiment.total_epochs"},
    {"max_gen_len", "call.X.max_new_tokens"},
    {"max_length", "dataset.X.max_tokens"},
    {"max_model_len", "model.X.max_positions"},
    {"max_new_tokens", "call.X.max_new_tokens, evaluate.max_new_tokens"},
    {"max_num_gen_batches", "dynamic_sampling.max_rounds"},
    {"max_position_embeddings", "model.X.max_positions"},
    {"max_prompt_length", "dataset.X.max_prompt_tokens"},
    {"max_response_length", "call.X.max_new_tokens"},
    {"max_seq_len",
     "dataset.X.max_tokens, model.X.max_positions; the data's and the model's limit"},
    {"max_seq_length",
     "dataset.X.max_tokens, model.X.max_positions; the data's and the model's limit"},
    {"max_steps", "experiment.total_steps"},
    {"metric_for_best_model", "evaluate.keep_best"},
    {"micro_batch_size", "call.X.max_tokens_per_micro_batch; a micro-batch is bounded in tokens"},
    {"micro_train_batch_size",
     "call.X.max_tokens_per_micro_batch; a micro-batch is bounded in tokens"},
    {"min_lr", "model.X.min_lr_ratio; as a share of lr"},
    {"mini_batch_size", "call.X.n_minibatches; their number, not their size"},
    {"model_name", "model.X.path"},
    {"model_name_or_path", "model.X.path"},
    {"model_path", "model.X.path"},
    {"n_epochs", "experiment.total_epochs"},
    {"n_rollouts", "call.X.group_size"},
    {"n_samples_per_eval_prompt", "evaluate.samples"},
    {"n_samples_per_prompt", "call.X.group_size"},
    {"num_attention_heads", "model.X.n_heads"},
    {"num_epochs", "experiment.total_epochs"},
    {"num_generations", "call.X.group_size"},
    {"num_hidden_layers", "model.X.n_layers"},
    {"num_iterations", "call.X.ppo_epochs"},
    {"num_key_value_heads", "model.X.n_kv_heads"},
    {"num_layers", "model.X.n_layers"},
    {"num_mini_batches", "call.X.n_minibatches"},
    {"num_ppo_epochs", "call.X.ppo_epochs"},
    {"num_return_sequences", "call.X.group_size"},
    {"num_train_epochs", "experiment.total_epochs"},
    {"num_train_steps", "experiment.total_steps"},
    {"optimizer_offload", "model.X.offload; when_idle, of a trained role"},
    {"output_key", "dataset.X.completion_field"},
    {"overlong_buffer_len", "call.X.overlong_buffer"},
    {"param_offload", "model.X.offload; when_idle, of a role that is not trained"},
    {"per_device_eval_batch_size", "evaluate.max_batch"},
    {"per_device_train_batch_size",
     "call.X.n_seqs, call.X.max_tokens_per_micro_batch; n_seqs counts the samples of a step on all "
     "workers together, max_tokens_per_micro_batch bounds memory"},
    {"pipeline_parallel_size", "call.X.layout, layout.default; the p of d1t1p2"},
    {"ppo_mini_batch_size", "call.X.n_minibatches; their number, not their size"},
    {"precision", "model.X.dtype"},
    {"pretrain", "model.X.path"},
    {"project_name", "experiment.name"},
    {"prompt_key", "dataset.X.prompt_field"},
    {"prompt_max_len", "dataset.X.max_prompt_tokens"},
    {"random_seed", "experiment.seed"},
    {"reference_model", "call.X.model; the reference is a role with a section [model.ref]"},
    {"rejected_key", "dataset.X.rejected_field"},
    {"resume_from_checkpoint", "nothing; a run goes on by itself, see orrery train --resume"},
    {"reward_clip_range", "call.X.max_reward_clip"},
    {"reward_fn", "call.X.function; a Python function is FILE.py:NAME of interface command_reward"},
    {"reward_funcs", "call.X.function; several are calls of their own, which combined_reward adds"},
    {"reward_scale", "call.X.reward_scaling"},
    {"rollout_batch_size", "call.X.n_seqs"},
    {"rollout_is_threshold", "call.X.rollout_upper; with rollout_correction"},
    {"rollout_n", "call.X.group_size"},
    {"run_name", "experiment.name"},
    {"save_freq", "checkpoint.every_steps, export.every_steps"},
    {"save_interval", "checkpoint.every_steps, export.every_steps"},
    {"save_path", "experiment.output_dir"},
    {"save_steps", "checkpoint.every_steps, export.every_steps"},
    {"save_total_limit", "checkpoint.keep, export.keep"},
    {"scale_rewards", "call.X.group_adv_norm"},
    {"tensor_model_parallel_size", "call.X.layout, layout.default; the t of d1t2p1"},
    {"tensor_parallel_size", "call.X.layout, layout.default; the t of d1t2p1"},
    {"test_freq", "evaluate.every_steps"},
    {"tie_word_embeddings", "model.X.tie_embeddings"},
    {"tis_imp_ratio_cap", "call.X.rollout_upper; with rollout_correction"},
    {"tokenizer_name", "model.X.tokenizer"},
    {"tokenizer_name_or_path", "model.X.tokenizer"},
    {"tokenizer_path", "model.X.tokenizer"},
    {"torch_dtype", "model.X.dtype"},
    {"total_episodes", "experiment.total_steps; episodes / n_seqs / group_size steps"},
    {"train_batch_size", "call.X.n_seqs"},
    {"train_files", "dataset.X.path"},
    {"use_dynamic_sampling", "dynamic_sampling.enabled"},
    {"val_files",
     "evaluate.dataset, dataset.X.path; a section [dataset.X] that evaluate.dataset names"},
    {"value_clip", "call.X.value_clip_range"},
    {"vf_coef", "model.X.lr; the critic is a role of its own with its own rate"},
    {"vllm_importance_sampling_cap", "call.X.rollout_upper; with rollout_correction"},
    {"vocab_length", "model.X.vocab_size"},
    {"warmup_ratio", "model.X.warmup_proportion"},
    {"whiten_advantages", "call.X.adv_norm"},
    {"whiten_rewards", "call.X.adv_norm"},
};

// Sections of other systems' files.
constexpr Synonym kSectionSynonyms[] = {
    {"actor_rollout_ref", "[model.actor], [call.actor_gen] and others"},
    {"algorithm", "[call.X], which names its interface,"},
    {"data", "[dataset.X]"},
    {"datasets", "[dataset.X]"},
    {"evaluation", "[evaluate]"},
    {"generation", "[call.X] with interface = generate"},
    {"models", "[model.X]"},
    {"optim", "[model.X]"},
    {"optimizer", "[model.X]"},
    {"policy", "[model.actor]"},
    {"reward",
     "[call.X] with interface = rule_reward, command_reward, format_reward, "
     "combined_reward or reward_model"},
    {"reward_model", "[call.X] with interface = reward_model and its [model.X]"},
    {"rollout", "[call.X] with interface = generate"},
    {"sampling", "[call.X] with interface = generate"},
    {"train", "[experiment]"},
    {"trainer", "[experiment]"},
    {"training", "[experiment]"},
};

/// `LearningRate`, `learning-rate` and `learning_rate` are one name.
std::string plain(std::string_view name) {
  std::string result;
  for (size_t i = 0; i < name.size(); ++i) {
    const auto c = static_cast<unsigned char>(name[i]);
    const bool is_word_start =
        std::isupper(c) != 0 && i > 0 && std::islower(static_cast<unsigned char>(name[i - 1])) != 0;
    if (is_word_start) result += '_';
    result += c == '-' ? '_' : static_cast<char>(std::tolower(c));
  }
  return result;
}

/// ` of interface generate`: who has an option of a call.
std::string owners_text(const std::string& place, const std::string& key,
                        const InterfaceSchemas& interfaces) {
  if (!place.starts_with("call.")) return {};
  std::vector<std::string> owners;
  for (const auto& [name, schema] : interfaces) {
    const bool has_it = std::any_of(schema.begin(), schema.end(),
                                    [&](const FieldInfo& field) { return field.name == key; });
    if (has_it) owners.push_back(name);
  }
  return owners.empty() ? std::string() : base::concat(" of interface ", base::join(owners, ", "));
}

}  // namespace

std::span<const Synonym> synonyms() { return kSynonyms; }

std::string synonym_advice(const UnknownKey& unknown, const InterfaceSchemas& interfaces) {
  const std::string name = plain(unknown.key);
  const auto* const found = std::find_if(std::begin(kSynonyms), std::end(kSynonyms),
                                         [&](const Synonym& s) { return s.theirs == name; });
  if (found == std::end(kSynonyms)) return {};
  const size_t semicolon = found->ours.find("; ");
  const std::string note = semicolon == std::string_view::npos
                               ? std::string()
                               : base::concat(" (", found->ours.substr(semicolon + 2), ")");
  const std::string places(found->ours.substr(0, semicolon));
  if (places == "nothing") return base::concat("; there is no such key here", note);

  const std::string kind(unknown.section.substr(0, unknown.section.find('.')));
  std::vector<std::string> here, elsewhere;
  for (const std::string& piece : base::split(places, ',')) {
    const std::string place(base::trim(piece));
    const std::string key = place.substr(place.rfind('.') + 1);
    const bool is_known =
        std::find(unknown.known.begin(), unknown.known.end(), key) != unknown.known.end();
    if (place.starts_with(kind + ".") && is_known && key != unknown.key) {
      here.push_back(key);
    } else {
      elsewhere.push_back(base::concat(place, owners_text(place, key, interfaces)));
    }
  }
  if (!here.empty()) return base::concat("; did you mean ", base::join(here, " or "), "?", note);
  return base::concat("; that is ", base::join(elsewhere, " or "), " here", note);
}

std::string section_synonym_advice(std::string_view section) {
  const std::string name = plain(section);
  for (const Synonym& synonym : kSectionSynonyms) {
    if (synonym.theirs == name) return base::concat("; that is ", synonym.ours, " here");
  }
  return {};
}

}  // namespace orrery::config
