// `orrery score` and `orrery generate` against the numbers of transformers, alone and on layouts.
// Every model of tests/fixtures/hf, or of the folder that ORRERY_HF_DIR names.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "base/temporary_folder.h"
#include "integration/command.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::vector<fs::path> models() {
  const char* const chosen = std::getenv("ORRERY_HF_DIR");
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(
           chosen != nullptr ? fs::path(chosen) : fs::path(source("tests/fixtures/hf")))) {
    if (fs::exists(entry.path() / "expected.json")) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

json read_json(const fs::path& file) { return json::parse(std::ifstream(file)); }

/// `{"sequences": [...]}` of the `key` of each of `list`.
fs::path write_tokens(const TemporaryFolder& folder, const json& list, const char* key) {
  json sequences = json::array();
  for (const json& one : list) sequences.push_back(one[key]);
  std::ofstream(folder / "in.json") << json{{"sequences", sequences}};
  return folder / "in.json";
}

/// Ranks and the layout for them; none: one process.
struct Place {
  int ranks;
  const char* layout;
};

Result run_at(const Place& place, const std::string& arguments) {
  if (place.ranks == 0) return orrery_alone(arguments);
  return orrery(place.ranks, arguments + " --layout " + place.layout);
}

/// All layouts for one model, tensor ranks for some that are cut in other ways, one process for the
/// rest: an mpirun takes seconds, and tests/model compares all models on all layouts.
std::vector<Place> places(const std::string& model) {
  if (model == "llama-gqa" || std::getenv("ORRERY_FULL") != nullptr) {
    return {{0, ""}, {3, "d2"}, {3, "t2"}, {3, "p2"}};
  }
  if (model == "gpt2" || model == "mixtral") return {{0, ""}, {3, "t2"}};
  return {{0, ""}};
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return INFINITY;
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

/// Sums, not the single numbers, which lie in expected.safetensors; hf_parity_test compares those
/// of the same decoder, and the logits here do below.
void expect_scores(const json& got, const json& expected) {
  ASSERT_EQ(got["logprobs"].size(), expected["sequences"].size());
  for (size_t i = 0; i < got["logprobs"].size(); ++i) {
    const json& sequence = expected["sequences"][i];
    const auto log_probs = got["logprobs"][i].get<std::vector<double>>();
    EXPECT_EQ(log_probs.size(), sequence["length"].get<size_t>() - 1);
    double sum = 0;
    for (const double value : log_probs) sum += value;
    EXPECT_NEAR(sum, sequence["sum_logprob"].get<double>(), 1e-8) << sequence["name"];
    const json& rows = got["logits"][i];
    ASSERT_EQ(rows.size(), sequence["length"].get<size_t>());
    for (size_t t = 0; t < log_probs.size(); ++t) {
      double total = 0;
      for (const json& logit : rows[t]) total += std::exp(logit.get<double>());
      const double own = rows[t][sequence["ids"][t + 1].get<size_t>()].get<double>();
      EXPECT_NEAR(own - std::log(total), log_probs[t], 1e-8);
    }
  }
}

void expect_rewards(const json& got, const json& expected) {
  ASSERT_EQ(got["rewards"].size(), expected["sequences"].size());
  for (size_t i = 0; i < got["rewards"].size(); ++i) {
    const json& sequence = expected["sequences"][i];
    EXPECT_NEAR(got["rewards"][i].get<double>(), sequence["reward"].get<double>(), 1e-8);
    EXPECT_EQ(got["values"][i].size(), sequence["ids"].size());
  }
}

TEST(Score, GivesTheNumbersOfTransformersOnEveryLayout) {
  for (const fs::path& model : models()) {
    SCOPED_TRACE(model.string());
    const TemporaryFolder folder;
    const json expected = read_json(model / "expected.json");
    const bool is_reward = expected["sequences"][0].contains("reward");
    const fs::path in = write_tokens(folder, expected["sequences"], "ids");
    json first;
    for (const Place& place : places(model.filename())) {
      SCOPED_TRACE(place.layout);
      const Result result = run_at(
          place, "score --dtype fp64 --model " + model.string() + " --tokens " + in.string() +
                     " --out " + (folder / "out.json").string() + (is_reward ? "" : " --logits"));
      ASSERT_EQ(result.exit_code, 0) << result.output;
      const json got = read_json(folder / "out.json");

      if (is_reward) {
        expect_rewards(got, expected);
      } else {
        expect_scores(got, expected);
      }
      if (first.is_null()) first = got;
      if (std::string(place.layout) == "d2") {
        EXPECT_TRUE(got == first) << "not bit for bit";
      }
    }
  }
}

TEST(Generate, GivesTheTokensOfTransformersOnEveryLayout) {
  for (const fs::path& model : models()) {
    const json expected = read_json(model / "expected.json");
    if (!expected.contains("generation")) continue;
    SCOPED_TRACE(model.string());
    const TemporaryFolder folder;
    const json& cases = expected["generation"]["cases"];
    const fs::path in = write_tokens(folder, cases, "prompt");
    for (const Place& place : places(model.filename())) {
      for (const char* eos : {" --eos -1", ""}) {
        SCOPED_TRACE(std::string(place.layout) + eos);
        const bool stops = std::string(eos).empty();
        const Result result = run_at(
            place, "generate --greedy --model " + model.string() + " --tokens " + in.string() +
                       " --out " + (folder / "out.json").string() + " --max-new-tokens " +
                       expected["generation"]["max_new_tokens"].dump() + eos);
        ASSERT_EQ(result.exit_code, 0) << result.output;
        const json got = read_json(folder / "out.json");

        for (size_t i = 0; i < cases.size(); ++i) {
          EXPECT_EQ(got["sequences"][i], cases[i][stops ? "with_eos" : "no_eos"]);
          EXPECT_EQ(got["finish"][i], stops ? cases[i]["stopped_by"] : json("length"));
          EXPECT_EQ(got["logprobs"][i].size(), got["sequences"][i].size());
        }
      }
    }
  }
}

/// Twelve prompts of one to twelve tokens.
fs::path write_prompts(const TemporaryFolder& folder) {
  json sequences = json::array();
  for (int64_t i = 0; i < 12; ++i) {
    json ids = json::array();
    for (int64_t t = 0; t <= i; ++t) ids.push_back((i * 17 + t * 5) % 128);
    sequences.push_back(ids);
  }
  std::ofstream(folder / "prompts.json") << json{{"sequences", sequences}};
  return folder / "prompts.json";
}

TEST(Generate, DrawsTheSameTokensOnEveryLayoutAndOthersByAnotherSeed) {
  const TemporaryFolder folder;
  const std::string arguments =
      "generate --dtype fp64 --max-new-tokens 20 --top-p 0.95 --top-k 50"
      " --model " +
      source("tests/fixtures/hf/llama-gqa") + " --tokens " + write_prompts(folder).string();
  const auto draw = [&](const Place& place, const std::string& more) {
    const fs::path out = folder / "out.json";
    const Result result = run_at(place, arguments + " --out " + out.string() + more);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return read_json(out);
  };

  const json alone = draw({0, ""}, " --seed 5");

  EXPECT_EQ(draw({0, ""}, " --seed 5 --max-batch 5"), alone);
  EXPECT_EQ(draw({3, "d2"}, " --seed 5"), alone);
  for (const char* layout : {"t2", "p2"}) {
    const json other = draw({3, layout}, " --seed 5");
    EXPECT_EQ(other["sequences"], alone["sequences"]) << layout;
    for (size_t i = 0; i < alone["logprobs"].size(); ++i) {
      EXPECT_LT(largest_difference(other["logprobs"][i], alone["logprobs"][i]), 1e-9);
    }
  }
  EXPECT_NE(draw({0, ""}, " --seed 6")["sequences"], alone["sequences"]);
}

TEST(Score, AgreesWithTheLogProbabilitiesOfGreedyGeneration) {
  const TemporaryFolder folder;
  const std::string model = " --dtype fp64 --model " + source("tests/fixtures/hf/qwen3");
  const fs::path prompts = write_prompts(folder);
  const std::string generated = (folder / "generated.json").string();
  ASSERT_EQ(orrery_alone("generate --greedy --eos -1 --max-new-tokens 9" + model + " --tokens " +
                         prompts.string() + " --out " + generated)
                .exit_code,
            0);
  const json answers = read_json(generated);
  json whole = read_json(prompts);
  for (size_t i = 0; i < answers["sequences"].size(); ++i) {
    for (const json& id : answers["sequences"][i]) whole["sequences"][i].push_back(id);
  }
  std::ofstream(folder / "whole.json") << whole;

  ASSERT_EQ(orrery_alone("score" + model + " --tokens " + (folder / "whole.json").string() +
                         " --out " + (folder / "scored.json").string())
                .exit_code,
            0);

  const json scored = read_json(folder / "scored.json");
  for (size_t i = 0; i < scored["logprobs"].size(); ++i) {
    const auto all = scored["logprobs"][i].get<std::vector<double>>();
    const std::vector<double> of_answer(all.end() - 9, all.end());
    EXPECT_LT(largest_difference(of_answer, answers["logprobs"][i]), 1e-9) << i;
  }
}

TEST(Score, InBf16IsOfRoundedWeightsOnEveryLayout) {
  const TemporaryFolder folder;
  const std::string model = source("tests/fixtures/hf/llama-gqa");
  const json expected = read_json(model + "/expected.json");
  const std::string arguments = "score --model " + model + " --tokens " +
                                write_tokens(folder, expected["sequences"], "ids").string() +
                                " --out " + (folder / "out.json").string() + " --dtype ";
  std::vector<std::vector<double>> all;
  for (const auto& [dtype, place] : std::vector<std::pair<const char*, Place>>{
           {"fp32", {0, ""}}, {"bf16", {0, ""}}, {"bf16", {3, "t2"}}}) {
    const Result result = run_at(place, arguments + dtype);
    ASSERT_EQ(result.exit_code, 0) << result.output;
    std::vector<double>& numbers = all.emplace_back();
    const json answer = read_json(folder / "out.json");
    for (const json& sequence : answer["logprobs"]) {
      for (const json& value : sequence) numbers.push_back(value.get<double>());
    }
  }
  EXPECT_LT(largest_difference(all[0], all[1]), 0.1);
  EXPECT_GT(largest_difference(all[0], all[1]), 1e-5) << "rounded";
  EXPECT_LT(largest_difference(all[1], all[2]), 1e-4);
}

TEST(Generate, ReadsPromptsAndWritesTexts) {
  const TemporaryFolder folder;
  ASSERT_EQ(orrery(2, "train " + source("configs/grpo_tiny.cfg") + " --set experiment.output_dir=" +
                          folder.path().string() + " --set experiment.total_steps=1")
                .exit_code,
            0);
  const std::string model = (folder / "grpo_tiny/models/latest/actor").string();
  std::ofstream(folder / "prompts.jsonl") << "{\"prompt\": \"1+1=\", \"answer\": \"2\"}\n\n"
                                          << "{\"prompt\": \"12+30=\"}\n";
  const std::string out = (folder / "out.json").string();

  const Result result =
      orrery_alone("generate --seed 3 --max-new-tokens 8 --model " + model + " --prompts " +
                   (folder / "prompts.jsonl").string() + " --out " + out);

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const json got = read_json(out);
  ASSERT_EQ(got["texts"].size(), 2u);
  EXPECT_EQ(got["sequences"].size(), 2u);
  EXPECT_TRUE(got["texts"][0].is_string());
  EXPECT_EQ(read_json(model + "/config.json")["eos_token_id"], 257)
      << "a model from scratch ends its answers as its tokenizer does";
  EXPECT_NE(result.output.find("tokens/s"), std::string::npos) << result.output;
}

TEST(Generate, ReadsPromptsByTheTokenizerOfTheModel) {
  const TemporaryFolder folder;
  const fs::path model = folder / "model";
  const fs::path tokenizer = source("tests/fixtures/tokenizer/tokenizer.json");
  ASSERT_EQ(run("python3 " + source("tests/integration/widen_vocabulary.py") + " " +
                source("tests/fixtures/hf/llama-gqa") + " " + model.string() + " 4096")
                .exit_code,
            0);
  fs::copy_file(tokenizer, model / "tokenizer.json");
  std::ofstream(folder / "p.jsonl") << "{\"prompt\": \"Hello there\"}\n";
  const std::string arguments = " --prompts " + (folder / "p.jsonl").string() +
                                " --max-new-tokens 6 --eos -1 --out " +
                                (folder / "out.json").string();

  const Result result = orrery_alone("generate --model " + model.string() + arguments);

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const json got = read_json(folder / "out.json");
  EXPECT_EQ(got["sequences"][0].size(), 6u);
  EXPECT_TRUE(got["texts"][0].is_string());

  // The tokenizer's template begins with <|bos|>, and so do prompts; never twice.
  std::ofstream(folder / "p.jsonl") << "{\"prompt\": \"<|bos|>Hello there\"}\n";
  ASSERT_EQ(orrery_alone("generate --model " + model.string() + arguments).exit_code, 0);
  EXPECT_EQ(read_json(folder / "out.json")["logprobs"], got["logprobs"]);
  std::ofstream(folder / "p.jsonl") << "{\"prompt\": \"Hello there\"}\n";
  const Result bare =
      orrery_alone("generate --add-bos false --model " + model.string() + arguments);
  ASSERT_EQ(bare.exit_code, 0) << bare.output;
  EXPECT_NE(read_json(folder / "out.json")["logprobs"], got["logprobs"]);

  fs::remove(folder / "out.json");
  const fs::path small = folder / "small";
  fs::copy(source("tests/fixtures/hf/llama-gqa"), small);
  fs::copy_file(tokenizer, small / "tokenizer.json");
  const Result refused = orrery_alone("generate --model " + small.string() + arguments);
  EXPECT_EQ(refused.exit_code, 2) << refused.output;
  EXPECT_NE(refused.output.find("the vocabulary of the model"), std::string::npos);
}

TEST(Generate, WritesAPromptAsAMessageWithChat) {
  const TemporaryFolder folder;
  const fs::path model = folder / "model";
  ASSERT_EQ(run("python3 " + source("tests/integration/widen_vocabulary.py") + " " +
                source("tests/fixtures/hf/llama-gqa") + " " + model.string() + " 4096")
                .exit_code,
            0);
  fs::copy_file(source("tests/fixtures/tokenizer/tokenizer.json"), model / "tokenizer.json");
  const auto generated = [&](const std::string& prompt, const std::string& options) {
    std::ofstream(folder / "p.jsonl") << json{{"prompt", prompt}} << "\n";
    return orrery_alone("generate --model " + model.string() + " --prompts " +
                        (folder / "p.jsonl").string() + " --max-new-tokens 6 --eos -1 " + options +
                        " --out " + (folder / "out.json").string());
  };
  const Result without = generated("Hello", "--chat");
  EXPECT_EQ(without.exit_code, 2) << without.output;
  EXPECT_NE(without.output.find("has no chat template"), std::string::npos) << without.output;

  std::ofstream(model / "tokenizer_config.json")
      << json{{"eos_token", "<|eos|>"},
              {"chat_template",
               "{% for m in messages %}{{ '<' + m.role + '>' + m.content + eos_token }}"
               "{% endfor %}{% if add_generation_prompt %}{{ '<bot>' }}{% endif %}"}};
  ASSERT_EQ(generated("Hello", "--chat").exit_code, 0);
  const json chat = read_json(folder / "out.json");
  const Result plain = generated("<user>Hello<|eos|><bot>", "--add-bos false");
  ASSERT_EQ(plain.exit_code, 0) << plain.output;

  EXPECT_EQ(read_json(folder / "out.json")["logprobs"], chat["logprobs"]);
  EXPECT_NE(plain.output.find("--chat writes each"), std::string::npos) << plain.output;
}

TEST(Train, StartsFromAHuggingFaceModelAndExportsOneThatCanBeScored) {
  const TemporaryFolder folder;
  // Its vocabulary is smaller than the byte tokenizer's, so one of 259 is made of it first.
  const fs::path model = folder / "model";
  const Result made = run("python3 " + source("tests/integration/widen_vocabulary.py") + " " +
                          source("tests/fixtures/hf/llama-gqa") + " " + model.string() + " 259");
  ASSERT_EQ(made.exit_code, 0) << made.output;

  const Result result =
      orrery(3, "train " + source("configs/grpo_tiny.cfg") + " --set experiment.output_dir=" +
                    folder.path().string() + " --set model.actor.path=" + model.string() +
                    " --set experiment.total_steps=2 --set call.actor_gen.max_new_tokens=8");

  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::ofstream(folder / "in.json") << R"({"sequences": [[1, 2, 3], [250]]})";
  for (const std::string& one :
       {model.string(), (folder / "grpo_tiny/models/latest/actor").string()}) {
    const Result scored =
        orrery_alone("score --model " + one + " --tokens " + (folder / "in.json").string() +
                     " --out " + (folder / "out.json").string());
    ASSERT_EQ(scored.exit_code, 0) << scored.output;
    const json got = read_json(folder / "out.json");
    EXPECT_EQ(got["logprobs"][0].size(), 2u);
    EXPECT_TRUE(got["logprobs"][1].empty());
  }
}

}  // namespace
}  // namespace orrery::integration
