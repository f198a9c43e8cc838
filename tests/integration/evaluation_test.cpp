// Evaluations of whole runs: several sets, the same numbers in every layout and batch, the best
// model kept, a run that was killed, `orrery evaluate` beside the run that it looks at, bad input.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "integration/runs_for_test.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// grpo_tiny.cfg that is evaluated on two sets of one file whose records have a level: greedy by
/// the rule, and sampled by a Python function and a form.
class Evaluations : public testing::Test {
 protected:
  Evaluations() {
    std::ofstream records(folder_ / "sums.jsonl");
    for (int a = 0; a < 5; ++a) {
      for (int b = 0; b < 4; ++b) {
        records << "{\"prompt\": \"" << a << "+" << b << "=\", \"answer\": \"" << a + b
                << "\", \"level\": " << (a > 2 ? 2 : 1) << "}\n";
      }
    }
    std::ofstream(folder_ / "judge.py") << R"(
def reward(records):
    return [{"reward": sum(map(ord, r["response"])) % 5 / 4, "size": len(r["response"])} for r in records]
)";
    std::ofstream(folder_ / "two.cfg")
        << "include = " << source("configs/grpo_tiny.cfg") << "\n"
        << "[experiment]\noutput_dir = " << folder_.path().string() << "\n"
        << "[dataset.sums]\npath = sums.jsonl\n[dataset.eval]\nuse = evaluate\n"
        << "[call.reward]\ninterface = command_reward\nfunction = judge.py:reward\n"
        << "[call.judge]\nenabled = false\ninterface = command_reward\nfunction = judge.py:reward\n"
        << "[call.form]\nenabled = false\ninterface = format_reward\nmax_tokens = 3\n"
        << "[evaluate]\nsets = greedy, drawn\ndataset = sums\nby = level\nmax_prompts = 0\n"
        << "[evaluate.greedy]\nmatch = numeric\n"
        << "[evaluate.drawn]\nsamples = 4\ntemperature = 1\ntop_p = 0.9\nk = 1, 2, 4\n"
        << "rewards = judge:1.0, form:0.5\ncorrect_above = 0.75\n";
  }

  Result train(int n_workers, const std::string& name, const std::string& more,
               const std::string& environment = "") const {
    return job("train", n_workers, "--set experiment.name=" + name + " " + more, environment);
  }

  Result job(const std::string& command, int n_workers, const std::string& more,
             const std::string& environment = "") const {
    return run(environment +
               " OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PMIX_MCA_psec=native "
               "OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1 mpirun --oversubscribe -n " +
               std::to_string(1 + n_workers) + " " + ORRERY_PROGRAM + " " + command + " " +
               (folder_ / "two.cfg").string() + " " + more);
  }

  /// Every number of evaluations but times, by step and name; each once.
  std::map<std::string, double> numbers(const fs::path& run) const {
    std::map<std::string, double> found;
    for (const auto& row : read_jsonl(run / "metrics.jsonl")) {
      for (const auto& [name, value] : row["metrics"].items()) {
        if (!name.starts_with("eval/")) continue;
        const bool is_new =
            found.emplace(row["step"].dump() + " " + name, value.get<double>()).second;
        EXPECT_TRUE(is_new) << "twice: " << row["step"] << " " << name;
      }
    }
    return found;
  }

  /// All answers of a set, by row and member.
  std::map<std::pair<int, int>, std::string> answers(const fs::path& run, const std::string& set,
                                                     const std::string& step) const {
    std::map<std::pair<int, int>, std::string> found;
    for (const auto& file : fs::directory_iterator(run / "evaluations" / set)) {
      if (!file.path().filename().string().starts_with(step)) continue;
      for (const auto& line : read_jsonl(file.path())) {
        found[{line["row"].get<int>(), line["member"].get<int>()}] =
            line["response"].get<std::string>() + " " + line["right"].dump();
      }
    }
    return found;
  }

  TemporaryFolder folder_;
};

