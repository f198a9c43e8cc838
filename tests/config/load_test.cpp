#include "orrery/config/load.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>

#include "config_folder.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::config {
namespace {

TEST(Load, ReadsEverySection) {
  ConfigFolder folder;
  const std::string text =
      "[experiment]\nname = demo\ntotal_steps = 3\nseed = 7\n[layout]\ndefault = d2@0-1\n"
      "[checkpoint]\nkeep = 5\n[evaluate]\ndataset = train\nevery_steps = 10\n[export]\n"
      "at_end = no\n[dataset.train]\npath = train.jsonl\nweight = 0.5\n[model.actor]\nlr = 1e-3\n"
      "[call.actor_gen]\nmodel = actor\nkind = generate\ninterface = gen\nn_seqs = 8\n"
      "inputs = packed_prompts\noutputs = ids:packed_input_ids, mask\ngroup_size = 4\n";

  const LoadResult result = folder.load(text);

  EXPECT_EQ(folder.messages(result.problems), Texts());
  const Experiment& e = result.experiment;
  EXPECT_EQ(e.experiment.name, "demo");
  EXPECT_EQ(e.experiment.seed, 7);
  EXPECT_EQ(e.layout.default_layout, "d2@0-1");
  EXPECT_EQ(e.checkpoint.keep, 5);
  EXPECT_EQ(e.evaluate.every_steps, 10);
  EXPECT_FALSE(e.export_.at_end);
  EXPECT_EQ(e.find_dataset("train")->weight, 0.5);
  EXPECT_EQ(e.find_model("actor")->lr, 1e-3);
  EXPECT_EQ(e.find_model("actor")->beta2, 0.95);
  const CallConfig& call = *e.find_call("actor_gen");
  EXPECT_EQ(call.kind, "generate");
  EXPECT_EQ(call.n_seqs, 8);
  EXPECT_EQ(call.outputs, (std::vector<KeyBinding>{{"ids", "packed_input_ids"}, {"mask", "mask"}}));
  ASSERT_EQ(call.options.size(), 1u);
  EXPECT_EQ(call.options[0].name, "group_size");
  EXPECT_EQ(call.options[0].value, "4");
  EXPECT_EQ(call.options[0].where.line, 26);
}

TEST(Load, KeepsNamedSectionsInTheirOrder) {
  ConfigFolder folder;
  Parts parts;
  parts.model = "[model.zed]\n[model.actor]\n";
  parts.rest = "[call.b]\nmodel = zed\nkind = train_step\ninterface = learn\nn_seqs = 8\n";

  const LoadResult result = folder.load(parts.text());

  EXPECT_EQ(folder.messages(result.problems), Texts());
  ASSERT_EQ(result.experiment.models.size(), 2u);
  EXPECT_EQ(result.experiment.models[0].first, "zed");
  EXPECT_EQ(result.experiment.calls[0].first, "actor_gen");
  EXPECT_EQ(result.experiment.calls[1].first, "b");
  EXPECT_EQ(result.experiment.find_model("ref"), nullptr);
}

TEST(Load, ReportsAllMistakesEachWithFileAndLine) {
  ConfigFolder folder;
  Parts parts;
  parts.experiment = "[experiment]\ntotal_steps = many\nseeds = 1\n";
  parts.model = "[model.actor]\nlr = 2\ndtype = fp23\n";
  parts.rest = "hello\n[modle.actor]\nlr = 1\n";

  EXPECT_EQ(
      folder.problems(parts.text()),
      (Texts{"x.cfg:16: 'hello' is neither a [section] nor `key = value`",
             "x.cfg:2: experiment.total_steps: 'many' is not an integer",
             "x.cfg:3: unknown key experiment.seeds; did you mean seed?",
             "x.cfg:7: model.actor.lr: must be 0 to 1, got 2",
             "x.cfg:8: model.actor.dtype: must be one of fp32, fp64, bf16, got 'fp23'; did you "
             "mean fp32?",
             "x.cfg:17: unknown section [modle.actor]; did you mean model?; there are "
             "[experiment], [layout], [checkpoint], [evaluate], [export], [dynamic_sampling], "
             "[dataset.X], [evaluate.X], "
             "[model.X], [call.X]",
             "x.cfg:1: the run would never end: set experiment.total_steps, total_epochs or "
             "total_seconds"}));
}

TEST(Load, AKeyWithAProblemKeepsItsDefault) {
  ConfigFolder folder;
  Parts parts;
  parts.model = "[model.actor]\nlr = 2\n";

  EXPECT_EQ(folder.load(parts.text()).experiment.find_model("actor")->lr, ModelConfig().lr);
}

TEST(Load, AFileThatCannotBeReadIsTheOnlyProblem) {
  ConfigFolder folder;

  const LoadResult result =
      load_experiment(folder.path("gone.cfg"), Texts{"model.actor.lr=1"}, some_interfaces());

  ASSERT_EQ(result.problems.size(), 1u);
  EXPECT_EQ(folder.messages(result.problems)[0].rfind(
                "gone.cfg: cannot open: No such file or directory", 0),
            0u);
}

TEST(Load, AFolderIsNoConfiguration) {
  ConfigFolder folder;

  const LoadResult result = load_experiment(folder.path(""), {}, some_interfaces());

  ASSERT_EQ(result.problems.size(), 1u);
  EXPECT_NE(result.problems[0].text.find("is a folder"), std::string::npos);
}

TEST(Load, AnEmptyFileLacksEverything) {
  EXPECT_EQ(ConfigFolder().problems(""),
            (Texts{"x.cfg: there is no [call.X]: include a graph such as graphs/grpo.cfg",
                   "x.cfg: there is no [dataset.X]",
                   "x.cfg: the run would never end: set experiment.total_steps, total_epochs or "
                   "total_seconds"}));
}

TEST(Load, TakesWindowsLineEnds) {
  ConfigFolder folder;
  std::string text;
  for (const char c : Parts().text()) text += c == '\n' ? std::string("\r\n") : std::string(1, c);

  const LoadResult result = folder.load(text);

  EXPECT_EQ(folder.messages(result.problems), Texts());
  EXPECT_EQ(result.experiment.find_call("actor_gen")->kind, "generate");
}

TEST(Load, InputPathsAreRelativeToTheFileThatStatesThem) {
  ConfigFolder folder;
  folder.write("shared/data/rows.jsonl", "{}\n");
  folder.write("shared/base.cfg", "[dataset.train]\npath = data/../data/rows.jsonl\n");
  Parts parts;
  parts.dataset = "";

  const LoadResult result = folder.load("include = shared/base.cfg\n" + parts.text());

  EXPECT_EQ(folder.messages(result.problems), Texts());
  EXPECT_EQ(result.experiment.find_dataset("train")->path, folder.path("shared/data/rows.jsonl"));
}

TEST(Load, InputPathsOfSetsAreRelativeToTheWorkingDirectory) {
  const LoadResult result = ConfigFolder().load(Parts().text(), {"dataset.train.path=gone.jsonl"});

  ASSERT_EQ(result.problems.size(), 1u);
  EXPECT_EQ(result.problems[0].message(),
            base::concat("--set dataset.train.path=gone.jsonl: dataset.train.path: no such file or "
                         "folder: ",
                         (std::filesystem::current_path() / "gone.jsonl").string()));
}

TEST(Load, OutputIsRelativeToTheWorkingDirectory) {
  const LoadResult result = ConfigFolder().load(Parts().text(), {"experiment.output_dir=out/x/.."});

  EXPECT_EQ(result.experiment.experiment.output_dir,
            (std::filesystem::current_path() / "out/").string());
}

TEST(Load, NamesAFileThatDoesNotExist) {
  ConfigFolder folder;
  Parts parts;
  parts.dataset = "[dataset.train]\npath = gone.jsonl\n";
  parts.model = "[model.actor]\npath = nowhere\n";

  EXPECT_EQ(folder.problems(parts.text()),
            (Texts{"x.cfg:4: dataset.train.path: no such file or folder: gone.jsonl",
                   "x.cfg:6: model.actor.path: no such file or folder: nowhere"}));
}

TEST(Load, APathThatTheSystemRefusesIsAProblemNotAnException) {
  Parts parts;
  parts.dataset = "[dataset.train]\npath = " + std::string(5000, 'x') + "\n";

  const Texts problems = ConfigFolder().problems(parts.text());

  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].find("File name too long"), std::string::npos) << problems[0];
}

