// What a job says of its data and of where its models come from, before it starts: errors where it
// would learn nothing that is meant, warnings where it may be.
#include <ATen/ATen.h>  // precompiled
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/temporary_folder.h"
#include "job.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/model/decoder.h"
#include "orrery/model/hf_directory.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;
using Sets = std::vector<std::string>;

const std::string kTokenizer = ORRERY_SOURCE_DIR "/tests/fixtures/tokenizer/tokenizer.json";

/// grpo_tiny.cfg with a data file of its own.
class DataChecks : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name) << content;
    return (folder_ / name).string();
  }
  /// n records `{"prompt": "1+1=", "answer": "2"}`, the last one with `last` in place of that.
  std::string records(int n, const std::string& last = R"("prompt": "1+1=", "answer": "2")") const {
    std::string text;
    for (int i = 0; i + 1 < n; ++i) text += "{\"prompt\": \"1+1=\", \"answer\": \"2\"}\n";
    return text + "{" + last + "}\n";
  }
  /// A Hugging Face directory of a tiny model.
  std::string model(const std::string& name, int64_t vocabulary = 259,
                    int64_t positions = 64) const {
    config::ModelConfig config;
    config.vocab_size = vocabulary;
    config.max_positions = positions;
    config.hidden_size = 16;
    config.intermediate_size = 16;
    config.n_layers = 1;
    config.n_heads = 2;
    config.n_kv_heads = 1;
    model::Decoder decoder(model::Architecture::from_config(config), at::kFloat);
    decoder.parameters().initialise(1);
    model::save_hf(folder_ / name, decoder);
    return (folder_ / name).string();
  }
  fs::path in(const std::string& name) const { return folder_ / name; }

  static Job job(Sets sets, const std::string& graph = "grpo_tiny.cfg") {
    return prepare_job(ORRERY_SOURCE_DIR "/configs/" + graph, sets, 2, DataCheck::kRead);
  }
  /// Of a run on a data file: everything that is said, errors or else warnings.
  static std::string said(const Sets& sets, const std::string& graph = "grpo_tiny.cfg") {
    try {
      std::string text;
      for (const config::Problem& warning : job(sets, graph).warnings) {
        text += "warning " + warning.message() + "\n";
      }
      return text;
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), 2);
      return std::string("error ") + error.what();
    }
  }

  TemporaryFolder folder_;
};

void expect_said(const std::string& text, const std::string& how, const std::string& part) {
  EXPECT_EQ(text.rfind(how, 0), 0u) << text;
  EXPECT_NE(text.find(part), std::string::npos) << part << "\nis not in\n" << text;
}
void expect_unsaid(const std::string& text, const std::string& part) {
  EXPECT_EQ(text.rfind("error", 0), std::string::npos) << text;
  EXPECT_EQ(text.find(part), std::string::npos) << text;
}

TEST_F(DataChecks, ARuleNeedsAnswersOfTheSetsThatItSeesOnly) {
  const std::string lacking = write("d.jsonl", records(8, R"("prompt": "1+2=")"));
  const std::string train = "dataset.train.path=" + lacking;

  expect_said(said({train}), "error",
              "d.jsonl:8: field \"answer\" is missing, but call reward (rule_reward)");
  expect_said(said({train, "dataset.train.on_bad_record=skip", "call.actor_gen.n_seqs=4",
                    "call.reward.n_seqs=4", "call.actor_train.n_seqs=4"}),
              "warning", "1 of 8 records rejected");
  expect_said(said({"dataset.eval.path=" + lacking}), "error",
              "but the evaluation compares with it");
  // A command may do without, and so may a set that nothing evaluates.
  expect_unsaid(said({train, "call.reward.interface=command_reward", "call.reward.command=cat"}),
                "is missing");
  expect_unsaid(said({"dataset.eval.path=" + lacking, "dataset.eval.use=evaluate",
                      "evaluate.dataset=", "evaluate.every_steps=0"}),
                "is missing");
}

TEST_F(DataChecks, AJudgeThatIsShownTheAnswersNeedsThemToo) {
  const Sets sets = {"dataset.train.path=" + write("d.jsonl", records(8, R"("prompt": "1+2=")"))};
  const auto with = [&](const std::string& text_template) {
    Sets all = sets;
    all.push_back("call.reward.template=" + text_template);
    return said(all, "grpo_judge_tiny.cfg");
  };

  expect_said(with("{response} {answer}"), "error",
              "field \"answer\" is missing, but call reward (judge_reward)");
  expect_unsaid(with("{response}"), "is missing");
}

