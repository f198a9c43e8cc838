// The supervised loss against the recorded reference.
#include <cmath>

#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/sft.h"

namespace orrery::algorithm {
namespace {

TEST(SftGolden, LossAndGradientAreThoseOfTheReference) {
  golden::for_each_case(
      "dpo_rw_sft_loss.json", "sft",
      [](const golden::Case& c) {
        const std::vector<int32_t> lengths = golden::int32s(c["seqlens"]);
        const at::Tensor logits =
            float_tensor(c["logits"]).view({-1, c["vocab"].get<int64_t>()}).requires_grad_(true);
        const NextTokens next = next_tokens(logits, golden::integers(c["input_ids"]), lengths);

        const parallel::LossResult result =
            sft_loss(next.log_probs, bool_tensor(c["prompt_mask"]), lengths);
        const double tokens = *result.statistics.value("n_valid_tokens");

        if (c.choice == golden::Quirk::kOurs) {
          EXPECT_TRUE(std::isfinite(result.loss_sum.item<double>()));
          EXPECT_TRUE(std::isfinite(result.statistics.value("ppl").value_or(0)));
          return;
        }
        const at::Tensor mean = result.loss_sum / tokens;
        mean.backward();
        expect_near(mean, nlohmann::json::array({c.expect()["loss"]}), "loss", 3);
        expect_near(logits.grad(), c.expect()["grad_logits"], "gradient", 3);
        EXPECT_NEAR(*result.statistics.value("ppl"),
                    golden::to_double(c.expect()["stats"]["ppl/avg"]),
                    1e-4 * golden::to_double(c.expect()["stats"]["ppl/avg"]));
      },
      {.quirks = {{"nan-perplexity-or-loss",
                   {golden::Quirk::kOurs,
                    "a sequence without an answer is left out of the perplexity"}}},
       .left_out = {},
       .leave_out_if = {}});
}

}  // namespace
}  // namespace orrery::algorithm
