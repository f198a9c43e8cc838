// What users get wrong with the commands that work on a model: a message that says where and what,
// exit code 2, nothing written, no hang.
#include <gtest/gtest.h>

#include <fstream>

#include "base/temporary_folder.h"
#include "integration/command.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;

const std::string kModel = source("tests/fixtures/hf/llama-gqa");

/// A folder with a good input and a place for the output.
struct Inputs {
  TemporaryFolder folder;

  explicit Inputs(const std::string& tokens = R"({"sequences": [[1, 2, 3]]})") {
    std::ofstream(folder / "in.json") << tokens;
  }
  std::string out() const { return (folder / "out.json").string(); }
  std::string score(const std::string& more = "", const std::string& model = kModel) const {
    return "score --model " + model + " --tokens " + (folder / "in.json").string() + " --out " +
           out() + " " + more;
  }
  std::string generate(const std::string& more = "--max-new-tokens 4") const {
    return "generate --model " + kModel + " --tokens " + (folder / "in.json").string() + " --out " +
           out() + " " + more;
  }
  void expect_refused(const Result& result, const std::string& what) const {
    EXPECT_EQ(result.exit_code, 2) << result.output;
    EXPECT_NE(result.output.find(what), std::string::npos) << "expected: " << what << "\n"
                                                           << result.output;
    EXPECT_FALSE(fs::exists(out()));
  }
};

TEST(BadTokenFile, IsNamedWithItsPlace) {
  struct Example {
    std::string content, message;
  };
  const Example examples[] = {
      {"{\"sequences\": [[1, 2", "not JSON"},
      {"", "not JSON"},
      {"\xff\xfe\x00", "not JSON"},
      {"[[1, 2]]", "{\"sequences\": [[ids...], ...]}"},
      {"{\"sequence\": [[1]]}", "without \"sequences\""},
      {"{\"sequences\": \"1 2\"}", "sequences"},
      {"{\"sequences\": []}", "at least one sequence"},
      {"{\"sequences\": [[1], []]}", "sequences[1]"},
      {"{\"sequences\": [[1], 2]}", "sequences[1]"},
      {"{\"sequences\": [[1, \"2\"]]}", "sequences[0][1]"},
      {"{\"sequences\": [[1, 2.5]]}", "sequences[0][1]"},
      {"{\"sequences\": [[1, null]]}", "sequences[0][1]"},
      {"{\"sequences\": [[1], [5, 128]]}", "sequences[1][1]"},
      {"{\"sequences\": [[-1]]}", "from 0 to 127"},
      {"{\"sequences\": [[18446744073709551615]]}", "sequences[0][0]"},
  };
  for (const Example& example : examples) {
    SCOPED_TRACE(example.content);
    const Inputs inputs(example.content);
    inputs.expect_refused(orrery_alone(inputs.score()), example.message);
    inputs.expect_refused(orrery_alone(inputs.generate()), example.message);
  }
}

TEST(BadTokenFile, LongerThanTheContext) {
  std::string ids = "1";
  for (int i = 1; i < 128; ++i) ids += ", 1";
  const Inputs full("{\"sequences\": [[" + ids + "]]}");
  const Inputs over("{\"sequences\": [[" + ids + ", 1]]}");

  EXPECT_EQ(orrery_alone(full.score()).exit_code, 0);
  over.expect_refused(orrery_alone(over.score()), "at most 128 tokens");
  EXPECT_EQ(orrery_alone(full.score()).exit_code, 0);
  fs::remove(full.out());
  full.expect_refused(orrery_alone(full.generate()), "one must be left to generate");
}

TEST(BadArguments, AreNamed) {
  const Inputs inputs;
  const std::string tokens = " --tokens " + (inputs.folder / "in.json").string();
  const std::string out = " --out " + inputs.out();
  const std::string model = " --model " + kModel;
  struct Example {
    std::string arguments, message;
  };
  const Example examples[] = {
      {inputs.score("--layouts d1"), "did you mean --layout?"},
      {inputs.score("--dtype fp8"), "--dtype must be"},
      {inputs.score("--layout d2"), "mpirun -n 3"},
      {inputs.score("--layout x9"), "--layout x9"},
      {inputs.score("--batch-tokens 0"), "--batch-tokens"},
      {inputs.score("--threads many"), "--threads"},
      {inputs.score("more"), "orrery score"},
      {"score" + tokens + out, "--model DIR is missing"},
      {"score" + model + out, "--tokens F.json is missing"},
      {"score" + model + tokens, "--out F.json is missing"},
      {"score" + model + tokens + " --out /nowhere/out.json", "/nowhere"},
      {"score" + model + tokens + " --out " + inputs.folder.path().string(), "directory"},
      {"score" + model + " --tokens /nowhere/in.json" + out, "/nowhere/in.json"},
      {"score" + model + " --tokens " + inputs.folder.path().string() + out, "it is a directory"},
      {inputs.score("", "/nowhere/model"), "/nowhere/model"},
      {inputs.score("", inputs.folder.path().string()), "without config.json"},
      {inputs.score("", kModel + "/model.safetensors"), "a file"},
      {inputs.generate(""), "--max-new-tokens N is missing"},
      {inputs.generate("--max-new-tokens 0"), "--max-new-tokens must be"},
      {inputs.generate("--max-new-tokens 4 --temperature -1"), "--temperature"},
      {inputs.generate("--max-new-tokens 4 --temperature nan"), "--temperature"},
      {inputs.generate("--max-new-tokens 4 --top-p 0"), "--top-p"},
      {inputs.generate("--max-new-tokens 4 --top-p 1.5"), "--top-p"},
      {inputs.generate("--max-new-tokens 4 --top-k -2"), "--top-k"},
      {inputs.generate("--max-new-tokens 4 --eos 128"), "--eos 128"},
      {inputs.generate("--max-new-tokens 4 --eos end"), "--eos must be"},
      {inputs.generate("--max-new-tokens 4 --max-batch 0"), "--max-batch"},
      {inputs.generate("--max-new-tokens 4 --prompts x.jsonl"), "either --tokens"},
      {"generat", "did you mean 'generate'?"},
  };
  for (const Example& example : examples) {
    SCOPED_TRACE(example.arguments);
    inputs.expect_refused(orrery_alone(example.arguments), example.message);
  }
}

