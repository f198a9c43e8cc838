// Masks and decoding steps of the recorded reference.
#include <limits>

#include "golden_file.h"
#include "kernel_references.h"
#include "orrery/kernels/sampling.h"

namespace orrery::kernels {
namespace {

std::vector<std::byte> scratch_for(int64_t vocab) {
  return std::vector<std::byte>(size_t(sampling_scratch_bytes(vocab)));
}

/// The files' tolerance, for sums of many exponentials.
constexpr golden::Tolerance kClose = {.relative = 1e-5, .absolute = 1e-5};

TEST(SamplingGolden, TopKAndTopPRemoveTheSameLogits) {
  golden::for_each_case("sampling_mask.json", "top_k_top_p", [](const golden::Case& c) {
    const LogitFilter filter{
        .top_k = c.value<int64_t>("top_k", 0),
        .top_p = c.value<double>("top_p", 1),
        .order = c["ordered"].get<bool>() ? FilterOrder::kTopKFirst : FilterOrder::kUnion};
    golden::throw_problem(filter_problem(filter));
    const int64_t rows = c["rows"], vocab = c["vocab"];
    auto logits = golden::floats(c["logits"]);
    auto scratch = scratch_for(vocab);
    std::vector<uint8_t> removed;
    std::vector<float> log_probs;
    for (int64_t row = 0; row < rows; ++row) {
      const std::span<float> one(logits.data() + row * vocab, size_t(vocab));

      filter_logits(one, filter, scratch.data());

      for (int64_t t = 0; t < vocab; ++t) {
        removed.push_back(one[size_t(t)] == removed_logit<float>());
        log_probs.push_back(float(log_prob_of<float>(one, t, scratch.data())));
      }
    }
    EXPECT_EQ(removed, golden::bytes(c.expect().at("removed")));
    // What was removed has the lowest float less a normaliser, which may be rounded to -inf.
    auto expected = golden::doubles(c.expect().at("log_probs_after"));
    ASSERT_EQ(log_probs.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      if (expected[i] < -1e38) {
        EXPECT_LT(log_probs[i], -1e38F) << "at " << i;
      } else {
        golden::expect_close(double(log_probs[i]), expected[i], "at " + std::to_string(i), kClose);
      }
    }
  });
}

SamplingRule rule_of(const golden::Case& c, const std::vector<int64_t>& stop_ids) {
  const auto& options = c["options"];
  return {.greedy = options.value("greedy", false),
          .temperature = options.at("temperature"),
          .filter = {.top_k = options.at("top_k"), .top_p = options.at("top_p")},
          .min_new_tokens = options.value("min_new_tokens", int64_t{0}),
          .stop_ids = stop_ids};
}

/// What the quirk asks for is what our order of steps gives as well: a masked logit that the
/// temperature then moved is not marked unless a filter removes it.
const golden::QuirkChoices kQuirks = {
    {"barred-end-token-not-in-mask", {golden::Quirk::kAsReference, ""}}};

TEST(SamplingGolden, DecodingStepsGiveTheSameTokensLogProbsAndMasks) {
  golden::for_each_case(
      "sampling_mask.json", "decoding_step",
      [](const golden::Case& c) {
        const int64_t rows = c["rows"], vocab = c["vocab"];
        const std::vector<int64_t> stop_ids = golden::integers(c["eos_token_id"]);  // one or a list
        const SamplingRule rule = rule_of(c, stop_ids);
        const auto indices = c["generated_idx_is_scalar"].get<bool>()
                                 ? std::vector<int64_t>(size_t(rows), c["generated_idx"])
                                 : golden::integers(c["generated_idx"]);
        const auto unfinished = golden::bytes(c["unfinished"]);
        const auto next_tokens = golden::integers(c.expect().at("next_tokens"));
        const auto log_probs = golden::doubles(c.expect().at("logprob"));
        auto logits = golden::floats(c["logits"]);
        auto scratch = scratch_for(vocab);
        std::vector<uint8_t> mask;
        bool any_masked = false;
        for (size_t row = 0; row < size_t(rows); ++row) {
          const std::span<float> one(logits.data() + row * size_t(vocab), size_t(vocab));

          apply_sampling_rule(one, rule, indices.at(row), scratch.data());

          Draw draw{.token = rule.greedy ? best_token<float>(one)
                                         : golden::integers(c["drawn_tokens"]).at(row)};
          draw.log_prob = log_prob_of<float>(one, draw.token, scratch.data());
          // A finished row is padded; its log-probability is still that of the draw.
          const int64_t pad = c["pad_token_id"];
          EXPECT_EQ(unfinished.at(row) ? draw.token : pad, next_tokens.at(row)) << "row " << row;
          golden::expect_close(double(draw.log_prob), log_probs.at(row),
                               "row " + std::to_string(row), kClose);
          for (const float logit : one) {
            mask.push_back(logit == removed_logit<float>());
            any_masked = any_masked || mask.back();
          }
        }
        EXPECT_EQ(any_masked, c.expect().at("logits_mask") != nullptr);
        if (any_masked && c.expect().at("logits_mask") != nullptr) {
          EXPECT_EQ(mask, golden::bytes(c.expect().at("logits_mask")));
        }
      },
      {.quirks = kQuirks});
}

TEST(SamplingGolden, StandAloneWarpersHaveNoCounterpart) {
  golden::leave_out_section("sampling_mask.json", "warpers",
                            "separate warper objects: the decoding step divides once, in one rule");
}

}  // namespace
}  // namespace orrery::kernels
