// What generation records and what training makes of it: the same policy whatever the sampling
// options are, the distribution drawn from beside it, no id without a token.
#include "orrery/algorithm/generation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "model_for_test.h"
#include "orrery/algorithm/evaluation.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/mismatch.h"
#include "orrery/algorithm/ppo_actor.h"
#include "support/thread_communicator.h"

namespace orrery::algorithm {
namespace {

/// Rows of the embedding beyond the tokenizer of bytes.
constexpr int64_t kPadded = data::ByteTokenizer::kVocabSize + 40;

model::Architecture architecture() {
  model::Architecture a = tiny_architecture();
  a.vocab_size = kPadded;
  return a;
}

data::SequenceBatch prompts() {
  data::SequenceBatch batch;
  batch.meta.ids = {{4}, {9}};
  batch.set("packed_prompts", at::tensor({'4', '+', '5', '=', '1', '='}, at::kLong), {{4}, {2}});
  batch.set("answers", at::empty({0}, at::kByte), {{0}, {0}});
  return batch;
}

/// Answers with rewards, as a policy reads them.
data::SequenceBatch rewarded(data::SequenceBatch batch) {
  const data::NestedLengths& tokens = batch.meta.at("packed_input_ids").lengths;
  const auto n = static_cast<int64_t>(tokens.n_sequences());
  batch.set("rewards", at::arange(n, at::kFloat).remainder(3), one_each(tokens));
  return batch;
}

/// A policy on one data rank.
class Policy {
 public:
  explicit Policy(at::ScalarType dtype) : decoder_(architecture(), dtype) {
    decoder_.parameters().initialise(5);
  }

  data::SequenceBatch generate(const GenerateOptions& options) {
    return Generate(options).generate(context(nullptr), prompts(), {});
  }

  /// One step of training; the statistics of each minibatch.
  std::vector<metrics::Statistics> train(const data::SequenceBatch& batch,
                                         const ActorOptions& options) {
    std::vector<metrics::Statistics> records;
    comm::run_as_threads(1, [&](comm::Communicator& group) {
      parallel::OptimizerOptions optimizer;
      optimizer.schedule.max_lr = 1e-2;
      parallel::TrainEngine engine(decoder_, optimizer, group);
      model_ = {.decoder = &decoder_,
                .engine = &engine,
                .tokenizer = &tokenizer_,
                .data_group = &group,
                .is_dp_head = true};
      CallContext call;
      call.call = "c";
      call.step = 1;
      call.limits = {.max_tokens = 16, .min_parts = 1};
      records = PpoActor(options).train_step(model_, batch, call);
    });
    return records;
  }

  ModelContext& context(parallel::TrainEngine* engine) {
    model_ = {.decoder = &decoder_, .engine = engine, .tokenizer = &tokenizer_};
    return model_;
  }
  model::Decoder& decoder() { return decoder_; }

