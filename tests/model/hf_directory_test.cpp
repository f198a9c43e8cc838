// What is written is what was there; what does not fit is named. Numbers against transformers:
// hf_parity_test.cpp.
#include "orrery/model/hf_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "orrery/base/error.h"
#include "orrery/model/safetensors.h"
#include "reference_decoder.h"
#include "temporary_directory.h"

namespace orrery::model {
namespace {

TEST(HfDirectory, GivesBackTheSameModelBitForBit) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const char* kind : kKinds) {
      SCOPED_TRACE(kind);
      const TemporaryDirectory directory;
      const Decoder original = small_decoder(kind, dtype);

      save_hf(directory.path() / "model", original);
      const Decoder loaded = load_hf(directory.path() / "model", dtype);

      EXPECT_EQ(loaded.architecture(), original.architecture());
      EXPECT_TRUE(at::equal(loaded.parameters().values(), original.parameters().values()));
      EXPECT_FALSE(std::filesystem::exists(directory.path() / "model.writing"));
    }
  }
}

TEST(HfDirectory, ReplacesAnEarlierExport) {
  const TemporaryDirectory directory;
  save_hf(directory.path() / "model", small_decoder("llama", at::kFloat));
  directory.write("model/left_over.txt", "old");

  save_hf(directory.path() / "model", small_decoder("qwen2", at::kFloat));

  EXPECT_EQ(load_hf(directory.path() / "model").architecture().family, Family::kQwen2);
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "model" / "left_over.txt"));
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "model.replaced"));
}

TEST(HfDirectory, WritesTheKeysThatTransformersReads) {
  const TemporaryDirectory directory;
  Architecture a = small_architecture("mistral-window");
  a.eos_tokens = {3, 4};
  a.bos_token = 1;
  save_hf(directory.path() / "model", Decoder(a, at::kFloat));

  const auto config = nlohmann::json::parse(directory.read("model/config.json"));
  const auto generation = nlohmann::json::parse(directory.read("model/generation_config.json"));

  EXPECT_EQ(config["architectures"], nlohmann::json::array({"MistralForCausalLM"}));
  EXPECT_EQ(config["model_type"], "mistral");
  EXPECT_EQ(config["sliding_window"], 5);
  EXPECT_EQ(config["num_key_value_heads"], 2);
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_EQ(generation["eos_token_id"], nlohmann::json::array({3, 4}));
  EXPECT_EQ(generation["bos_token_id"], 1);
}

TEST(HfDirectory, RefusesADirectoryThatCannotBeWritten) {
  const TemporaryDirectory directory;
  directory.write("file", "no directory");

  EXPECT_THROW(save_hf(directory.path() / "file" / "model", small_decoder("llama", at::kFloat)),
               CheckpointError);
}

class Tampered : public testing::Test {
 protected:
  /// Loads after the tensors of a good export were changed.
  template <class Change>
  std::string message_after(Change&& change) {
    const TemporaryDirectory directory;
    const Decoder decoder = small_decoder("llama-tied", at::kFloat);
    save_hf(directory.path() / "model", decoder);
    std::vector<NamedTensor> tensors;
    for (size_t i = 0; i < decoder.parameters().table().parameters.size(); ++i) {
      tensors.push_back(
          {decoder.parameters().table().parameters[i].name, decoder.parameters().leaf(i).detach()});
    }
    change(tensors);
    write_safetensors(directory.path() / "model" / "model.safetensors", tensors);
    try {
      load_hf(directory.path() / "model");
    } catch (const CheckpointError& error) {
      return error.what();
    }
    return "no error";
  }
};

TEST_F(Tampered, WeightsThatAreNotFiniteAreRefusedByName) {
  for (const float broken : {NAN, INFINITY, -INFINITY}) {
    const std::string text = message_after([&](auto& tensors) {
      tensors[3].values = tensors[3].values.clone();
      tensors[3].values.view(-1)[5].fill_(broken);
    });
    EXPECT_NE(
        text.find(small_decoder("llama-tied", at::kFloat).parameters().table().parameters[3].name),
        std::string::npos)
        << text;
    EXPECT_NE(text.find("are not finite"), std::string::npos) << text;
  }
}

TEST_F(Tampered, TensorsAreNamed) {
  const auto missing = message_after([](auto& t) { t.pop_back(); });
  const auto surplus = message_after([](auto& t) { t.push_back({"extra", at::ones({1})}); });
  const auto misshaped = message_after([](auto& t) { t.back().values = at::ones({25}); });
  const auto redundant = message_after([](auto& t) {
    t.push_back({"lm_head.weight", t.front().values});
    t.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", at::ones({4})});
  });

  EXPECT_NE(missing.find("without model.norm.weight"), std::string::npos) << missing;
  EXPECT_NE(surplus.find("also extra"), std::string::npos) << surplus;
  EXPECT_NE(misshaped.find("model.norm.weight: shape"), std::string::npos) << misshaped;
  EXPECT_EQ(redundant, "no error");
}

TEST(HfDirectory, RefusesAnotherArchitectureThanTheDecoderHas) {
  const TemporaryDirectory directory;
  save_hf(directory.path() / "model", small_decoder("llama", at::kFloat));
  Decoder other = small_decoder("llama-tied", at::kFloat);

  EXPECT_THROW(load_hf_parameters(directory.path() / "model", other), CheckpointError);
  EXPECT_THROW(load_hf(directory.path() / "absent"), ConfigError);
}

}  // namespace
}  // namespace orrery::model
