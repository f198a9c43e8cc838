// Real models in, real models out: runs from a Hugging Face directory with its own tokenizer, on
// text and on tokens made beforehand.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/temporary_folder.h"
#include "integration/runs_for_test.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string content(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string tokens(const std::string& name) { return source("tests/fixtures/tokens/" + name); }

/// A Llama whose vocabulary has `size` tokens, with the files of a tokenizer.
fs::path model_in(const TemporaryFolder& folder, int size, const fs::path& tokenizer) {
  const fs::path model = folder / "model";
  EXPECT_EQ(
      run("python3 " + source("tests/integration/widen_vocabulary.py") + " " +
          source("tests/fixtures/hf/llama-gqa") + " " + model.string() + " " + std::to_string(size))
          .exit_code,
      0);
  fs::copy_file(tokenizer / "tokenizer.json", model / "tokenizer.json");
  if (fs::exists(tokenizer / "tokenizer_config.json")) {
    fs::copy_file(tokenizer / "tokenizer_config.json", model / "tokenizer_config.json");
  } else {
    std::ofstream(model / "tokenizer_config.json")
        << R"({"eos_token": "<|eos|>",  "chat_template": "{{ x }}"})";
    std::ofstream(model / "generation_config.json") << R"({"eos_token_id": [1, 2], "top_k": 7})";
    std::ofstream(model / "special_tokens_map.json") << R"({"bos_token": "<|bos|>"})";
  }
  return model;
}

fs::path byte_level_model(const TemporaryFolder& folder) {
  return model_in(folder, 1002, source("tests/fixtures/tokenizer"));
}

/// Two steps on completions of this data file as the run `name`; `texts` are further keys of the
/// data set.
Result sft(const TemporaryFolder& folder, const fs::path& model, const std::string& name,
           const std::string& data, const std::string& eval, const std::string& texts = "") {
  std::ofstream(folder / (name + ".cfg"))
      << "include = " << source("configs/sft_arithmetic.cfg") << "\n[experiment]\nname = " << name
      << "\noutput_dir = " << folder.path().string()
      << "\ntotal_steps = 2\n[dataset.train]\npath = " << tokens(data) << "\n"
      << texts << "[dataset.eval]\npath = " << tokens(eval)
      << "\non_bad_record = skip"  // some have no answer to compare with
      << "\n[model.actor]\npath = " << model.string()
      << "\nwarmup_steps = 0\n[call.sft]\nn_seqs = 8\n[evaluate]\nmax_prompts = 4\n";
  return orrery(3, "train " + (folder / (name + ".cfg")).string());
}

void expect_exported(const fs::path& run_directory, const fs::path& model) {
  const fs::path exported = run_directory / "models/latest/actor";
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "generation_config.json",
                           "special_tokens_map.json"}) {
    if (fs::exists(model / file)) {
      EXPECT_TRUE(content(exported / file) == content(model / file)) << file;
    }
  }
  std::ofstream(run_directory / "p.jsonl") << "{\"prompt\": \"Q: 1+1=<think>\"}\n";
  const fs::path out = run_directory / "out.json";
  const Result generated = orrery_alone("generate --model " + exported.string() + " --prompts " +
                                        (run_directory / "p.jsonl").string() +
                                        " --max-new-tokens 5 --greedy --out " + out.string());
  ASSERT_EQ(generated.exit_code, 0) << generated.output;
  EXPECT_EQ(json::parse(content(out))["sequences"].size(), 1U);
}

TEST(TokenRun, OnTokensIsTheRunOnTheTextBitForBitAndBothExportTheModelsTokenizer) {
  const TemporaryFolder folder;
  const fs::path model = byte_level_model(folder);

  const Result on_text = sft(folder, model, "text", "records.jsonl", "records.jsonl",
                             "system_prefix = <|bos|>\nsystem_suffix = \\n\n"
                             "prompt_prefix = \"Q: \"\nprompt_suffix = <think>\n"
                             "add_bos = false\n");  // as the tokens were made
  const Result on_tokens = sft(folder, model, "tokens", "completions.h5", "prompts.h5");

  ASSERT_EQ(on_text.exit_code, 0) << on_text.output;
  ASSERT_EQ(on_tokens.exit_code, 0) << on_tokens.output;
  EXPECT_EQ(values_of(folder / "text", "sft/loss"), values_of(folder / "tokens", "sft/loss"));
  EXPECT_EQ(values_of(folder / "text", "sft/loss").size(), 2U);
  EXPECT_TRUE(content(folder / "text/models/latest/actor/model.safetensors") ==
              content(folder / "tokens/models/latest/actor/model.safetensors"));
  EXPECT_EQ(values_of(folder / "tokens", "eval/accuracy").size(), 1U);
  expect_exported(folder / "text", model);
  expect_exported(folder / "tokens", model);
}

/// grpo_tiny from a model on this data file.
std::string grpo(const TemporaryFolder& folder, const fs::path& model, const std::string& data,
                 const std::string& more = "") {
  return tiny(folder, "--set model.actor.path=" + model.string() +
                          " --set dataset.train.path=" + data + " --set dataset.eval.path=" + data +
                          " --set dataset.train.on_bad_record=skip"  // some have no answer
                          " --set dataset.eval.on_bad_record=skip"
                          " --set experiment.total_steps=2 --set evaluate.max_prompts=4 " +
                          more);
}