TEST(Load, ADatasetNeedsAPath) {
  Parts parts;
  parts.rest = "[dataset.trian]\n[dataset.other]\npath =\n";

  EXPECT_EQ(ConfigFolder().problems(parts.text()),
            (Texts{"x.cfg:14: dataset.trian.path is missing; did you mean dataset.train?",
                   "x.cfg:15: dataset.other.path is missing"}));
}

TEST(Load, StopsAtTooManySections) {
  std::string text = "[experiment]\nname = x\n";
  for (size_t i = 0; i < 8 * kMostSections; ++i) {
    text += base::concat("[call.x", i, "]\nunknown = 1\n");
  }

  const LoadResult loaded = load_experiment_text(text, "x.cfg", {});

  ASSERT_EQ(loaded.problems.size(), 1u) << "nothing is said of what each of them has wrong";
  EXPECT_NE(loaded.problems[0].text.find("more than 1000 sections"), std::string::npos);
  EXPECT_TRUE(loaded.experiment.calls.empty());
}

TEST(Load, ChecksTheNamesOfSections) {
  Parts parts;
  parts.rest = "[model]\n[call.]\n[dataset.a/b]\n[model.a.b]\n[experiment.x]\n";

  const Texts problems = ConfigFolder().problems(parts.text());

  ASSERT_EQ(problems.size(), 5u) << testing::PrintToString(problems);
  EXPECT_EQ(problems[0], "x.cfg:14: [model] needs a name: [model.X]");
  EXPECT_EQ(problems[1], "x.cfg:15: [call] needs a name: [call.X]");
  EXPECT_EQ(problems[2],
            "x.cfg:16: [dataset.a/b]: the name a/b may have letters, digits, _ and - only");
  EXPECT_EQ(problems[3],
            "x.cfg:17: [model.a.b]: the name a.b may have letters, digits, _ and - only");
  EXPECT_EQ(problems[4].rfind("x.cfg:18: unknown section [experiment.x]", 0), 0u);
}

