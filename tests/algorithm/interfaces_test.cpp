// Every interface in miniature on two data ranks gives what it gives on one: statistics and
// parameters in fp64. Data ranks are threads of this process.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <mutex>

#include "model_for_test.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/philox.h"
#include "support/thread_communicator.h"

namespace orrery::algorithm {
namespace {

std::vector<data::SequenceBatch> single_samples(const data::SequenceBatch& batch) {
  return batch.split({.sizes = std::vector<int>(batch.size(), 1), .ranges = std::nullopt});
}

model::Architecture tiny_architecture_with(bool value_head) {
  model::Architecture a = tiny_architecture();
  a.value_head = value_head;
  return a;
}

double uniform(uint64_t stream, uint64_t i) {
  return static_cast<double>(base::philox_below(7, stream, i, 1'000'000)) / 1e6;
}

/// Four samples of two sequences each, as answers to prompts, with every key that an interface
/// reads. Numbers depend on nothing but their place.
data::SequenceBatch rewarded_batch() {
  const data::NestedLengths tokens = {{7, 5}, {4, 9}, {6, 6}, {8, 3}};
  const std::vector<int32_t> lengths = tokens.flat();
  const int64_t n_tokens = tokens.grand_total();
  std::vector<int64_t> ids;
  std::vector<int32_t> is_prompt;
  for (const int32_t n : lengths) {
    for (int32_t t = 0; t < n; ++t) {
      is_prompt.push_back(t < 2 ? 1 : 0);
      ids.push_back(static_cast<int64_t>(97 + 25 * uniform(1, ids.size())));
    }
  }
  const auto numbers = [](int64_t n, uint64_t stream, double low, double high) {
    at::Tensor result = at::empty({n}, at::kFloat);
    for (int64_t i = 0; i < n; ++i) {
      result[i] = low + (high - low) * uniform(stream, static_cast<uint64_t>(i));
    }
    return result;
  };
  const int64_t n_actions = n_tokens - static_cast<int64_t>(lengths.size());
  data::SequenceBatch batch;
  batch.meta.ids = {{10}, {11}, {12}, {13}};
  batch.set("packed_input_ids", at::tensor(ids, at::kLong), tokens);
  batch.set("prompt_mask", at::tensor(is_prompt, at::kInt).to(at::kBool), tokens);
  batch.set("packed_logprobs", numbers(n_actions, 2, -6, -5), action_lengths(tokens));
  batch.set("packed_ref_logprobs", numbers(n_actions, 3, -6, -5), action_lengths(tokens));
  batch.set("sampling_logprobs", numbers(n_actions, 8, -6, -5), action_lengths(tokens));
  batch.set("entropies", numbers(n_actions, 11, 0, 5), action_lengths(tokens));
  batch.set("versions", numbers(n_actions, 9, -3, 0).to(at::kLong), action_lengths(tokens));
  batch.set("values", numbers(n_tokens, 4, -1, 1), tokens);
  batch.set("rewards", numbers(8, 5, -1, 1), one_each(tokens));
  batch.set("rewards_2", numbers(8, 10, -1, 1), one_each(tokens));
  batch.set("seq_no_eos_mask", at::tensor({0, 1, 0, 0, 0, 0, 1, 0}, at::kInt).to(at::kBool),
            one_each(tokens));
  batch.set("ref_seqlogp", numbers(8, 6, -30, -20), one_each(tokens));
  batch.set("desirable", at::tensor({1, 0, 0, 1, 1, 1, 0, 1}, at::kInt).to(at::kBool),
            one_each(tokens));
  batch.set("kl_input_ids", batch.at("packed_input_ids").flip(0), tokens);
  batch.set("kl_prompt_mask", batch.at("prompt_mask"), tokens);
  batch.set("kl_ref_seqlogp", numbers(8, 7, -40, -30), one_each(tokens));
  batch.set("margins", numbers(4, 8, 0, 2), {{1}, {1}, {1}, {1}});
  batch.set("teacher_logprobs", numbers(n_actions, 9, -6, -5), action_lengths(tokens));
  batch.set("teacher_hidden", numbers(n_tokens * 16, 10, -2, 2).view({n_tokens, 16}), tokens);
  return batch;
}

/// What came out of a call, whatever the data ranks.
struct Outcome {
  at::Tensor parameters;
  std::vector<metrics::Statistics> records;           // merged over data ranks
  std::map<uint64_t, data::SequenceBatch> by_sample;  // outputs of generate and inference
};

struct Example {
  std::string interface;
  graph::CallKind kind;
  std::vector<config::Option> options = {};
  bool value_head = false;
  int n_calls = 2;                     // in a row, on one interface
  std::vector<int64_t> left_out = {};  // answers whose reward is NaN
};

config::Option option(const char* name, const char* value) {
  return {.name = name, .value = value, .where = {}};
}

Outcome run(const Example& example, int n_ranks) {
  Outcome outcome;
  std::mutex mutex;
  comm::run_as_threads(n_ranks, [&](comm::Communicator& group) {
    model::Decoder decoder(tiny_architecture_with(example.value_head), at::kDouble);
    decoder.parameters().initialise(3);
    parallel::OptimizerOptions optimizer;
    optimizer.schedule.max_lr = 1e-2;
    parallel::TrainEngine engine(decoder, optimizer, group);
    const data::ByteTokenizer tokenizer;
    model::Decoder teacher(tiny_architecture(), at::kDouble);
    teacher.parameters().initialise(9);
    ModelContext model{.decoder = &decoder,
                       .engine = &engine,
                       .tokenizer = &tokenizer,
                       .data_group = &group,
                       .teacher = &teacher,
                       .is_dp_head = true};
    const int per_rank = 4 / n_ranks;
    data::SequenceBatch all = rewarded_batch();
    for (const int64_t answer : example.left_out) all.at("rewards")[answer].fill_(NAN);
    data::SequenceBatch own =
        all.split({.sizes = std::vector<int>(static_cast<size_t>(n_ranks), per_rank),
                   .ranges = std::nullopt})
            .at(static_cast<size_t>(group.rank()));
    if (example.kind == graph::CallKind::kGenerate) {
      data::SequenceBatch prompts;
      prompts.meta.ids = own.meta.ids;
      std::vector<at::Tensor> begins;
      for (const data::SequenceBatch& sample : single_samples(own)) {
        begins.push_back(sample.at("packed_input_ids").narrow(0, 0, 3));
      }
      const std::vector<int32_t> lengths(own.size(), 3);
      prompts.set("packed_prompts", at::cat(begins), data::NestedLengths::of_single(lengths));
      own = prompts;
    }
    const std::unique_ptr<Interface> interface = make_interface(example.interface, example.options);
    CallContext call;
    call.call = "c";
    call.limits = {.max_tokens = 16, .min_parts = 1};
    call.data_rank = group.rank();
    call.data_size = n_ranks;
    std::vector<metrics::Statistics> records;
    data::SequenceBatch output;
    for (call.step = 1; call.step <= example.n_calls; ++call.step) {
      if (example.kind == graph::CallKind::kTrainStep) {
        for (auto& record : interface->train_step(model, own, call)) records.push_back(record);
      } else if (example.kind == graph::CallKind::kInference) {
        output = interface->inference(model, own, call);
      } else {
        output = interface->generate(model, own, call);
      }
    }
    const std::lock_guard lock(mutex);
    outcome.parameters = decoder.parameters().values();
    outcome.records.resize(std::max(outcome.records.size(), records.size()));
    for (size_t i = 0; i < records.size(); ++i) outcome.records[i].merge(records[i]);
    if (output.size() > 0) {
      for (data::SequenceBatch& sample : single_samples(output)) {
        outcome.by_sample[sample.meta.ids[0].value] = std::move(sample);
      }
    }
  });
  return outcome;
}

void expect_equal(const Outcome& one, const Outcome& two) {
  EXPECT_LT((one.parameters - two.parameters).abs().max().item<double>(), 1e-9);
  ASSERT_EQ(one.records.size(), two.records.size());
  for (size_t i = 0; i < one.records.size(); ++i) {
    const auto expected = one.records[i].values();
    const auto got = two.records[i].values();
    ASSERT_EQ(expected.size(), got.size());
    for (const auto& [name, value] : expected) {
      EXPECT_NEAR(got.at(name), value, 1e-9 * std::max(1.0, std::abs(value)))
          << "record " << i << ", " << name;
    }
  }
  ASSERT_EQ(one.by_sample.size(), two.by_sample.size());
  for (const auto& [id, expected] : one.by_sample) {
    const data::SequenceBatch& got = two.by_sample.at(id);
    for (const auto& [key, tensor] : expected.data) {
      EXPECT_TRUE(at::allclose(got.at(key).to(at::kDouble), tensor.to(at::kDouble), 1e-6, 1e-6))
          << key << " of sample " << id;
    }
  }
}

class Interfaces : public testing::TestWithParam<Example> {};

TEST_P(Interfaces, GiveTheSameOnTwoDataRanksAsOnOne) {
  const Outcome one = run(GetParam(), 1);
  const Outcome two = run(GetParam(), 2);

  ASSERT_FALSE(one.records.empty() && one.by_sample.empty());
  expect_equal(one, two);
  if (!one.records.empty()) {
    EXPECT_GT(one.records.front().value("grad_norm").value_or(0), 0);
  }
}

const graph::CallKind kTrain = graph::CallKind::kTrainStep;
const graph::CallKind kInfer = graph::CallKind::kInference;

INSTANTIATE_TEST_SUITE_P(
    AlgorithmTest, Interfaces,
    testing::Values(
        Example{"sft", kTrain}, Example{"grpo", kTrain},
        Example{"grpo",
                kTrain,
                {option("adv_norm", "true"), option("ppo_epochs", "2"),
                 option("recompute_log_probs", "true"), option("kl_coef", "0.2"),
                 option("kl_loss", "0.1"), option("c_clip", "3"),
                 option("behav_imp_weight_cap", "1.5")}},
        Example{"grpo",
                kTrain,
                {option("leave_one_out", "true"), option("group_adv_norm", "false"),
                 option("length_penalty", "0.1"), option("mask_too_long", "true"),
                 option("best_of", "1")}},
        Example{"grpo", kTrain, {option("group_std", "batch"), option("kl_coef", "0.1")}},
        Example{"grpo",
                kTrain,
                {option("aggregation", "seq_mean_token_mean"), option("kl_loss", "0.1"),
                 option("kl_loss_estimator", "k1"), option("entropy_coef", "0.05"),
                 option("clip_range_high", "0.28")}},
        Example{"grpo",
                kTrain,
                {option("aggregation", "constant"), option("constant_length", "7"),
                 option("ratio_level", "sequence"), option("kl_loss", "0.1"),
                 option("kl_loss_gradient", "importance_weighted"), option("n_minibatches", "1"),
                 option("ppo_epochs", "2")}},
        Example{"grpo",
                kTrain,
                {option("aggregation", "seq_mean_token_sum"), option("surrogate", "sapo"),
                 option("top_entropy_fraction", "0.4"), option("entropy_coef", "0.05"),
                 option("entropy_aggregation", "same_as_loss")}},
        Example{"grpo",
                kTrain,
                {option("top_entropy_fraction", "0.4"), option("entropy_coef", "0.05"),
                 option("off_policy_mask", "0.01")}},
        Example{"grpo",
                kTrain,
                {option("aggregation", "seq_mean_token_mean"), option("surrogate", "gmpo"),
                 option("estimator", "gdpo"), option("ppo_epochs", "2")}},
        Example{"grpo",
                kTrain,
                {option("rollout_correction", "mask"), option("rollout_upper", "3"),
                 option("rollout_level", "sequence"), option("rollout_divisor", "kept"),
                 option("max_staleness", "2"), option("surrogate", "cispo")}},
        Example{"grpo",
                kTrain,
                {option("interpolate_proximal", "true"), option("estimator", "opo"),
                 option("ratio_level", "sequence_token")}},
        Example{"grpo",
                kTrain,
                {option("estimator", "reinforce_plus_plus_baseline"), option("kl_coef", "0.1"),
                 option("kl_reward_estimator", "k3"), option("discount", "0.9"),
                 option("group_eps_mode", "variance_floor")},
                false,
                2,
                {3}},
        Example{"grpo",
                kTrain,
                {option("estimator", "reinforce_plus_plus"), option("whiten_scope", "sequences"),
                 option("surrogate", "dppo_tv")}},
        // One answer, a whole group, a whole data rank without a reward.
        Example{"grpo", kTrain, {option("adv_norm", "true")}, false, 2, {3}},
        Example{"grpo",
                kTrain,
                {option("leave_one_out", "true"), option("group_adv_norm", "false"),
                 option("skip_uniform_groups", "true")},
                false,
                2,
                {2, 3, 7}},
        Example{"grpo", kTrain, {option("group_std", "batch")}, false, 2, {4, 5, 6, 7}},
        Example{"ppo_actor",
                kTrain,
                {option("value_norm", "true"), option("adaptive_kl", "true")},
                false,
                2,
                {4, 5, 6, 7}},
        Example{"ppo_critic", kTrain, {option("value_norm", "true")}, true, 2, {0, 4, 5, 6, 7}},
        Example{"ppo_actor",
                kTrain,
                {option("value_norm", "true"), option("adaptive_kl", "true"),
                 option("adaptive_kl_target", "0.01"), option("adaptive_kl_horizon", "10")}},
        Example{"ppo_critic",
                kTrain,
                {option("value_norm", "true"), option("value_norm_type", "ma"),
                 option("ppo_epochs", "2")},
                true},
        Example{"ppo_critic", kInfer, {}, true}, Example{"ppo_actor", kInfer},
        Example{"reward_model", kTrain, {}, true}, Example{"reward_model", kInfer, {}, true},
        Example{"reward_model", kTrain, {option("centering_coef", "0.1")}, true},
        Example{"dpo", kTrain}, Example{"dpo", kInfer},
        Example{"dpo",
                kTrain,
                {option("label_smoothing", "0.1"), option("nll_coef", "0.5"),
                 option("length_normalization", "mean")}},
        Example{"dpo", kTrain, {option("loss", "robust_dpo"), option("label_smoothing", "0.2")}},
        Example{"dpo",
                kTrain,
                {option("loss", "ipo"), option("nll_coef", "1"),
                 option("nll_reduction", "sequence_mean")}},
        Example{"dpo", kTrain, {option("loss", "hinge")}},
        Example{"dpo", kTrain, {option("loss", "simpo"), option("gamma", "0.3")}},
        Example{"dpo", kTrain, {option("loss", "cpo"), option("nll_coef", "1")}},
        Example{"dpo", kTrain, {option("loss", "orpo"), option("nll_coef", "1")}},
        Example{"dpo", kTrain, {option("loss", "kto"), option("undesirable_weight", "1.3")}},
        Example{"distill", kTrain}, Example{"distill", kInfer},
        Example{"distill",
                kTrain,
                {option("discount", "0.9"), option("student_log_probs", "current"),
                 option("surrogate", "reinforce"), option("coef", "0.5")}},
        Example{"distill",
                kTrain,
                {option("estimator", "rloo"), option("reward_coef", "0.5")},
                false,
                2,
                {3}},
        Example{"distill_full", kTrain}, Example{"distill_full", kInfer},
        Example{"distill_full",
                kTrain,
                {option("divergence", "jsd"), option("beta", "0.2"),
                 option("softmax_temperature", "2")}},
        Example{"generate",
                graph::CallKind::kGenerate,
                {option("group_size", "3"), option("max_new_tokens", "5")}}),
    [](const testing::TestParamInfo<Example>& each) {
      return each.param.interface + "_" + std::string(graph::name_of(each.param.kind)) + "_" +
             std::to_string(each.index);
    });

/// An option, and others that it needs or that would hide it.
struct Knob {
  const char* interface;
  config::Option changed;
  std::vector<config::Option> around = {};
};

/// Every option of the field that shapes what is learned from rewards: none is read and ignored.
const std::vector<Knob> kKnobs = {
    {"grpo", option("clip_range", "0.01")},
    {"grpo", option("c_clip", "1.05")},
    {"grpo", option("temperature", "0.5")},
    {"grpo", option("recompute_log_probs", "true")},
    {"grpo", option("behav_imp_weight_cap", "1.1"), {option("recompute_log_probs", "true")}},
    {"grpo", option("kl_coef", "0.3")},
    {"grpo", option("kl_loss", "0.3")},
    {"grpo",
     option("adaptive_kl", "true"),
     {option("kl_coef", "0.3"), option("group_adv_norm", "false")}},
    {"grpo",
     option("adaptive_kl_target", "0.01"),
     {option("kl_coef", "0.3"), option("adaptive_kl", "true"),
      option("adaptive_kl_horizon", "10")}},
    {"grpo",
     option("adaptive_kl_horizon", "10"),
     {option("kl_coef", "0.3"), option("adaptive_kl", "true")}},
    {"grpo", option("clip_range_high", "0.01")},
    {"grpo", option("surrogate", "cispo")},
    {"grpo", option("cispo_lower", "true"), {option("surrogate", "cispo")}},
    {"grpo", option("surrogate", "sapo")},
    {"grpo", option("sapo_tau_positive", "2"), {option("surrogate", "sapo")}},
    {"grpo", option("sapo_tau_negative", "2"), {option("surrogate", "sapo")}},
    {"grpo", option("surrogate", "gmpo"), {option("aggregation", "seq_mean_token_mean")}},
    {"grpo",
     option("gmpo_clip_low", "0.01"),
     {option("aggregation", "seq_mean_token_mean"), option("surrogate", "gmpo")}},
    {"grpo",
     option("gmpo_clip_high", "0.01"),
     {option("aggregation", "seq_mean_token_mean"), option("surrogate", "gmpo")}},
    {"grpo", option("surrogate", "reinforce")},
    {"grpo", option("surrogate", "importance_sampling")},
    {"grpo", option("surrogate", "dppo_tv")},
    {"grpo", option("surrogate", "dppo_kl"), {option("dppo_threshold", "0.000001")}},
    {"grpo", option("dppo_threshold", "0.0001"), {option("surrogate", "dppo_tv")}},
    {"grpo", option("ratio_level", "sequence")},
    {"grpo", option("ratio_level", "sequence_token"), {option("kl_coef", "0.3")}},
    {"grpo", option("aggregation", "seq_mean_token_mean")},
    {"grpo", option("aggregation", "seq_mean_token_sum")},
    {"grpo", option("aggregation", "constant"), {option("constant_length", "9")}},
    {"grpo", option("kl_loss_estimator", "k2"), {option("kl_loss", "0.3")}},
    {"grpo", option("kl_loss_gradient", "straight_through_k2"), {option("kl_loss", "0.3")}},
    {"grpo", option("kl_loss_gradient", "importance_weighted"), {option("kl_loss", "0.3")}},
    {"grpo", option("entropy_coef", "0.1")},
    {"grpo",
     option("entropy_aggregation", "same_as_loss"),
     {option("entropy_coef", "0.1"), option("aggregation", "seq_mean_token_mean")}},
    {"grpo", option("top_entropy_fraction", "0.3")},
    {"grpo", option("off_policy_mask", "0.001")},
    {"grpo", option("interpolate_proximal", "true")},
    {"grpo", option("fresh_token_proximal", "current"), {option("interpolate_proximal", "true")}},
    {"grpo", option("rollout_correction", "truncate")},
    {"grpo", option("rollout_correction", "mask"), {option("rollout_upper", "1")}},
    {"grpo", option("rollout_upper", "0.5"), {option("rollout_correction", "truncate")}},
    {"grpo", option("rollout_lower", "2"), {option("rollout_correction", "truncate")}},
    {"grpo", option("rollout_level", "geometric"), {option("rollout_correction", "truncate")}},
    {"grpo",
     option("rollout_mask_weight", "one"),
     {option("rollout_correction", "mask"), option("rollout_upper", "1")}},
    {"grpo",
     option("rollout_divisor", "kept"),
     {option("rollout_correction", "mask"), option("rollout_upper", "1")}},
    {"grpo", option("veto_ratio_max", "1.5"), {option("rollout_correction", "truncate")}},
    {"grpo", option("veto_ratio_min", "0.9"), {option("rollout_correction", "truncate")}},
    {"grpo", option("max_staleness", "0"), {option("rollout_correction", "truncate")}},
    {"grpo", option("estimator", "dr_grpo")},
    {"grpo", option("estimator", "rloo")},
    {"grpo", option("estimator", "gdpo")},
    {"grpo", option("estimator", "opo")},
    {"grpo", option("estimator", "leave_one_out_max")},
    {"grpo", option("estimator", "reinforce_plus_plus")},
    {"grpo", option("estimator", "reinforce_plus_plus_baseline")},
    {"grpo",
     option("kl_reward_estimator", "k3"),
     {option("estimator", "reinforce_plus_plus"), option("kl_coef", "0.3")}},
    {"grpo", option("reward_weight", "0.3")},
    {"grpo", option("reward_weight_2", "0.3")},
    {"grpo", option("reward_weight_2", "0.3"), {option("estimator", "gdpo")}},
    {"grpo", option("whiten_scope", "sequences"), {option("estimator", "reinforce_plus_plus")}},
    {"grpo", option("group_adv_norm", "false")},
    {"grpo", option("group_std", "none")},
    {"grpo", option("group_std", "batch")},
    {"grpo", option("group_std_kind", "sample")},
    {"grpo", option("group_eps", "0.1")},
    {"grpo", option("group_eps_mode", "added_to_variance"), {option("group_eps", "0.1")}},
    {"grpo", option("group_adv_norm_by_token", "true"), {option("group_adv_norm", "false")}},
    {"grpo", option("log_ratio_limit", "0.1")},
    {"grpo", option("adv_norm", "true"), {option("group_adv_norm", "false")}},
    {"grpo", option("leave_one_out", "true"), {option("group_adv_norm", "false")}},
    {"grpo", option("best_of", "1")},
    {"grpo", option("n_minibatches", "2")},
    {"grpo", option("ppo_epochs", "2")},
    {"grpo", option("mask_too_long", "true")},
    {"grpo", option("mask_no_eos_with_zero", "true"), {option("group_adv_norm", "false")}},
    {"grpo", option("length_penalty", "0.1"), {option("group_adv_norm", "false")}},
    {"grpo",
     option("length_free", "3"),
     {option("length_penalty", "0.1"), option("group_adv_norm", "false")}},
    {"grpo", option("reward_scaling", "0.5"), {option("group_adv_norm", "false")}},
    {"grpo", option("reward_bias", "0.3"), {option("group_adv_norm", "false")}},
    {"grpo", option("max_reward_clip", "0.1"), {option("group_adv_norm", "false")}},
    {"grpo", option("discount", "0.9"), {option("group_adv_norm", "false")}},
    {"ppo_actor", option("gae_lambda", "0.5")},
    {"ppo_actor", option("value_norm", "true")},
    {"ppo_actor",
     option("value_norm_type", "ma"),
     {option("value_norm", "true"), option("value_norm_beta", "0.5")}},
    {"ppo_critic", option("value_clip_range", "0.01")},
    {"ppo_critic",  // they differ from distances of 10 on
     option("value_loss", "huber"),
     {option("reward_scaling", "100"), option("max_reward_clip", "100")}},
    {"ppo_critic", option("value_norm", "true")},
    {"ppo_critic", option("value_norm_type", "ma"), {option("value_norm", "true")}},
    {"ppo_critic", option("value_norm_beta", "0.5"), {option("value_norm", "true")}},
    {"ppo_critic", option("value_norm_eps", "0.5"), {option("value_norm", "true")}},
    {"ppo_critic", option("kl_coef", "0.5")},
    {"distill", option("coef", "0.5")},
    {"distill", option("discount", "0.5")},
    {"distill", option("student_log_probs", "current")},
    {"distill", option("surrogate", "reinforce")},
    {"distill", option("temperature", "0.5")},
    {"distill", option("n_minibatches", "2")},
    {"distill", option("estimator", "grpo")},
    {"distill", option("estimator", "rloo")},
    {"distill", option("reward_coef", "0.3"), {option("estimator", "dr_grpo")}},
    {"distill_full", option("divergence", "forward_kl")},
    {"distill_full", option("divergence", "jsd")},
    {"distill_full", option("beta", "0.2"), {option("divergence", "jsd")}},
    {"distill_full", option("softmax_temperature", "2")},
    {"distill_full",
     option("times_temperature_squared", "true"),
     {option("softmax_temperature", "2")}},
    {"distill_full", option("n_minibatches", "2")},
    {"dpo", option("beta", "0.5")},
    {"dpo", option("label_smoothing", "0.2")},
    {"dpo", option("length_normalization", "mean")},
    {"dpo", option("nll_coef", "0.5")},
    {"dpo", option("nll_reduction", "sequence_mean"), {option("nll_coef", "0.5")}},
    {"dpo", option("n_minibatches", "2")},
    {"dpo", option("loss", "robust_dpo"), {option("label_smoothing", "0.2")}},
    {"dpo", option("loss", "ipo")},
    {"dpo", option("loss", "hinge")},
    {"dpo", option("loss", "simpo")},
    {"dpo", option("gamma", "0.5"), {option("loss", "simpo")}},
    {"dpo", option("loss", "cpo")},
    {"dpo", option("loss", "orpo")},
    {"dpo", option("desirable_weight", "0.5"), {option("loss", "kto")}},
    {"dpo", option("undesirable_weight", "0.5"), {option("loss", "kto")}},
    {"reward_model", option("centering_coef", "0.2")},
};

bool has_value_head(const std::string& interface) {
  return interface == "ppo_critic" || interface == "reward_model";
}

TEST(Options, EachChangesWhatIsLearned) {
  for (const Knob& knob : kKnobs) {
    SCOPED_TRACE(knob.interface + (" " + knob.changed.name) + " " + knob.changed.value);
    Example without{knob.interface, kTrain, knob.around, has_value_head(knob.interface)};
    without.n_calls = 3;  // moments of returns differ from the second update on
    Example with = without;
    with.options.push_back(knob.changed);

    const at::Tensor difference = run(with, 1).parameters - run(without, 1).parameters;

    EXPECT_GT(difference.abs().max().item<double>(), 1e-9);
  }
}

at::Tensor initial_parameters() {
  model::Decoder fresh(tiny_architecture_with(false), at::kDouble);
  fresh.parameters().initialise(3);
  return fresh.parameters().values();
}

TEST(LeftOutAnswers, OfAWholeBatchChangeNothingAndAreCounted) {
  const std::vector<int64_t> all = {0, 1, 2, 3, 4, 5, 6, 7};
  for (const char* interface : {"grpo", "ppo_actor", "ppo_critic"}) {
    SCOPED_TRACE(interface);
    const bool is_critic = interface == std::string("ppo_critic");
    const Outcome got = run({interface,
                             kTrain,
                             {option("value_norm", "true"), option("adaptive_kl", "true"),
                              option("n_minibatches", "3"), option("kl_coef", "0.1")},
                             is_critic,
                             2,
                             all},
                            2);

    ASSERT_EQ(got.records.size(), 6u);
    EXPECT_EQ(got.records[0].value("left_out_answers"), 8.0);
    EXPECT_EQ(got.records[0].value("n_seqs"), 0.0);
    EXPECT_EQ(got.records[0].value("skipped_steps"), 1.0);
    for (const metrics::Statistics& record : got.records) {
      for (const auto& [name, value] : record.values()) EXPECT_TRUE(std::isfinite(value)) << name;
    }
    if (!is_critic) {
      EXPECT_TRUE(at::equal(got.parameters, initial_parameters()));
    }
  }
}

TEST(LeftOutAnswers, OfAWholeBatchAreNoUpdateWhateverTheLossIsDividedBy) {
  const Outcome got = run({"grpo",
                           kTrain,
                           {option("aggregation", "constant"), option("constant_length", "5")},
                           false,
                           1,
                           {0, 1, 2, 3, 4, 5, 6, 7}},
                          2);

  EXPECT_EQ(got.records[0].value("skipped_steps"), 1.0);
  EXPECT_TRUE(at::equal(got.parameters, initial_parameters()));
}

TEST(LeftOutAnswers, TeachWhatTheOthersTeachWithoutThem) {
  const Outcome without = run({"grpo", kTrain, {}, false, 1, {4, 5, 6, 7}}, 1);
  const Outcome with = run({"grpo", kTrain, {}, false, 1, {}}, 1);

  EXPECT_EQ(without.records[0].value("left_out_answers"), 4.0);
  EXPECT_EQ(without.records[0].value("n_seqs"), 4.0);
  EXPECT_EQ(without.records[0].value("n_valid_tokens"), 17.0);  // of the first two prompts
  EXPECT_EQ(with.records[0].value("left_out_answers"), 0.0);
  EXPECT_GT((with.parameters - without.parameters).abs().max().item<double>(), 1e-9);
}

TEST(EarlyStop, LeavesTheModelAsItIsAndSaysSo) {
  const Example stopped{"grpo", kTrain, {option("early_stop_imp_ratio", "1e-9")}, false, 1};

  const Outcome got = run(stopped, 2);

  EXPECT_EQ(got.records[0].value("early_stopped_steps"), 1.0);
  EXPECT_TRUE(at::equal(got.parameters, initial_parameters()));
}

}  // namespace
}  // namespace orrery::algorithm
