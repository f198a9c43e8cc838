// Generation in training and evaluation stops at every end token of a chat model, not only at the
// first one.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model_for_test.h"
#include "orrery/algorithm/evaluation.h"
#include "orrery/algorithm/generation.h"

namespace orrery::algorithm {
namespace {

/// Bytes, with the end tokens of a test.
class BytesWithEnds final : public data::Tokenizer {
 public:
  explicit BytesWithEnds(std::vector<int32_t> ends) : ends_(std::move(ends)) {}

  std::vector<int32_t> encode(std::string_view text) const override { return bytes_.encode(text); }
  std::string decode(std::span<const int32_t> ids) const override { return bytes_.decode(ids); }
  std::string_view bytes_of(int32_t id) const override { return bytes_.bytes_of(id); }
  int32_t vocab_size() const override { return bytes_.vocab_size(); }
  int32_t bos_id() const override { return bytes_.bos_id(); }
  int32_t eos_id() const override { return ends_.front(); }
  std::vector<int32_t> eos_ids() const override { return ends_; }
  int32_t pad_id() const override { return bytes_.pad_id(); }

 private:
  data::ByteTokenizer bytes_;
  std::vector<int32_t> ends_;
};

class EndTokens : public testing::Test {
 protected:
  EndTokens() : decoder_(architecture(), at::kDouble) { decoder_.parameters().initialise(5); }

  static model::Architecture architecture() {
    model::Architecture a = tiny_architecture();
    a.n_layers = 1;
    return a;
  }

  static data::SequenceBatch prompts() {
    data::SequenceBatch batch;
    batch.meta.ids = {{1}};
    batch.set("packed_prompts", at::tensor({int64_t{'4'}, int64_t{'='}}, at::kLong), {{2}});
    batch.set("answers", at::empty({0}, at::kByte), {{0}});
    return batch;
  }

  /// Six greedy tokens, or fewer if one of `ends` comes.
  data::SequenceBatch generate(const std::vector<int32_t>& ends) {
    const BytesWithEnds tokenizer(ends);
    ModelContext model{.decoder = &decoder_, .tokenizer = &tokenizer};
    return Generate({.max_new_tokens = 6, .greedy = true}).generate(model, prompts(), {});
  }

  double share_without_end(const std::vector<int32_t>& ends) {
    const BytesWithEnds tokenizer(ends);
    ModelContext model{.decoder = &decoder_, .tokenizer = &tokenizer};
    const Evaluation evaluation = evaluate_model(
        model, {.batch = prompts(), .sampling = {.max_new_tokens = 6, .temperature = 0}},
        MatchRule::kExact, {});
    return *metrics::evaluation_statistics(evaluation.records, {}).value("no_eos_ratio");
  }

 private:
  model::Decoder decoder_;
};

TEST_F(EndTokens, AllEndAnAnswer) {
  constexpr int32_t kNever = data::ByteTokenizer::kPad;
  const data::SequenceBatch whole = generate({kNever});
  const at::Tensor ids = whole.at("packed_input_ids");
  ASSERT_EQ(ids.numel(), 8) << "the token that never comes came";
  const auto third = static_cast<int32_t>(ids[4].item<int64_t>());
  int64_t first_place = 2;
  while (ids[first_place].item<int64_t>() != third) ++first_place;

  const data::SequenceBatch cut = generate({kNever, third});

  EXPECT_TRUE(at::equal(cut.at("packed_input_ids"), ids.slice(0, 0, first_place + 1)));
  EXPECT_TRUE(whole.at("seq_no_eos_mask")[0].item<bool>());
  EXPECT_FALSE(cut.at("seq_no_eos_mask")[0].item<bool>());
  EXPECT_EQ(share_without_end({kNever}), 1);
  EXPECT_EQ(share_without_end({kNever, third}), 0);
}

}  // namespace
}  // namespace orrery::algorithm