 private:
  model::Decoder decoder_;
  data::ByteTokenizer tokenizer_;
  ModelContext model_;
};

std::vector<GenerateOptions> every_option() {
  const GenerateOptions plain{.group_size = 3, .max_new_tokens = 9};
  std::vector<GenerateOptions> all{plain};
  const auto with = [&](auto change) {
    all.push_back(plain);
    change(all.back());
  };
  with([](auto& o) { o.temperature = 0.6; });
  with([](auto& o) { o.top_k = 5; });
  with([](auto& o) { o.top_p = 0.6; });
  with([](auto& o) { o.min_new_tokens = 4; });
  with([](auto& o) { o.greedy = true; });
  with([](auto& o) { o.greedy = true, o.temperature = 1.5, o.min_new_tokens = 9; });
  with([](auto& o) { o.top_k = 50, o.top_p = 0.9, o.temperature = 1.5, o.stop_at_eos = false; });
  with([](auto& o) { o.max_batch = 2; });
  return all;
}

TEST(FirstStep, HasRatioOneUnderEverySamplingOption) {
  for (const auto& [dtype, tolerance] : {std::pair{at::kDouble, 1e-9}, {at::kFloat, 1e-4}}) {
    const std::vector<GenerateOptions> options = every_option();
    for (size_t i = 0; i < options.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "option " << i << ", " << dtype);
      Policy policy(dtype);
      ActorOptions actor;
      actor.temperature = options[i].temperature;

      const std::vector<metrics::Statistics> records =
          policy.train(rewarded(policy.generate(options[i])), actor);

      ASSERT_EQ(records.size(), 1u);
      const auto value = [&](const char* name) { return records[0].value(name).value(); };
      EXPECT_NEAR(value("importance_weight_min"), 1, tolerance);
      EXPECT_NEAR(value("importance_weight_max"), 1, tolerance);
      EXPECT_NEAR(value("approx_kl"), 0, tolerance);
      EXPECT_LT(value("mismatch/abs_max"), tolerance);
      EXPECT_LE(value("mismatch/abs_mean"), value("mismatch/abs_max"));
      EXPECT_NEAR(value("mismatch/k1"), 0, tolerance);
      EXPECT_NEAR(value("mismatch/k3"), 0, tolerance);
    }
  }
}

TEST(FirstStep, MeasuresTheEntropyOfThePolicyOverItsWholeVocabulary) {
  Policy policy(at::kDouble);
  const data::SequenceBatch batch =
      rewarded(policy.generate({.group_size = 3, .max_new_tokens = 9, .top_k = 5}));
  const data::KeyMetadata& tokens = batch.meta.at("packed_input_ids");
  const at::Tensor mask = action_mask(batch.at("prompt_mask"), tokens.lengths.flat());
  const at::NoGradGuard no_grad;
  const at::Tensor logits = policy.decoder().logits(
      model::pack_tokens(batch.at("packed_input_ids"), tokens.lengths.flat()));
  const at::Tensor log_p = (logits / 0.7).log_softmax(-1);
  const at::Tensor of_tokens = -(log_p.exp() * log_p).sum(-1);
  const at::Tensor expected = without_last(of_tokens, tokens.lengths.flat()).masked_select(mask);
  ActorOptions actor;
  actor.temperature = 0.7;
  actor.n_minibatches = 2;

  const at::AutoGradMode gradients(true);
  const std::vector<metrics::Statistics> records = policy.train(batch, actor);

  ASSERT_EQ(records.size(), 2u);
  ActorOptions whole = actor;
  whole.n_minibatches = 1;
  Policy same(at::kDouble);
  EXPECT_NEAR(same.train(batch, whole)[0].value("entropy").value(), expected.mean().item<double>(),
              1e-9);
  EXPECT_TRUE(records[0].find("mismatch/k1") != nullptr);
  EXPECT_EQ(records[1].find("mismatch/k1"), nullptr) << "after an update it is the update";
  EXPECT_TRUE(records[1].find("entropy") != nullptr);
}

TEST(Mismatch, IsWhatItsDefinitionsSay) {
  metrics::Statistics statistics;
  const at::Tensor trained = at::tensor({-1.0, -2.0, -3.0, -9.0}, at::kDouble);
  const at::Tensor generated = at::tensor({-1.5, -1.0, -3.0, 0.0}, at::kDouble);
  const at::Tensor mask = at::tensor({1, 1, 1, 0}, at::kInt).to(at::kBool);

  record_mismatch(statistics, trained, generated, mask, {2, 2});

  EXPECT_NEAR(statistics.value("mismatch/abs_mean").value(), 0.5, 1e-12);
  EXPECT_NEAR(statistics.value("mismatch/abs_max").value(), 1, 1e-12);
  EXPECT_NEAR(statistics.value("mismatch/k1").value(), 0.5 / 3, 1e-12);
  EXPECT_NEAR(statistics.value("mismatch/k3").value(),
              ((std::exp(0.5) - 1.5) + (std::exp(-1.0) - 0.0)) / 3, 1e-12);
}

TEST(SamplingCorrection, MultipliesTheLossOfATokenByTheCappedWeight) {
  Policy policy(at::kDouble);
  data::SequenceBatch batch = rewarded(policy.generate({.group_size = 3, .max_new_tokens = 9}));
  const data::NestedLengths actions = batch.meta.at("packed_logprobs").lengths;
  const auto loss = [&](double weight, double cap) {
    batch.set("sampling_logprobs", batch.at("packed_logprobs") - std::log(weight), actions);
    ActorOptions actor;
    actor.sampling_weight_cap = cap;
    Policy own(at::kDouble);
    return own.train(batch, actor)[0].value("actor_loss").value();
  };
  const double plain = loss(0.5, 0);

  ASSERT_NE(plain, 0);
  EXPECT_NEAR(loss(0.5, 1), 0.5 * plain, 1e-12);
  EXPECT_NEAR(loss(4, 2), 2 * plain, 1e-12);
  EXPECT_NEAR(loss(4, 9), 4 * plain, 1e-12);
}

/// As many tokens as the embedding has rows.
class WholeVocabulary final : public data::Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text) const override { return bytes_.encode(text); }
  std::string decode(std::span<const int32_t> ids) const override { return bytes_.decode(ids); }
  std::string_view bytes_of(int32_t id) const override { return bytes_.bytes_of(id); }
  int32_t vocab_size() const override { return kPadded; }
  bool has_token(int32_t id) const override { return id != 7; }
  int32_t bos_id() const override { return bytes_.bos_id(); }
  int32_t eos_id() const override { return bytes_.eos_id(); }
  int32_t pad_id() const override { return bytes_.pad_id(); }

 private:
  data::ByteTokenizer bytes_;
};

TEST(Generation, NeverDrawsAnIdBeyondTheTokenizer) {
  Policy policy(at::kFloat);
  const GenerateOptions options{.group_size = 20, .max_new_tokens = 30};
  ModelContext model = policy.context(nullptr);
  const WholeVocabulary whole;
  model.tokenizer = &whole;
  const at::Tensor unmasked =
      Generate(options).generate(model, prompts(), {}).at("packed_input_ids");

  const data::SequenceBatch batch = policy.generate(options);

  EXPECT_GE(unmasked.max().item<int64_t>(), data::ByteTokenizer::kVocabSize)
      << "nothing was there to be masked";
  EXPECT_FALSE(unmasked.eq(7).any().item<bool>()) << "an id that the vocabulary leaves out";
  EXPECT_LT(batch.at("packed_input_ids").max().item<int64_t>(), data::ByteTokenizer::kVocabSize);
  EXPECT_TRUE(batch.at("sampling_logprobs").ge(batch.at("packed_logprobs")).all().item<bool>());
}

TEST(IdsWithoutToken, AreThoseLeftOutAndThoseBeyond) {
  EXPECT_EQ(data::ids_without_token(data::ByteTokenizer(), 262),
            (std::vector<int64_t>{259, 260, 261}));
  EXPECT_EQ(data::ids_without_token(WholeVocabulary(), kPadded), (std::vector<int64_t>{7}));
}

}  // namespace
}  // namespace orrery::algorithm