TEST_F(Evaluations, OfSeveralSetsHaveTheirOwnMetricsAndAnswers) {
  const Result result = train(1, "two", "--set experiment.total_steps=1");

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const std::map<std::string, double> found = numbers(folder_ / "two");
  EXPECT_EQ(found.at("0 eval/greedy/n_prompts"), 20);
  EXPECT_EQ(found.at("0 eval/greedy/n_answers"), 20);
  EXPECT_EQ(found.at("0 eval/drawn/n_answers"), 80);
  EXPECT_EQ(found.at("0 eval/drawn/prefilled_tokens"), found.at("0 eval/greedy/prefilled_tokens"))
      << "four answers to a prompt share its prefill";
  EXPECT_EQ(found.at("0 eval/drawn/level=1/n_prompts"), 12);
  EXPECT_EQ(found.at("0 eval/drawn/level=2/n_prompts"), 8);
  EXPECT_GE(found.at("0 eval/drawn/pass@4"), found.at("0 eval/drawn/pass@2"));
  EXPECT_NEAR(found.at("0 eval/drawn/pass@1"), found.at("0 eval/drawn/accuracy"), 1e-12);
  EXPECT_EQ(found.count("0 eval/drawn/maj@4"), 0u) << "no rule reads an answer";
  EXPECT_EQ(found.count("0 eval/drawn/reward/judge"), 1u);
  EXPECT_EQ(found.count("0 eval/drawn/reward/form"), 1u);
  EXPECT_EQ(found.at("0 eval/greedy/n_in_training"), 20);
  EXPECT_THAT(result.output,
              HasSubstr("20 of 20 prompts of sums are trained on as well, in train"));
  EXPECT_EQ(answers(folder_ / "two", "greedy", "step-00000000").size(), 20u);
  EXPECT_EQ(answers(folder_ / "two", "drawn", "step-00000001").size(), 80u);
}

TEST_F(Evaluations, AreTheSameInEveryLayoutAndBatchAndNumberOfProcesses) {
  const std::string before =
      "--set evaluate.at_end=false --set evaluate.every_steps=0 --set experiment.total_steps=1 "
      "--set export.at_end=false ";
  ASSERT_EQ(train(1, "one", before).exit_code, 0);
  const std::map<std::string, double> expected = numbers(folder_ / "one");
  ASSERT_GT(expected.size(), 30u);
  const struct {
    const char* name;
    int n_workers;
    const char* sets;
  } runs[] = {{"batch", 1, "--set evaluate.max_batch=3 --set call.judge.batch_size=2"},
              {"data", 2, "--set layout.default=d2t1p1@0-1 --set call.judge.concurrency=2"},
              {"pipe", 2, "--set layout.default=d1t1p2@0-1"}};
  for (const auto& other : runs) {
    const Result result = train(other.n_workers, other.name, before + other.sets);

    ASSERT_EQ(result.exit_code, 0) << result.output;
    EXPECT_EQ(numbers(folder_ / other.name), expected) << other.name;
    for (const char* set : {"greedy", "drawn"}) {
      EXPECT_EQ(answers(folder_ / other.name, set, "step-00000000"),
                answers(folder_ / "one", set, "step-00000000"))
          << other.name;
    }
  }
}

TEST_F(Evaluations, OfTheCommandAreThoseOfTheRun) {
  ASSERT_EQ(train(1, "run", "--set experiment.total_steps=2").exit_code, 0);
  const std::map<std::string, double> during = numbers(folder_ / "run");

  const Result result =
      job("evaluate", 2, "--name alone --model " + (folder_ / "run/models/latest").string());

  ASSERT_EQ(result.exit_code, 0) << result.output;
  std::map<std::string, double> at_end;
  for (const auto& [name, value] : during) {
    if (name.starts_with("2 ")) at_end["0" + name.substr(1)] = value;
  }
  ASSERT_GT(at_end.size(), 30u);
  EXPECT_EQ(numbers(folder_ / "alone"), at_end);
  EXPECT_THAT(result.output, HasSubstr("drawn   pass@4"));
  std::ifstream in(folder_ / "alone/evaluation.json");
  const auto written = nlohmann::json::parse(in);
  EXPECT_EQ(written["sets"][1]["set"], "drawn");
  EXPECT_EQ(written["sets"][1]["metrics"]["pass@4"], at_end.at("0 eval/drawn/pass@4"));
  EXPECT_EQ(answers(folder_ / "alone", "drawn", "step-00000000"),
            answers(folder_ / "run", "drawn", "step-00000002"));
  EXPECT_TRUE(fs::is_empty(folder_ / "alone/checkpoints")) << "nothing was trained";
}