TEST(LoadCall, ReportsWhatIsMissing) {
  Parts parts;
  parts.call = "[call.actor_gen]\nmodel = actor\nkind =\n";

  EXPECT_EQ(ConfigFolder().problems(parts.text()),
            (Texts{"x.cfg:9: call.actor_gen.kind: must be one of generate, inference, train_step, "
                   "got ''",
                   "x.cfg:7: call.actor_gen.kind is missing",
                   "x.cfg:7: call.actor_gen.interface is missing",
                   "x.cfg:7: call.actor_gen.n_seqs is missing: set it, or "
                   "experiment.prompts_per_step for all calls"}));
}

TEST(LoadCall, TakesTheSamplesOfAStepUnlessItStatesItsOwn) {
  const auto n_seqs = [](const std::string& of_call) {
    Parts parts;
    parts.experiment += "prompts_per_step = 16\n";
    parts.call = "[call.actor_gen]\nmodel = actor\nkind = generate\ninterface = gen\n" + of_call;
    const LoadResult result = ConfigFolder().load(parts.text());
    EXPECT_TRUE(result.problems.empty());
    return result.experiment.calls.front().second.n_seqs;
  };
  EXPECT_EQ(n_seqs(""), 16);
  EXPECT_EQ(n_seqs("n_seqs = 4\n"), 4);
}

