// Golden flops.json, exact to the last digit. What a call of the graph costs (section counter) is
// the master's: tests/master/dispatch_golden_test.cpp.
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "flops_text.h"
#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/metrics/flops.h"

namespace orrery::metrics {
namespace {

using Lengths = std::vector<int64_t>;
using nlohmann::json;

FlopsShape shape_of(const json& model) {
  return {.n_layers = model.at("n_layers"),
          .hidden_size = model.at("hidden_dim"),
          .intermediate_size = model.at("intermediate_dim"),
          .vocab_size = model.at("vocab_size")};
}

TEST(FlopsGolden, Forward) {
  golden::for_each_case(
      "flops.json", "forward",
      [](const golden::Case& c) {
        const Flops flops = forward_flops(shape_of(c["model"]), c["seqlens"].get<Lengths>());
        EXPECT_EQ(flops_text(flops), c.expect().at("flops").get<std::string>());
      },
      {.leave_out_if = [](const golden::Case& c) -> std::string {
        const bool is_one = c["batch_size"].get<size_t>() == c["seqlens"].size();
        return is_one ? "" : "the number of sequences is not an argument beside their lengths";
      }});
}

TEST(FlopsGolden, Train) {
  golden::for_each_case("flops.json", "train", [](const golden::Case& c) {
    // The factor is 3, and 4 where all layers are recomputed.
    const FlopsShape shape = shape_of(c["model"]);
    const int64_t n_recomputed =
        (c.value("checkpoint_activations_factor", int64_t{4}) - 3) * shape.n_layers;
    const Flops flops = train_flops(shape, c["seqlens"].get<Lengths>(), n_recomputed);
    EXPECT_EQ(flops_text(flops), c.expect().at("flops").get<std::string>());
  });
}

TEST(FlopsGolden, Generate) {
  golden::for_each_case("flops.json", "generate", [](const golden::Case& c) {
    const Flops flops = generate_flops(shape_of(c["model"]), c["prompt_lens"].get<Lengths>(),
                                       c["gen_len"].get<int64_t>());
    EXPECT_EQ(flops_text(flops), c.expect().at("flops").get<std::string>());
  });
}

TEST(Flops, PassTheRangeOf64Bits) {
  const FlopsShape shape{
      .n_layers = 100, .hidden_size = 16384, .intermediate_size = 65536, .vocab_size = 200000};
  const Lengths lengths(10000, 131072);

  // Per sequence: 131072 * (100 * (8 h^2 + 6 h i) + 4 v h) + 100 * 4 * 131072^2 * h; computed by
  // hand with arbitrary precision.
  EXPECT_EQ(flops_text(forward_flops(shape, lengths)), "2268979682869248000000");
}

TEST(Flops, RefuseNegativeSizes) {
  EXPECT_THROW(forward_flops({.n_layers = -1}, {}), ConfigError);
  EXPECT_THROW(generate_flops({}, Lengths{1}, -1), ConfigError);
}

TEST(RecomputeFlops, AreTheLayersShareOfAForwardPass) {
  const FlopsShape shape{
      .n_layers = 4, .hidden_size = 8, .intermediate_size = 16, .vocab_size = 32};
  const Lengths lengths = {3, 5};
  const Flops forward = forward_flops(shape, lengths);

  EXPECT_EQ(flops_text(train_flops(shape, lengths, 0)), flops_text(3 * forward));
  EXPECT_EQ(flops_text(train_flops(shape, lengths, 1)), flops_text(3 * forward + forward / 4));
  EXPECT_EQ(flops_text(train_flops(shape, lengths, 4)), flops_text(4 * forward));
}

}  // namespace
}  // namespace orrery::metrics
