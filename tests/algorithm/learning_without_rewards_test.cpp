// Preferences, reward models and distillation learn, in miniature, and the measure says no where
// there is nothing to learn:
//   preferences   better answers begin with a token of a kind, a quarter of the letters. Measured
//   on
//                 pairs that are drawn anew for each step: by how much the better one is the
//                 likelier (of a reward model: scores higher). Without a signal both answers of a
//                 pair are the same, and the labels of single ones are drawn by lot
//   distillation  measured is the divergence from the teacher. Without a signal the teacher is the
//                 student as it begins
// Each has learned when in each of three seeds the last tenth of the steps is better than the first
// by three standard errors or more; without a signal that is not so.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "model_for_test.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/philox.h"
#include "progress_for_test.h"
#include "support/thread_communicator.h"

namespace orrery::algorithm {
namespace {

constexpr int kSteps = 60, kTenth = kSteps / 10;
constexpr int kPairs = 16, kPromptLength = 3, kAnswerLength = 2;
constexpr int kPrompts = 8, kDistilSteps = 150;  // what is sampled says less in a step
constexpr uint64_t kSeeds[] = {1, 2, 3};

enum class Signal { kGiven, kRemoved };

using Options = std::vector<std::pair<const char*, const char*>>;

/// A loss with the options that it is published with.
struct Learner {
  const char* name;
  const char* interface;
  Options options;
};

std::unique_ptr<Interface> make(const Learner& learner) {
  std::vector<config::Option> options;
  for (const auto& [name, value] : learner.options) {
    options.push_back({.name = name, .value = value, .where = {}});
  }
  return make_interface(learner.interface, options);
}

model::Architecture architecture(bool has_value_head) {
  model::Architecture a = tiny_architecture();
  a.value_head = has_value_head;
  return a;
}

/// One model with what an interface wants of it. Alone: one data rank.
class Role {
 public:
  Role(bool has_value_head, uint64_t seed, comm::Communicator& group)
      : decoder_(architecture(has_value_head), at::kFloat),
        engine_(decoder_, optimizer(), group),
        group_(group) {
    decoder_.parameters().initialise(seed);
  }
  ModelContext context(const model::Decoder* teacher = nullptr) {
    return {.decoder = &decoder_,
            .engine = &engine_,
            .tokenizer = &tokenizer_,
            .data_group = &group_,
            .teacher = teacher,
            .is_dp_head = true};
  }
  model::Decoder& decoder() { return decoder_; }

 private:
  static parallel::OptimizerOptions optimizer() {
    parallel::OptimizerOptions options;
    options.schedule.max_lr = 1e-2;
    return options;
  }

  model::Decoder decoder_;
  parallel::TrainEngine engine_;
  const data::ByteTokenizer tokenizer_;
  comm::Communicator& group_;
};

/// Draws by name: of a seed, a step and a place in it.
class Lots {
 public:
  Lots(uint64_t seed, int64_t step) : seed_(seed), step_(static_cast<uint64_t>(step)) {}
  int64_t below(int64_t n) {
    return static_cast<int64_t>(
        base::philox_below(seed_, step_, place_++, static_cast<uint64_t>(n)));
  }
  int64_t letter() { return 97 + below(26); }
  int64_t letter_of_kind() { return 100 + 4 * below(6); }  // divisible by 4
  int64_t letter_of_another() {
    int64_t letter = 100;
    while (letter % 4 == 0) letter = this->letter();
    return letter;
  }
  bool coin() { return below(2) == 1; }

