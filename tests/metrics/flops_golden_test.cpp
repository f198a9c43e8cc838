// Every case of golden flops.json, exact to the last digit.
#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/metrics/flops.h"

namespace orrery::metrics {
namespace {

using Lengths = std::vector<int64_t>;
using nlohmann::json;

FlopsShape shape_of(const json& model) {
  return {.n_layers = model["n_layers"],
          .hidden_size = model["hidden_dim"],
          .intermediate_size = model["intermediate_dim"],
          .vocab_size = model["vocab_size"]};
}

TEST(FlopsGolden, Forward) {
  golden::for_each_case(
      "flops.json", "forward",
      [](const golden::Case& c) {
        const Flops flops = forward_flops(shape_of(c["model"]), c["seqlens"].get<Lengths>());
        EXPECT_EQ(flops_text(flops), c["expect"]["flops"].get<std::string>());
      },
      {.left_out = {
           {"err_batch_size", "the number of sequences is not an argument beside their lengths"}}});
}

TEST(FlopsGolden, Train) {
  golden::for_each_case("flops.json", "train", [](const golden::Case& c) {
    const Flops flops = train_flops(shape_of(c["model"]), c["seqlens"].get<Lengths>(),
                                    c["checkpoint_activations_factor"].get<int64_t>());
    EXPECT_EQ(flops_text(flops), c["expect"]["flops"].get<std::string>());
  });
}

TEST(FlopsGolden, Generate) {
  golden::for_each_case("flops.json", "generate", [](const golden::Case& c) {
    const Flops flops = generate_flops(shape_of(c["model"]), c["prompt_lens"].get<Lengths>(),
                                       c["gen_len"].get<int64_t>());
    EXPECT_EQ(flops_text(flops), c["expect"]["flops"].get<std::string>());
  });
}

/// Total length of each sample under the key.
Lengths sample_lengths(const json& seqlens, const std::string& key) {
  Lengths lengths;
  for (const json& entry : seqlens) {
    if (entry[0] != key) continue;
    for (const json& sample : entry[1]) {
      const Lengths members = sample.get<Lengths>();
      lengths.push_back(std::accumulate(members.begin(), members.end(), int64_t{0}));
    }
  }
  return lengths;
}

TEST(FlopsGolden, Counter) {
  golden::for_each_case("flops.json", "counter", [](const golden::Case& c) {
    FlopsCounter counter;
    for (const json& call : c["calls"]) {
      const FlopsShape shape = shape_of(call["model"]);
      const std::string type = call["interface_type"];
      if (type == "generate") {
        counter.add_generate(shape, sample_lengths(call["seqlens"], "packed_prompts"),
                             call["min_new_tokens"].get<int64_t>());
      } else if (type == "train_step") {
        counter.add_train(shape, sample_lengths(call["seqlens"], "packed_input_ids"));
      } else if (type == "inference") {
        counter.add_inference(shape, sample_lengths(call["seqlens"], "packed_input_ids"));
      }
      EXPECT_EQ(flops_text(counter.total()), call["flops_so_far"].get<std::string>());
    }
    EXPECT_EQ(flops_text(counter.total()), c["expect"]["flops"].get<std::string>());
    counter.clear();
    EXPECT_EQ(flops_text(counter.total()), "0");
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

}  // namespace
}  // namespace orrery::metrics
