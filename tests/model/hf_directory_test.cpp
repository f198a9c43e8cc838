// What is written is what was there; what does not fit is named. Numbers against transformers:
// hf_parity_test.cpp.
#include "orrery/model/hf_directory.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "orrery/base/error.h"
#include "orrery/model/hf_check.h"
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

TEST(HfDirectory, KnowsTheTokensThatEndedWhatItLearnedFrom) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory.path() / "source");
  directory.write("source/generation_config.json", R"({"eos_token_id": [3, 4], "top_k": 7})");
  Architecture a = small_architecture("llama");
  a.eos_tokens = {3, 4};
  const Decoder decoder(a, at::kFloat);
  const auto written = [&](const char* file) {
    return nlohmann::json::parse(directory.read(std::string("model/") + file));
  };
  HfExport options{.companions_from = directory.path() / "source", .end_tokens = {4}};

  save_hf(directory.path() / "model", decoder, options);
  EXPECT_EQ(directory.read("model/generation_config.json"),
            directory.read("source/generation_config.json"));
  EXPECT_EQ(written("config.json")["eos_token_id"], nlohmann::json::array({3, 4}));

  options.end_tokens = {6, 4};
  save_hf(directory.path() / "model", decoder, options);
  for (const char* file : {"config.json", "generation_config.json"}) {
    EXPECT_EQ(written(file)["eos_token_id"], nlohmann::json::array({3, 4, 6})) << file;
  }
  EXPECT_EQ(written("generation_config.json")["top_k"], 7);
  EXPECT_EQ(load_hf(directory.path() / "model").architecture().eos_tokens,
            (std::vector<int64_t>{3, 4, 6}));
}

TEST(HfDirectory, NamesGenerationSettingsThatAreDamaged) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory.path() / "source");
  directory.write("source/generation_config.json", R"({"eos_token_id": [3,)");
  try {
    save_hf(directory.path() / "model", small_decoder("llama", at::kFloat),
            {.companions_from = directory.path() / "source", .end_tokens = {6}});
    FAIL();
  } catch (const OutputError& error) {
    EXPECT_NE(std::string(error.what()).find("generation_config.json"), std::string::npos)
        << error.what();
  }
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "model"));
}

TEST(HfDirectory, RefusesADirectoryThatCannotBeWritten) {
  const TemporaryDirectory directory;
  directory.write("file", "no directory");

  EXPECT_THROW(save_hf(directory.path() / "file" / "model", small_decoder("llama", at::kFloat)),
               OutputError);
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
    } catch (const Error& error) {
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

TEST(UnusedInHfDirectory, IsSaid) {
  const TemporaryDirectory directory;
  const std::filesystem::path model = directory.path() / "model";
  const Decoder decoder = small_decoder("llama-tied", at::kFloat);
  save_hf(model, decoder);
  const Architecture a = decoder.architecture();
  EXPECT_TRUE(unused_in_hf_directory(model, a).empty());

  for (const char* name : {"model.safetensors.index.json", "adapter_config.json",
                           "adapter_model.safetensors", "pytorch_model-00001-of-00002.bin"}) {
    directory.write(std::string("model/") + name, "{}");
  }
  const std::vector<std::string> remarks = unused_in_hf_directory(model, a);

  ASSERT_EQ(remarks.size(), 3u);
  EXPECT_NE(remarks[0].find("beside model.safetensors.index.json"), std::string::npos);
  EXPECT_NE(remarks[1].find("(adapter_config.json, adapter_model.safetensors)"), std::string::npos);
  EXPECT_NE(remarks[2].find("pytorch_model-00001-of-00002.bin"), std::string::npos);
}

TEST(UnusedInHfDirectory, AHeadOfItsOwnBesideATiedOne) {
  const TemporaryDirectory directory;
  const std::filesystem::path model = directory.path() / "model";
  const Decoder decoder = small_decoder("llama-tied", at::kFloat);
  save_hf(model, decoder);
  const auto remarks_with = [&](const at::Tensor& head) {
    std::vector<NamedTensor> tensors;
    for (size_t i = 0; i < decoder.parameters().table().parameters.size(); ++i) {
      tensors.push_back(
          {decoder.parameters().table().parameters[i].name, decoder.parameters().leaf(i).detach()});
    }
    tensors.push_back({"lm_head.weight", head});
    write_safetensors(model / "model.safetensors", tensors);
    return unused_in_hf_directory(model, decoder.architecture());
  };
  const at::Tensor embedding = decoder.parameters().leaf("model.embed_tokens.weight").detach();

  EXPECT_TRUE(remarks_with(embedding.clone()).empty()) << "a copy is no head of its own";
  EXPECT_EQ(remarks_with(embedding.to(at::kDouble)).size(), 1u);
  at::Tensor other = embedding.clone();
  other.view({-1})[other.numel() - 1] += 1;
  ASSERT_EQ(remarks_with(other).size(), 1u);
  EXPECT_NE(remarks_with(other)[0].find("lm_head.weight differs"), std::string::npos);
}

TEST(CheckHfTensors, AShapeOfAnotherConfigIsTheUsersMistake) {
  const TemporaryDirectory directory;
  const std::filesystem::path model = directory.path() / "model";
  save_hf(model, small_decoder("llama", at::kFloat));
  auto config = nlohmann::json::parse(directory.read("model/config.json"));
  config["vocab_size"] = config["vocab_size"].get<int>() + 1;
  directory.write("model/config.json", config.dump());

  try {
    check_hf_tensors(model, Architecture::from_hf_config(model / "config.json"));
    FAIL();
  } catch (const ConfigError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("model.embed_tokens.weight: shape"), std::string::npos) << text;
    EXPECT_NE(text.find("correct its sizes"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace orrery::model