 private:
  uint64_t seed_, step_, place_ = 0;
};

/// Sequences of one length, so many a sample.
data::SequenceBatch batch_of(const std::vector<std::vector<int64_t>>& sequences, int per_sample) {
  const int32_t length = kPromptLength + kAnswerLength;
  data::NestedLengths tokens;
  std::vector<int64_t> ids;
  std::vector<int32_t> is_prompt;
  data::SequenceBatch batch;
  for (size_t i = 0; i < sequences.size(); i += static_cast<size_t>(per_sample)) {
    batch.meta.ids.push_back({i});
    tokens.add_sample(std::vector<int32_t>(static_cast<size_t>(per_sample), length));
  }
  for (const std::vector<int64_t>& sequence : sequences) {
    for (int32_t t = 0; t < length; ++t) {
      ids.push_back(sequence[static_cast<size_t>(t)]);
      is_prompt.push_back(t < kPromptLength ? 1 : 0);
    }
  }
  batch.set("packed_input_ids", at::tensor(ids, at::kLong), tokens);
  batch.set("prompt_mask", at::tensor(is_prompt, at::kInt).to(at::kBool), tokens);
  return batch;
}

using Sequence = std::vector<int64_t>;

Sequence prompt_of(Lots& lots) {
  Sequence prompt;
  for (int t = 0; t < kPromptLength; ++t) prompt.push_back(lots.letter());
  return prompt;
}

Sequence with_answer(Sequence prompt, int64_t first, int64_t second) {
  prompt.push_back(first);
  prompt.push_back(second);
  return prompt;
}

/// Better, worse, better, ... of kPairs prompts.
data::SequenceBatch pairs(Lots lots, Signal signal) {
  std::vector<Sequence> sequences;
  for (int i = 0; i < kPairs; ++i) {
    const Sequence prompt = prompt_of(lots);
    const int64_t any = lots.letter(), second = lots.letter();
    const bool is_removed = signal == Signal::kRemoved;
    const int64_t better = is_removed ? any : lots.letter_of_kind();
    const int64_t worse = is_removed ? any : lots.letter_of_another();
    sequences.push_back(with_answer(prompt, better, second));
    sequences.push_back(with_answer(prompt, worse, second));
  }
  return batch_of(sequences, 2);
}

/// Single answers, `desirable` where they are of the kind, or by lot; with answers to the prompts
/// of their neighbours.
data::SequenceBatch labelled(Lots lots, Signal signal) {
  std::vector<Sequence> prompts, sequences, mismatched;
  std::vector<int32_t> is_good;
  for (int i = 0; i < 2 * kPairs; ++i) {
    prompts.push_back(prompt_of(lots));
    const bool is_of_kind = lots.coin(), lot = lots.coin();
    const int64_t first = is_of_kind ? lots.letter_of_kind() : lots.letter_of_another();
    sequences.push_back(with_answer(prompts.back(), first, lots.letter()));
    is_good.push_back((signal == Signal::kRemoved ? lot : is_of_kind) ? 1 : 0);
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& other = sequences[(i + 1) % sequences.size()];
    mismatched.push_back(with_answer(prompts[i], other[kPromptLength], other[kPromptLength + 1]));
  }
  data::SequenceBatch batch = batch_of(sequences, 1);
  const data::SequenceBatch others = batch_of(mismatched, 1);
  const data::NestedLengths tokens = batch.meta.at("packed_input_ids").lengths;
  batch.set("kl_input_ids", others.at("packed_input_ids"), tokens);
  batch.set("kl_prompt_mask", others.at("prompt_mask"), tokens);
  batch.set("desirable", at::tensor(is_good, at::kInt).to(at::kBool), one_each(tokens));
  return batch;
}

at::Tensor summed_log_probs(Interface& interface, Role& role, data::SequenceBatch batch,
                            const char* ids, const char* mask) {
  const std::string keys[] = {ids, mask};
  ModelContext model = role.context();
  return interface
      .inference(model,
                 batch.select(keys).remap({{ids, "packed_input_ids"}, {mask, "prompt_mask"}}), {})
      .at("seqlogp");
}

/// [kPairs] by how much the better answer is ahead.
at::Tensor lead_of_the_better(Interface& interface, ModelContext model,
                              const data::SequenceBatch& batch, const char* key) {
  const at::Tensor of_each =
      interface.inference(model, batch, {}).at(key).to(at::kDouble).view({-1, 2});
  return of_each.select(1, 0) - of_each.select(1, 1);
}

Progress train_on_preferences(const Learner& learner, uint64_t seed, Signal signal) {
  Progress progress;
  const bool is_reward_model = std::string(learner.interface) == "reward_model";
  const bool is_kto = std::string(learner.name) == "kto";
  comm::run_as_threads(1, [&](comm::Communicator& group) {
    Role policy(is_reward_model, seed, group), reference(is_reward_model, seed, group);
    const std::unique_ptr<Interface> interface = make(learner);
    CallContext call;
    for (call.step = 1; call.step <= kSteps; ++call.step) {
      const data::SequenceBatch fresh = pairs(Lots(seed, call.step), Signal::kGiven);
      const at::Tensor lead = lead_of_the_better(*interface, policy.context(), fresh,
                                                 is_reward_model ? "rewards" : "seqlogp");
      if (call.step <= kTenth) progress.first.add(lead);
      if (call.step > kSteps - kTenth) progress.last.add(lead);

      const Lots lots(seed + 100, call.step);
      data::SequenceBatch batch = is_kto ? labelled(lots, signal) : pairs(lots, signal);
      if (!is_reward_model) {
        const data::NestedLengths ones = one_each(batch.meta.at("packed_input_ids").lengths);
        batch.set("ref_seqlogp",
                  summed_log_probs(*interface, reference, batch, "packed_input_ids", "prompt_mask"),
                  ones);
        if (is_kto) {
          batch.set(
              "kl_ref_seqlogp",
              summed_log_probs(*interface, reference, batch, "kl_input_ids", "kl_prompt_mask"),
              ones);
        }
      }
      ModelContext model = policy.context();
      interface->train_step(model, batch, call);
    }
  });
  return progress;
}

/// What is measured is the divergence, so that it shrinks.
Progress distil(const Learner& learner, uint64_t seed, Signal signal) {
  Progress progress;
  const bool is_sampled = std::string(learner.interface) == "distill";
  comm::run_as_threads(1, [&](comm::Communicator& group) {
    Role student(false, seed, group), teacher(false, seed + (signal == Signal::kGiven), group);
    // A model of random weights is nearly indifferent: there would be little to be told.
    if (signal == Signal::kGiven) {
      const at::NoGradGuard no_grad;
      teacher.decoder().parameters().values().mul_(1.5);
    }
    const std::unique_ptr<Interface> interface = make(learner);
    const Learner generation{"", "generate", {{"group_size", "8"}, {"max_new_tokens", "4"}}};
    const std::unique_ptr<Interface> generate = make(generation);
    CallContext call;
    call.seed = seed;
    for (call.step = 1; call.step <= kDistilSteps; ++call.step) {
      Lots lots(seed, call.step);
      std::vector<int64_t> ids;
      data::SequenceBatch prompts;
      for (int i = 0; i < kPrompts; ++i) {
        prompts.meta.ids.push_back({static_cast<uint64_t>(call.step * kPrompts + i)});
        for (const int64_t id : prompt_of(lots)) ids.push_back(id);
      }
      prompts.set("packed_prompts", at::tensor(ids, at::kLong),
                  data::NestedLengths::of_single(std::vector<int32_t>(kPrompts, kPromptLength)));
      ModelContext of_student = student.context(&teacher.decoder()), of_teacher = teacher.context();
      data::SequenceBatch answers = generate->generate(of_student, prompts, call);
      const data::SequenceBatch said = interface->inference(of_teacher, answers, call);
      const char* key = is_sampled ? "packed_logprobs" : "teacher_hidden";
      answers.set(is_sampled ? "teacher_logprobs" : key, said.at(key), said.meta.at(key).lengths);
      const metrics::Statistics record = interface->train_step(of_student, answers, call).front();
      const double divergence = record.value(is_sampled ? "reverse_kl" : "divergence").value();
      if (call.step <= kDistilSteps / 10) progress.first.add(-divergence);
      if (call.step > kDistilSteps - kDistilSteps / 10) progress.last.add(-divergence);
    }
  });
  return progress;
}

const std::vector<Learner>& preferences() {
  static const std::vector<Learner> kAll = {
      {"dpo", "dpo", {}},
      {"cdpo", "dpo", {{"label_smoothing", "0.1"}}},
      {"robust_dpo", "dpo", {{"loss", "robust_dpo"}, {"label_smoothing", "0.1"}}},
      {"ipo", "dpo", {{"loss", "ipo"}, {"length_normalization", "mean"}}},
      {"hinge", "dpo", {{"loss", "hinge"}}},
      {"rpo", "dpo", {{"nll_coef", "1"}}},
      {"simpo", "dpo", {{"loss", "simpo"}, {"beta", "2"}, {"gamma", "0.5"}}},
      {"cpo", "dpo", {{"loss", "cpo"}, {"nll_coef", "1"}}},
      {"orpo", "dpo", {{"loss", "orpo"}, {"nll_coef", "1"}}},
      {"kto", "dpo", {{"loss", "kto"}}},
      {"reward_model", "reward_model", {}},
      {"reward_model, centred", "reward_model", {{"centering_coef", "0.01"}}}};
  return kAll;
}

const std::vector<Learner>& distillations() {
  static const std::vector<Learner> kAll = {
      {"distill", "distill", {}},
      {"distill, discounted", "distill", {{"discount", "0.5"}}},
      {"distill_full, forward_kl", "distill_full", {{"divergence", "forward_kl"}}},
      {"distill_full, reverse_kl", "distill_full", {{"divergence", "reverse_kl"}}},
      {"distill_full, jsd", "distill_full", {{"divergence", "jsd"}}}};
  return kAll;
}

/// A student that is its teacher is moved by what AdamW makes of rounding, and comes back: a few
/// thousandths of a nat, where a teacher changes hundredths to tenths.
constexpr double kLeastNats = 0.01;

/// Whether it has learned at least so much in each seed; prints how much.
template <class Train>
bool is_seen(const Learner& learner, const Train& train, Signal signal, double least = 0) {
  bool is_seen_in_each = true;
  std::printf("| %s%s |", learner.name, signal == Signal::kGiven ? "" : ", without a signal");
  for (const uint64_t seed : kSeeds) {
    const Progress got = train(learner, seed, signal);
    is_seen_in_each &= got.gain() >= kErrors && got.last.mean() - got.first.mean() >= least;
    std::printf(" %.3f -> %.3f (%.1f)%s", got.first.mean(), got.last.mean(), got.gain(),
                seed == 3 ? " |\n" : ",");
  }
  std::fflush(stdout);
  return is_seen_in_each;
}

TEST(LearningOfPreferences, IsSeenWithEachLossInEachSeed) {
  for (const Learner& learner : preferences()) {
    EXPECT_TRUE(is_seen(learner, train_on_preferences, Signal::kGiven)) << learner.name;
  }
}

TEST(LearningOfPreferences, IsNotSeenWhereTheAnswersAreEqualOrLabelledByLot) {
  for (const Learner& learner : preferences()) {
    EXPECT_FALSE(is_seen(learner, train_on_preferences, Signal::kRemoved)) << learner.name;
  }
}

TEST(LearningOfATeacher, IsSeenWithEachDivergenceInEachSeed) {
  for (const Learner& learner : distillations()) {
    EXPECT_TRUE(is_seen(learner, distil, Signal::kGiven, kLeastNats)) << learner.name;
  }
}

TEST(LearningOfATeacher, IsNotSeenWhereTheTeacherIsTheStudent) {
  for (const Learner& learner : distillations()) {
    EXPECT_FALSE(is_seen(learner, distil, Signal::kRemoved, kLeastNats)) << learner.name;
  }
}

}  // namespace
}  // namespace orrery::algorithm
