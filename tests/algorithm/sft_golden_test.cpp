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
        const double tokens = result.statistics.value("n_valid_tokens").value_or(0);

        if (c.choice == golden::Quirk::kOurs) {
          EXPECT_TRUE(std::isfinite(result.loss_sum.item<double>()));
          EXPECT_TRUE(std::isfinite(result.statistics.value("ppl").value_or(0)));
          return;
        }
        const at::Tensor mean = result.loss_sum / tokens;
        mean.backward();
        expect_near(mean, c.expect().at("loss"), "loss", 3);
        expect_near(logits.grad(), c.expect().at("grad_logits"), "gradient", 3);
        golden::expect_close(result.statistics.value("ppl").value_or(std::nan("")),
                             c.expect().at("stats").at("ppl/avg"), "ppl", {.relative = 1e-4});
      },
      {.quirks = {{"nan-perplexity-or-loss",
                   {golden::Quirk::kOurs,
                    "a sequence without an answer is left out of the perplexity"}}}});
}

}  // namespace
}  // namespace orrery::algorithm