TEST(TokenRun, DecodesByTheTableOfATokenizerThatOrreryDoesNotRead) {
  const TemporaryFolder folder;
  const fs::path model = model_in(folder, 166, tokens("unigram"));

  const Result result = orrery(3, grpo(folder, model, tokens("unigram/prompts.h5")));

  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::set<std::string> prompts;
  for (const json& record : read_jsonl(tokens("records.jsonl"))) {
    prompts.insert(record["prompt"].get<std::string>());
  }
  for (const char* rank : {"0", "1"}) {
    for (const json& sample : read_jsonl(
             folder / ("grpo_tiny/samples/step-00000001-rank-" + std::string(rank) + ".jsonl"))) {
      // Behind a blank, or behind a system text, some of whose letters this tokenizer does not
      // know.
      const auto text = sample["prompt"].get<std::string>();
      EXPECT_TRUE(std::any_of(prompts.begin(), prompts.end(), [&](const std::string& prompt) {
        return text.size() > prompt.size() && text.ends_with(prompt);
      })) << text;
    }
  }
  EXPECT_TRUE(content(folder / "grpo_tiny/models/latest/actor/tokenizer.json") ==
              content(model / "tokenizer.json"));

  const Result text = orrery(3, grpo(folder, model, tokens("records.jsonl")));
  EXPECT_EQ(text.exit_code, 2) << text.output;
  for (const char* part : {"model Unigram is not supported", "tools/tokenize.py --tokenizer"}) {
    EXPECT_NE(text.output.find(part), std::string::npos) << text.output;
  }
}

TEST(TokenRun, PassesTheFieldsOfARecordToTheRewardCommandAsTheyStand) {
  const TemporaryFolder folder;
  const fs::path model = byte_level_model(folder);
  std::ofstream(folder / "judge.py") << "import sys\n"
                                        "seen = open('" +
                                            folder.path().string() +
                                            "/seen-' + str(__import__('os').getpid()), 'w')\n"
                                            "for line in sys.stdin:\n"
                                            "    print(line, end='', file=seen, flush=True)\n"
                                            "    print('{\"reward\": 1}', flush=True)\n";

  for (const char* data : {"records.jsonl", "prompts.h5"}) {
    const Result result =
        orrery(3, grpo(folder, model, tokens(data),
                       "--set call.reward.interface=command_reward --set "
                       "call.reward.command=\"python3 " +
                           (folder / "judge.py").string() +
                           "\" --set call.actor_gen.n_seqs=40"
                           " --set call.reward.n_seqs=40 --set call.actor_train.n_seqs=40"
                           " --set experiment.total_steps=1 --resume off"));
    ASSERT_EQ(result.exit_code, 0) << result.output;
    std::string seen;
    for (const auto& entry : fs::directory_iterator(folder.path())) {
      if (!entry.path().filename().string().starts_with("seen-")) continue;
      seen += content(entry.path());
      fs::remove(entry.path());
    }
    for (const char* fields :
         {R"("fields":{"id":0,"completion":"105","chosen":"105","rejected":"106"}})",
          R"("task":{"name":"add","level":0.1,"tags":["x",null]}}})",
          R"("fields":{"big":12345678901234567890123,"half":1.50,"id":"r2",)"}) {
      EXPECT_NE(seen.find(fields), std::string::npos) << fields << " is not in\n" << seen;
    }
  }
}

TEST(TokenRun, WithAFileThatCannotBeUsedIsRefused) {
  const TemporaryFolder folder;
  const fs::path model = byte_level_model(folder);
  const std::string whole = content(tokens("prompts.h5"));
  const std::string cut = (folder / "cut.h5").string();
  std::ofstream(cut, std::ios::binary) << whole.substr(0, whole.size() / 3);
  struct Case {
    std::string data;
    std::string more;
    const char* part;
  };
  for (const Case& bad :
       {Case{cut, "", "cut.h5"},
        Case{tokens("completions.h5"), "", "it holds records of another kind"},
        Case{tokens("unigram/prompts.h5"), "--set model.actor.tokenizer=" + model.string(),
             "with another tokenizer than the run's"},
        Case{tokens("prompts.h5"), "--set dataset.train.prompt_prefix=Q:", "--prompt-prefix"}}) {
    const Result result = orrery(3, grpo(folder, model, bad.data, bad.more));
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_NE(result.output.find(bad.part), std::string::npos)
        << bad.part << " is not in " << result.output;
    EXPECT_FALSE(fs::exists(folder / "grpo_tiny"));
  }
}

TEST(TokenRun, ThatWasResumedOnOtherTokensIsRefused) {
  const TemporaryFolder folder;
  const fs::path model = byte_level_model(folder);
  const std::string data = (folder / "data.h5").string();
  fs::copy_file(tokens("prompts.h5"), data);
  const std::string more =
      "--set dataset.eval.path=" + tokens("prompts.h5") + " --set checkpoint.every_steps=1 ";
  ASSERT_EQ(orrery(3, grpo(folder, model, data, more)).exit_code, 0);
  const std::string bytes = content(data);
  std::fstream file(data, std::ios::in | std::ios::out | std::ios::binary);
  const size_t answer = bytes.find("103139115");
  ASSERT_NE(answer, std::string::npos);
  file.seekp(static_cast<std::streamoff>(answer));
  file << "7";
  file.close();

  const Result result =
      orrery(3, grpo(folder, model, data, more + "--set experiment.total_steps=3"));

  EXPECT_EQ(result.exit_code, 2) << result.output;
  EXPECT_NE(result.output.find("data set train changed"), std::string::npos) << result.output;
}

}  // namespace
}  // namespace orrery::integration