TEST_F(DataChecks, AMathematicalAnswerThatIsMarkedAndEmptyIsNeverRight) {
  const char* const empty[] = {"so #### ", "\\\\boxed{}", "\\\\boxed{ }"};
  std::string none;
  for (size_t i = 0; i < 9; ++i) {
    none += std::string(R"({"prompt": "a", "answer": ")") + empty[i % 3] + "\"}\n";
  }
  const auto with = [&](const std::string& text) {
    return said({"call.reward.match=math", "dataset.train.path=" + write("m.jsonl", text)});
  };

  expect_said(with(none), "error", "no answer can be found right by call reward (rule_reward)");
  expect_said(with(none + R"({"prompt": "a", "answer": "#### 5"})" + "\n"), "warning",
              "9 of 10 records (the first in line 1) have an answer that call reward");
}

TEST_F(DataChecks, AnswersThatARuleCanNeverFindAreCounted) {
  const Sets numeric = {"call.reward.match=numeric"};
  const auto with = [&](const std::string& path) {
    Sets sets = numeric;
    sets.push_back("dataset.train.path=" + path);
    return said(sets);
  };
  expect_said(
      with(write("one.jsonl", records(8, R"("prompt": "1+2=", "answer": "2.5")"))), "warning",
      "1 of 8 records (the first in line 8) have an answer that call reward (rule_reward) can "
      "never find right: match = numeric wants an integer");
  std::string none;
  for (int i = 0; i < 8; ++i) none += "{\"prompt\": \"a\", \"answer\": \"x\"}\n";
  expect_said(with(write("none.jsonl", none)), "error",
              "no answer can be found right by call reward (rule_reward): match = numeric");
}

TEST_F(DataChecks, FieldsThatTheConfigurationNamesAreThere) {
  const std::string path =
      write("d.jsonl", records(8, R"("prompt": "1+2=", "answer": "3", "uid": 7)"));
  const std::string train = "dataset.train.path=" + path;

  expect_said(said({train, "dataset.train.id_field=nosuch"}), "error",
              "dataset.train.id_field: none of 8 records");
  expect_said(said({train, "dataset.train.system_field=instruction"}), "error",
              "has the field instruction");
  expect_said(said({train, "dataset.train.id_field=uid"}), "warning",
              "dataset.train.id_field: only 1 of 8 records");
  expect_said(said({train, "dataset.train.completion_field=text"}), "warning",
              "dataset.train.completion_field: has no effect on a data set of kind prompts");
  expect_unsaid(said({train}), "_field");
  // The configuration that a run has written names all fields, and nobody has written them.
  const std::string whole =
      write("config.cfg",
            config::resolved_config(job({train}).experiment, algorithm::interface_schemas()));
  const Job again = prepare_job(whole, {}, 2, DataCheck::kRead);
  for (const config::Problem& warning : again.warnings) {
    EXPECT_EQ(warning.text.find("_field"), std::string::npos) << warning.text;
  }
}

TEST_F(DataChecks, PromptsThatFillTheContextAreBadRecords) {
  const auto with_prompt = [&](int n, const Sets& more = {}) {
    Sets sets = {
        "dataset.train.path=" + write("d.jsonl", records(8, "\"prompt\": \"" + std::string(n, '1') +
                                                                "\", \"answer\": \"2\"")),
        "model.actor.max_positions=16"};
    sets.insert(sets.end(), more.begin(), more.end());
    return said(sets);
  };

  expect_said(with_prompt(16), "error",
              ":8: prompt of 16 tokens, which leaves no room for an answer: role actor has 16 "
              "positions");
  expect_said(with_prompt(15), "warning",
              "1 of 8 records (the first in line 8) have a prompt of more than 10 tokens");
  expect_unsaid(with_prompt(10), "positions end");
  expect_said(with_prompt(15, {"call.actor_gen.min_new_tokens=2"}), "error",
              "no room for an answer of min_new_tokens = 2");
  expect_said(with_prompt(4, {"dataset.train.max_prompt_tokens=40"}), "warning",
              "dataset.train.max_prompt_tokens: a prompt may have 15 tokens at most");
}

TEST_F(DataChecks, WhoReadsAnswersHasPositionsForThem) {
  const Sets sets = {"model.critic.max_positions=9", "call.actor_gen.max_new_tokens=6"};

  expect_said(said(sets, "ppo_tiny.cfg"), "error",
              "positions of role critic, which reads the answers");
}

TEST_F(DataChecks, WholeRecordsFitIntoThePositions) {
  const std::string path =
      write("d.jsonl",
            "{\"prompt\": \"q=\", \"completion\": \"a\"}\n{\"prompt\": \"q=\", \"completion\": \"" +
                std::string(40, 'a') + "\"}\n");
  expect_said(
      said({"dataset.train.path=" + path, "model.actor.max_positions=32", "call.sft.n_seqs=2"},
           "sft_arithmetic.cfg"),
      "error",
      ":2: prompt, completion and end token are 43 tokens, more than the 32 positions of role "
      "actor");
}

TEST_F(DataChecks, SetsForEvaluationDoNotSlipIntoTraining) {
  const Sets off = {"evaluate.dataset=", "evaluate.every_steps=0", "evaluate.max_prompts=0"};
  const auto with = [&](Sets sets, const std::string& more) {
    sets.push_back(more);
    return sets;
  };

  expect_said(said(off), "warning", "dataset.eval: it is trained on");
  expect_unsaid(said(with(off, "dataset.eval.use=train")), "trained on");
  expect_said(said(with(off, "dataset.eval.use=evaluate")), "warning",
              "dataset.eval.use: nothing evaluates it");
  EXPECT_EQ(job(with(off, "dataset.eval.use=evaluate")).training_places(), std::vector<int>{0});
  EXPECT_EQ(job(with(off, "dataset.eval.use=train")).training_places(), (std::vector<int>{0, 1}));
  expect_said(said({"dataset.eval.use=evaluate", "dataset.train.use=evaluate"}), "error",
              "none is left to train on");
  // The shipped configuration evaluates on what it trains on.
  expect_said(said({}), "warning", "its records are those of train");
}

TEST_F(DataChecks, TheOnlySetIsTrainedAndEvaluatedOnWhereThatIsSaid) {
  expect_said(said({"dataset.train.use=auto"}, "dpo_tiny.cfg"), "warning",
              "evaluate.dataset: it is the only data set, so it is trained on as well");
  expect_unsaid(said({}, "dpo_tiny.cfg"), "evaluate.dataset");
}

TEST_F(DataChecks, MinibatchesLeaveNoDataRankEmpty) {
  expect_said(said({"call.actor_train.n_minibatches=17"}), "error",
              "n_seqs = 8 of 4 answers give each of 2 data ranks 16 to learn from, fewer than 17");
  expect_unsaid(said({"call.actor_train.n_minibatches=16"}), "minibatches");
  expect_said(said({"call.sft.n_seqs=4", "call.sft.n_minibatches=3"}, "sft_arithmetic.cfg"),
              "error", "give each of 2 data ranks 2 to learn from");
}

TEST_F(DataChecks, RandomWeightsAreSaidOrRefused) {
  expect_said(said({}), "warning", "model.actor: it has no path: it begins with random weights");
  const std::string path = model("m");
  expect_unsaid(said({"model.actor.path=" + path}), "random");
  expect_said(said({"model.actor.path=" + path}, "dpo_tiny.cfg"), "error",
              "model.ref: it has no path, so its weights are random, and nothing trains it");
}

TEST_F(DataChecks, SizesBesideAPathHaveNoEffect) {
  expect_said(said({"model.actor.path=" + model("m")}), "warning",
              "model.actor.n_layers: 2 has no effect: the files of model.actor.path say 1");
}

TEST_F(DataChecks, ARewardModelWithoutATrainedHeadIsRefused) {
  const std::string path = model("m");
  expect_said(
      said({"model.reward.path=" + path, "model.actor.path=" + path}, "ppo_reward_model.cfg"),
      "error", "its value head would be random, and nothing trains it");
}

TEST_F(DataChecks, AByteTokenizerOnAModelThatHasAnotherIsSaidOrRefused) {
  const std::string path = model("m", 1100);
  const std::string actor = "model.actor.path=" + path;

  expect_said(said({actor}), "warning", "has a vocabulary of 1100 and no tokenizer.json");
  std::ofstream(in("m") / "tokenizer.model") << "x";
  expect_said(said({actor}), "error", "has tokenizer.model: this model does not read bytes");
  expect_said(said({actor, "model.actor.tokenizer=byte"}), "warning", "has tokenizer.model");
  fs::copy_file(kTokenizer, in("m") / "tokenizer.json");
  std::ofstream(in("m") / "tokenizer_config.json") << R"({"eos_token": "<|eos|>"})";
  expect_said(said({actor, "model.actor.tokenizer=byte"}), "warning",
              "the run's tokenizer is byte, but");
  expect_unsaid(said({actor}), "tokenizer is");
}

TEST_F(DataChecks, TheTemplatesOfTheModelAreMissedWhereTheyAreLeftOut) {
  const std::string actor = "model.actor.path=" + model("m", 1100);
  fs::copy_file(kTokenizer, in("m") / "tokenizer.json");
  std::ofstream(in("m") / "tokenizer_config.json")
      << R"({"eos_token": "<|eos|>", "chat_template": "{{ messages }}"})";

  expect_said(said({actor}), "warning",
              "dataset.train.prompt_prefix: nothing stands around the prompts, but");
  expect_unsaid(said({actor, "dataset.train.prompt_suffix=x", "dataset.eval.prompt_suffix=x"}),
                "chat template");
  EXPECT_EQ(job({actor}).experiment.datasets[0].second.add_bos, "true");
  expect_said(said({actor, "dataset.train.add_bos=false"}), "warning",
              "dataset.train.add_bos: prompts do not begin as the tokenizer's own template");
  EXPECT_EQ(job({}).experiment.datasets[0].second.add_bos, "false");
}

TEST_F(DataChecks, ShapesAreComparedWithoutReadingWeights) {
  const std::string path = model("m");
  std::string text;
  std::getline(std::ifstream(in("m") / "config.json"), text, '\0');
  const size_t at = text.find("\"intermediate_size\": 16");
  ASSERT_NE(at, std::string::npos) << text;
  std::ofstream(in("m") / "config.json") << text.replace(at, 23, "\"intermediate_size\": 24");

  const Sets sets = {"model.actor.path=" + path};
  try {
    prepare_job(ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg", sets, 2, DataCheck::kLeaveOut);
    ADD_FAILURE() << "it was accepted";
  } catch (const ConfigError& error) {
    expect_said(error.what(), "", "shape");
    expect_said(error.what(), "", "model.actor.path");
  }
}

TEST_F(DataChecks, PromptsThatAreEvaluatedAndTrainedOnAreCountedByWhatTheModelGets) {
  std::string train, held_out;
  for (int i = 0; i < 8; ++i) {
    const std::string a = std::to_string(i), b = std::to_string(i + 5);
    train += "{\"prompt\": \"" + a + "+1=\", \"answer\": \"1\"}\n";
    held_out += "{\"prompt\": \"" + b + "+1=\", \"answer\": \"2\", \"level\": 1}\n";
  }
  const Sets sets = {"dataset.train.path=" + write("train.jsonl", train),
                     "dataset.eval.path=" + write("eval.jsonl", held_out)};
  const std::string said_of_all = said(sets);
  EXPECT_NE(said_of_all.find("evaluate.dataset: 3 of 8 prompts of eval are trained on as well, in "
                             "train"),
            std::string::npos)
      << said_of_all;
  EXPECT_EQ(job(sets).n_in_training, std::vector<int64_t>{3});

  Sets first = sets;
  first.push_back("evaluate.max_prompts=2");
  EXPECT_EQ(job(first).n_in_training, std::vector<int64_t>{2}) << "of those that are used";
  Sets other = sets;
  other.push_back("dataset.eval.prompt_prefix=Q: ");
  EXPECT_EQ(job(other).n_in_training, std::vector<int64_t>{0}) << "the model gets another text";
}

TEST_F(DataChecks, FieldsThatResultsAreToldApartByAreCounted) {
  const std::string some =
      write("eval.jsonl", records(8, R"("prompt": "1+2=", "answer": "3", "level": 4)"));
  const std::string none = write("none.jsonl", records(8));

  expect_said(said({"dataset.eval.path=" + some, "evaluate.by=level"}), "warning",
              "evaluate.by: only 1 of 8 records");
  expect_said(said({"dataset.eval.path=" + none, "evaluate.by=level"}), "error",
              "evaluate.by: none of 8 records");
}

TEST_F(DataChecks, WhatIsKeptAsTheBestIsMeasured) {
  const std::string some =
      write("eval.jsonl", records(8, R"("prompt": "1+2=", "answer": "3", "level": 4)"));
  const Sets sets = {"dataset.eval.path=" + some, "evaluate.by=level", "evaluate.every_steps=1"};
  Sets there = sets, missing = sets;
  there.push_back("evaluate.keep_best=level=4/accuracy");
  missing.push_back("evaluate.keep_best=level=7/accuracy");

  EXPECT_THAT(said(there), testing::Not(testing::HasSubstr("keep_best")));
  expect_said(said(missing), "error", "evaluate.keep_best: is never measured: none of 8 records");
}

TEST_F(DataChecks, WhatNeedsAnswersOfTheModelIsRefusedForOtherKinds) {
  expect_said(said({"evaluate.samples=4", "evaluate.temperature=1"}, "reward_model_tiny.cfg"),
              "error", "evaluate.samples: data sets of kind preferences");
}

}  // namespace
}  // namespace orrery::cli
