// Packing of generated answers and the sampling options of the recorded reference.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "golden_file.h"
#include "orrery/model/generator.h"

namespace orrery::model {
namespace {

/// The reference's rows, padded on the right, as sequences: an answer ends with the first end
/// token.
GenerationResult result_of(const golden::Case& c) {
  const auto tokens = golden::integers(c["gen_tokens"]);
  const auto log_probs = golden::floats(c["logprobs"]);
  const int64_t rows = c["n_rows"], steps = c["n_steps"];
  const auto eos = golden::integers(c["eos_token_id"]);  // one or a list
  GenerationResult result;
  for (int64_t row = 0; row < rows; ++row) {
    GeneratedSequence sequence;
    for (int64_t i = row * steps; i < (row + 1) * steps; ++i) {
      sequence.tokens.push_back(tokens.at(size_t(i)));
      sequence.log_probs.push_back(log_probs.at(size_t(i)));
      sequence.sampling_log_probs.push_back(log_probs.at(size_t(i)) / 2);
      if (std::find(eos.begin(), eos.end(), tokens.at(size_t(i))) != eos.end()) {
        sequence.finish = Finish::kStop;
        break;
      }
    }
    result.sequences.push_back(sequence);
  }
  return result;
}

template <class T>
std::vector<T> values_of(const at::Tensor& tensor) {
  return {tensor.data_ptr<T>(), tensor.data_ptr<T>() + tensor.numel()};
}

TEST(GenerationGolden, PacksPromptsAndAnswers) {
  golden::for_each_case("generation_pack.json", "cases", [](const golden::Case& c) {
    const int64_t group_size = c["group_size"];
    const PackedTokens prompts = pack_tokens(at::tensor(golden::integers(c["prompts"]), at::kLong),
                                             golden::int32s(c["prompt_lens"]));

    const PackedGeneration packed = pack_generation(prompts, result_of(c), group_size, at::kFloat);

    const auto& data = c.expect().at("data");
    EXPECT_EQ(values_of<int64_t>(packed.packed_input_ids),
              golden::integers(data.at("packed_input_ids")));
    golden::expect_close(values_of<float>(packed.packed_logprobs), data.at("packed_logprobs"),
                         "packed_logprobs");
    EXPECT_TRUE(at::allclose(packed.sampling_logprobs, packed.packed_logprobs / 2, 0, 0, true));
    const auto flags = [](const at::Tensor& t) { return values_of<uint8_t>(t.to(at::kByte)); };
    EXPECT_EQ(flags(packed.prompt_mask), golden::bytes(data.at("prompt_mask")));
    EXPECT_EQ(flags(packed.seq_no_eos_mask), golden::bytes(data.at("seq_no_eos_mask")));
    std::vector<int32_t> lengths;
    for (const auto& sample : c.expect().at("seqlens").at("packed_input_ids")) {
      for (const auto& length : sample) lengths.push_back(length);
    }
    EXPECT_EQ(packed.lengths, lengths);
  });
}

TEST(GenerationGolden, ChecksTheSamplingOptions) {
  golden::for_each_case("sampling_mask.json", "options", [](const golden::Case& c) {
    GenerationOptions options;
    const auto& given = c["options"];
    const auto is_given = [&](const char* name) {
      return given.contains(name) && !given.at(name).is_null();
    };
    if (is_given("temperature")) options.temperature = given.at("temperature");
    if (is_given("top_p")) options.top_p = given.at("top_p");
    if (is_given("top_k")) options.top_k = given.at("top_k");
    if (is_given("min_new_tokens")) options.min_new_tokens = given.at("min_new_tokens");
    if (is_given("greedy")) options.greedy = given.at("greedy");
    if (is_given("n")) options.group_size = given.at("n");
    const auto problems = options.problems();
    golden::throw_problem(problems.empty() ? "" : "these options cannot be");
    // max_new_tokens differs on purpose: 256 here, 16,384 there.
    EXPECT_EQ(options.top_k, c.expect().at("top_k").get<int64_t>());
    EXPECT_EQ(options.top_p, c.expect().at("top_p").get<double>());
    EXPECT_EQ(options.min_new_tokens, c.expect().at("min_new_tokens").get<int64_t>());
    EXPECT_EQ(options.group_size, c.expect().at("n").get<int64_t>());
    EXPECT_EQ(options.greedy || options.temperature == 0, c.expect().at("greedy").get<bool>());
  });
}

}  // namespace
}  // namespace orrery::model