TEST_F(Evaluations, KeepTheBestModelAndARunThatWasKilledKeepsTheSame) {
  const std::string common =
      "--set experiment.total_steps=8 --set evaluate.every_steps=1 --set checkpoint.every_steps=2 "
      "--set model.actor.lr=1e-2 --set evaluate.keep_best=drawn/reward --set evaluate.stop_after=3 "
      "--set export.keep=1 ";
  const Result whole = train(1, "whole", common);
  ASSERT_EQ(whole.exit_code, 0) << whole.output;
  for (const char* fault : {"checkpoint.data:kill:1", "checkpoint.rename:kill:2"}) {
    EXPECT_NE(train(1, "cut", common, std::string("ORRERY_FAULT=") + fault).exit_code, 0);
  }

  const Result cut = train(1, "cut", common);

  ASSERT_EQ(cut.exit_code, 0) << cut.output;
  const std::map<std::string, double> expected = numbers(folder_ / "whole");
  EXPECT_EQ(numbers(folder_ / "cut"), expected);
  double best = -1;
  std::string best_step;
  for (const auto& [name, value] : expected) {
    const size_t at = name.find(" eval/drawn/reward");
    if (at == std::string::npos || name.size() != at + 18 || value <= best) continue;
    best = value;
    best_step = name.substr(0, at);
  }
  EXPECT_EQ(expected.at(best_step + " eval/best"), best);
  for (const char* run : {"whole", "cut"}) {
    const fs::path models = folder_ / run / "models";
    EXPECT_EQ(fs::read_symlink(models / "best"), "step-0000000" + best_step);
    EXPECT_TRUE(fs::exists(models / "best/actor/model.safetensors"));
    EXPECT_LE(std::distance(fs::directory_iterator(models), fs::directory_iterator()), 6)
        << "old ones went";
  }
}

TEST_F(Evaluations, RefuseBadInputBeforeAnythingIsStarted) {
  const struct {
    std::string sets;
    std::string said;
  } mistakes[] = {
      {"evaluate.by=nosuch", "evaluate.by: none of 20 records"},
      {"evaluate.drawn.rewards=jugde:1",
       "evaluate.drawn.rewards: there is no [call.jugde]; did you "
       "mean judge?"},
      {"evaluate.drawn.rewards=judge", "must be a list as math:1.0, format:0.2, got 'judge'"},
      {"evaluate.drawn.rewards=actor_gen:1", "cannot reward the answers of an evaluation"},
      {"call.judge.function=" + (folder_ / "judge.py").string() + ":nosuch", "nosuch"},
      {"evaluate.drawn.k=8", "evaluate.drawn.k: 8 is more than samples (4)"},
      {"evaluate.sets=greedy,drawn,other --set evaluate.dataset=", "the set other has no data"},
  };
  for (const auto& mistake : mistakes) {
    const Result result = train(1, "bad", "--set " + mistake.sets);

    EXPECT_EQ(result.exit_code, 2) << mistake.sets << "\n" << result.output;
    EXPECT_THAT(result.output, HasSubstr(mistake.said));
    EXPECT_FALSE(fs::exists(folder_ / "bad"));
  }
  std::ofstream(folder_ / "sums.jsonl", std::ios::trunc);
  const Result empty = train(1, "bad", "");
  EXPECT_EQ(empty.exit_code, 2);
  EXPECT_THAT(empty.output, HasSubstr("an empty file"));
}

TEST_F(Evaluations, OfTheCommandRefuseAModelThatIsNotThere) {
  const Result missing = job("evaluate", 1, "--model " + (folder_ / "nosuch").string());
  EXPECT_EQ(missing.exit_code, 2) << missing.output;
  EXPECT_THAT(missing.output, HasSubstr("no such folder"));

  const Result none = job("evaluate", 1, "");
  EXPECT_EQ(none.exit_code, 2) << none.output;
  EXPECT_THAT(none.output, HasSubstr("role actor has no files: give --model DIR"));
}

}  // namespace
}  // namespace orrery::integration