TEST(LoadCall, ChecksTheOptionsOfItsInterface) {
  Parts parts;
  parts.call += "group_sise = 4\ntemperature = 0\nmatch = near\n";

  EXPECT_EQ(ConfigFolder().problems(parts.text()),
            (Texts{"x.cfg:14: unknown key call.actor_gen.group_sise of interface gen; did you mean "
                   "group_size?",
                   "x.cfg:15: call.actor_gen.temperature: must be above 0, got 0",
                   "x.cfg:16: call.actor_gen.match: must be one of exact, numeric, got 'near'"}));
}

TEST(LoadCall, OffersCommonKeysAsWellAsOptions) {
  Parts parts;
  parts.call += "laoyut = d2\n";

  EXPECT_EQ(ConfigFolder().problems(parts.text()),
            (Texts{"x.cfg:14: unknown key call.actor_gen.laoyut of interface gen; did you mean "
                   "layout?"}));
}

TEST(LoadCall, OffersTheNearestInterface) {
  EXPECT_EQ(ConfigFolder().problems(Parts().text(), {"call.actor_gen.interface=lern"}),
            (Texts{"--set call.actor_gen.interface=lern: call.actor_gen.interface: unknown "
                   "interface lern; did you mean learn?; there are gen, learn"}));
}

TEST(LoadCall, OneThatIsSwitchedOffMayBeIncomplete) {
  Parts parts;
  parts.rest = "[call.ref_inf]\nenabled = false\nmodel = ref\ninterface = not_there_yet\nx = 1\n";

  EXPECT_EQ(ConfigFolder().problems(parts.text()), Texts());
}

TEST(LoadCall, OneThatIsSwitchedOffMayNotBeMisspelled) {
  Parts parts;
  parts.call += "enabled = off\ntemprature = 2\nn_seqs = x\n";
  parts.call.erase(parts.call.find("n_seqs = 8\n"), 11);
  parts.rest = "[call.b]\nmodel = actor\nkind = train_step\ninterface = learn\nn_seqs = 8\n";

  EXPECT_EQ(ConfigFolder().problems(parts.text()),
            (Texts{"x.cfg:15: call.actor_gen.n_seqs: 'x' is not an integer",
                   "x.cfg:14: unknown key call.actor_gen.temprature of interface gen; did you mean "
                   "temperature?"}));
}

TEST(LoadCall, AMisspelledNameInSetIsNotANewCall) {
  EXPECT_EQ(ConfigFolder().problems(Parts().text(), {"call.actor_gne.n_micro_batches=2"}),
            (Texts{"--set call.actor_gne.n_micro_batches=2: there is no whole call call.actor_gne; "
                   "did you mean call.actor_gen?"}));
}

TEST(Load, RefusesLineBreaksInSets) {
  const Texts problems = ConfigFolder().problems(
      Parts().text(), {"experiment.name=a\nb", "call.actor_gen.match=exact\nx"});

  ASSERT_EQ(problems.size(), 2u);
  EXPECT_NE(problems[0].find("experiment.name: a value cannot contain a line break"),
            std::string::npos);
  EXPECT_NE(problems[1].find("call.actor_gen.match: a value cannot contain a line break"),
            std::string::npos);
}

TEST(Where, FindsTheKeyItsSectionOrTheFile) {
  ConfigFolder folder;
  const Experiment e = folder.load(Parts().text(), {"model.actor.beta1=0.8"}).experiment;

  EXPECT_EQ(e.where("call.actor_gen.kind").line, 9);
  EXPECT_EQ(e.where("call.actor_gen.layout").line, 7);
  EXPECT_EQ(e.where("model.actor.beta1").file, "--set model.actor.beta1=0.8");
  EXPECT_EQ(e.where("evaluate.dataset").line, 0);
  EXPECT_EQ(e.where("evaluate.dataset").file, folder.path("x.cfg"));
  EXPECT_EQ(Experiment().where("a.b").file, "");
}

