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
  const int64_t rows = c["n_rows"], steps = c["n_steps"], eos = c["eos_token_id"];
  GenerationResult result;
  for (int64_t row = 0; row < rows; ++row) {
    GeneratedSequence sequence;
    for (int64_t i = row * steps; i < (row + 1) * steps; ++i) {
      sequence.tokens.push_back(tokens[size_t(i)]);
      sequence.log_probs.push_back(log_probs[size_t(i)]);
      sequence.sampling_log_probs.push_back(log_probs[size_t(i)] / 2);
      if (tokens[size_t(i)] == eos) {
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

    const auto& data = c.expect()["data"];
    EXPECT_EQ(values_of<int64_t>(packed.packed_input_ids),
              golden::integers(data["packed_input_ids"]));
    EXPECT_EQ(values_of<float>(packed.packed_logprobs), golden::floats(data["packed_logprobs"]));
    EXPECT_TRUE(packed.sampling_logprobs.equal(packed.packed_logprobs / 2));
    const auto flags = [](const at::Tensor& t) { return values_of<uint8_t>(t.to(at::kByte)); };
    EXPECT_EQ(flags(packed.prompt_mask), golden::bytes(data["prompt_mask"]));
    EXPECT_EQ(flags(packed.seq_no_eos_mask), golden::bytes(data["seq_no_eos_mask"]));
    std::vector<int32_t> lengths;
    for (const auto& sample : c.expect()["seqlens"]["packed_input_ids"]) {
      for (const auto& length : sample) lengths.push_back(length);
    }
    EXPECT_EQ(packed.lengths, lengths);
  });
}

TEST(GenerationGolden, ChecksTheSamplingOptions) {
  golden::for_each_case("sampling_mask.json", "options", [](const golden::Case& c) {
    GenerationOptions options;
    const auto& given = c["options"];
    if (given.contains("temperature")) options.temperature = given["temperature"];
    if (given.contains("top_p")) options.top_p = given["top_p"];
    if (given.contains("top_k")) options.top_k = given["top_k"];
    EXPECT_EQ(!options.problems().empty(), c.expects_error());
    if (c.expects_error()) return;
    // max_new_tokens differs on purpose: 256 here, 16,384 there.
    EXPECT_EQ(options.top_k, c.expect()["top_k"].get<int64_t>());
    EXPECT_EQ(options.top_p, c.expect()["top_p"].get<double>());
    EXPECT_EQ(options.min_new_tokens, c.expect()["min_new_tokens"].get<int64_t>());
    EXPECT_EQ(options.group_size, c.expect()["n"].get<int64_t>());
    EXPECT_EQ(options.greedy || options.temperature == 0, c.expect()["greedy"].get<bool>());
  });
}

}  // namespace
}  // namespace orrery::model