TEST(BadPromptFile, IsNamedByLine) {
  struct Example {
    std::string content, message;
  };
  const Example examples[] = {
      {"", "at least one line"},
      {"{\"prompt\": \"a\"}\n{\"prompt\": \n", "p.jsonl:2"},
      {"{\"prompt\": \"a\"}\n{\"text\": \"b\"}\n", "p.jsonl:2"},
      {"{\"prompt\": 7}\n", "p.jsonl:1"},
      {"{\"prompt\": \"\"}\n", "p.jsonl:1"},
      {"[1]\n", "p.jsonl:1"},
      {"{\"prompt\": \"\xff\"}\n", "p.jsonl:1"},
      {"{\"prompt\": \"" + std::string(512, 'a') + "\"}\n", "at most 511 tokens"},
  };
  const TemporaryFolder models;
  const std::string model = (models / "model").string();
  ASSERT_EQ(run("python3 " + source("tests/integration/widen_vocabulary.py") + " " + kModel + " " +
                model + " 259")
                .exit_code,
            0);
  for (const Example& example : examples) {
    SCOPED_TRACE(example.content);
    const Inputs inputs;
    std::ofstream(inputs.folder / "p.jsonl") << example.content;
    inputs.expect_refused(
        orrery_alone("generate --max-new-tokens 4 --model " + model + " --prompts " +
                     (inputs.folder / "p.jsonl").string() + " --out " + inputs.out()),
        example.message);
  }
}

TEST(BadModel, IsNamedWithFileAndTensor) {
  struct Example {
    const char* damage;  // of a copy of the model, in the shell
    const char* message;
    const char* more;
  };
  const Example examples[] = {
      {"truncate -s 5000 model.safetensors", "model.safetensors", ""},
      {"truncate -s 3 model.safetensors", "model.safetensors", ""},
      {"rm model.safetensors", "model.safetensors", ""},
      {"echo {} > config.json", "model_type", ""},
      {"echo x > config.json", "no JSON object", ""},
      {"sed -i s/llama/mamba/ config.json", "mamba", ""},
      {"sed -i \"s/hidden_size.: 32/hidden_size\\\": 64/\" config.json",
       "model.embed_tokens.weight", ""},
      {"sed -i \"s/hidden_size.: 32/hidden_size\\\": [32]/\" config.json", "hidden_size", ""},
      {"sed -i \"s/vocab_size.: [0-9]*/vocab_size\\\": -1/\" config.json", "vocab_size", ""},
      // The last bytes of the file are weights: a NaN among them.
      {"printf \"\\\\377\\\\377\\\\377\\\\377\" | dd of=model.safetensors bs=1 conv=notrunc "
       "seek=$(($(stat "
       "-c %s model.safetensors) - 4)) status=none",
       "not finite", "--check"},
  };
  for (const Example& example : examples) {
    SCOPED_TRACE(example.damage);
    const Inputs inputs;
    const std::string model = (inputs.folder / "model").string();
    const Result damaged =
        run("cp -r " + kModel + " " + model + " && cd " + model + " && " + example.damage);
    ASSERT_EQ(damaged.exit_code, 0) << damaged.output;
    inputs.expect_refused(orrery_alone(inputs.score(example.more, model)), example.message);
  }
}

TEST(BadUsageOnRanks, IsSaidOnceAndEndsAllRanks) {
  const Inputs inputs(R"({"sequences": [[1, 999]]})");

  const Result result = orrery(3, inputs.score());

  inputs.expect_refused(result, "sequences[0][1]");
  const size_t first = result.output.find("sequences[0][1]");
  EXPECT_EQ(result.output.find("sequences[0][1]", first + 1), std::string::npos) << result.output;
}

TEST(BadUsageOnRanks, LayoutThatFitsNeitherRanksNorModel) {
  const Inputs inputs;
  inputs.expect_refused(orrery(3, inputs.score("--layout d4")), "--layout d4");
  inputs.expect_refused(orrery(3, inputs.score("--layout p3")), "--layout p3");
  inputs.expect_refused(orrery(4, inputs.score("--layout t3")), "--layout t3");
}

}  // namespace
}  // namespace orrery::integration