TEST(DropConsequences, KeepsOnlyWhatTheReaderDidNotSay) {
  std::vector<Problem> problems = {{"x", 1, "call.a.kind: must be one of", "call.a.kind"},
                                   {"x", 2, "model.b.path is missing", "model.b.path"},
                                   {"x", 3, "there is no [dataset.X]"},
                                   {"x", 1, "call.a.kind: interface gen has no ", "call.a.kind"},
                                   {"x", 2, "model.b.path: cannot read", "model.b.path"},
                                   {"x", 3, "of no single key either"},
                                   {"x", 4, "call.a.kindness: another key", "call.a.kindness"},
                                   {"x", 5, "call.a.layout: one fault", "call.a.layout"},
                                   {"x", 5, "call.a.layout: another fault", "call.a.layout"}};

  drop_consequences(problems, 3);

  Texts texts;
  for (const Problem& problem : problems) texts.push_back(problem.text);
  EXPECT_EQ(texts, (Texts{"call.a.kind: must be one of", "model.b.path is missing",
                          "there is no [dataset.X]", "of no single key either",
                          "call.a.kindness: another key", "call.a.layout: one fault",
                          "call.a.layout: another fault"}));
}

TEST(ThrowIfProblems, ListsAllAndExitsWithTwo) {
  EXPECT_NO_THROW(throw_if_problems({}));
  try {
    throw_if_problems({{"x.cfg", 3, "one"}, {"--set a.b=c", 0, "two"}, {"", 0, "three"}});
    FAIL() << "nothing was thrown";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(),
                 "3 problems with the configuration, nothing was started\n  x.cfg:3: one\n"
                 "  --set a.b=c: two\n  three");
    EXPECT_EQ(error.exit_code(), 2);
  }
}

/// Seconds of the processor to read so many unknown keys.
double seconds_of(int n_keys) {
  ConfigFolder folder;
  Parts parts;
  for (int i = 0; i < n_keys; ++i) parts.rest += base::concat("key_", i, " = ", i, "\n");
  const std::clock_t begin = std::clock();
  const LoadResult result = folder.load(parts.text());
  EXPECT_EQ(result.problems.size(), static_cast<size_t>(n_keys));
  EXPECT_THROW(throw_if_problems(result.problems), ConfigError);
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

TEST(Load, TimeGrowsWithTheNumberOfUnknownKeysAndNotWithItsSquare) {
  const double few = std::max(seconds_of(5'000), 0.005);

  EXPECT_LT(seconds_of(50'000), 40 * few);
}

TEST(Load, ShowsTheFirstOfVeryManyProblems) {
  std::vector<Problem> problems(1234, Problem{.file = "x.cfg", .line = 1, .text = "wrong"});
  try {
    throw_if_problems(problems);
    FAIL();
  } catch (const ConfigError& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.substr(0, 13), "1234 problems");
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 101);
    EXPECT_TRUE(text.ends_with("\n  and 1134 more")) << text.substr(text.size() - 40);
  }
}

TEST(Load, CountsAndTimesHaveALargestValue) {
  ConfigFolder folder;
  Parts parts;
  parts.experiment =
      "[experiment]\ntotal_epochs = 1\ntotal_steps = 1000000001\nseed = 9223372036854775807\n";

  EXPECT_EQ(folder.problems(parts.text()),
            (Texts{"x.cfg:3: experiment.total_steps: must be at most 1000000000, got 1000000001"}));
  EXPECT_EQ(folder.problems(Parts().text(), {"call.actor_gen.group_size=4611686018427387904",
                                             "call.actor_gen.n_seqs=9223372036854775807",
                                             "experiment.deadline_seconds=1e300",
                                             "model.actor.max_grad_norm=1e300"}),
            (Texts{"--set experiment.deadline_seconds=1e300: experiment.deadline_seconds: must be "
                   "at most 1e+09 seconds, got 1e+300",
                   "--set call.actor_gen.n_seqs=9223372036854775807: call.actor_gen.n_seqs: must "
                   "be at most 1000000000, got 9223372036854775807",
                   "--set call.actor_gen.group_size=4611686018427387904: "
                   "call.actor_gen.group_size: must be at most 1000000000, got "
                   "4611686018427387904"}));
}

}  // namespace
}  // namespace orrery::config
