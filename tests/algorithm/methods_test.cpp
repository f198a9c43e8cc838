// What `method = NAME` makes of a configuration, and which combinations of options are refused
// before a run.
#include "orrery/algorithm/methods.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "orrery/algorithm/agreements.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/text.h"
#include "orrery/config/load.h"
#include "orrery/config/options.h"

namespace orrery::algorithm {
namespace {

struct Loaded {
  config::Experiment experiment;
  std::vector<config::Problem> problems;
  std::vector<config::Problem> warnings;

  std::string of_train(const char* option) const {
    for (const auto& [name, call] : experiment.calls) {
      if (name == "train") return config::option_or<std::string>(call, option, "");
    }
    return "";
  }
};

/// A graph of three calls whose train_step has these lines beside what it needs.
Loaded load(const std::string& train, const std::string& inputs = "") {
  const std::string text = base::concat(R"(
[experiment]
total_steps = 2
[dataset.d]
path = .
[model.actor]
[model.none]
architecture = none
[call.aux]
model = actor
kind = generate
interface = generate
n_seqs = 4
inputs = packed_prompts
outputs = packed_input_ids:other_ids
max_new_tokens = 3
[call.gen]
model = actor
kind = generate
interface = generate
n_seqs = 4
inputs = packed_prompts
outputs = packed_input_ids, prompt_mask, packed_logprobs, versions, seq_no_eos_mask
group_size = 4
max_new_tokens = 12
[call.reward]
model = none
kind = inference
interface = rule_reward
n_seqs = 4
inputs = packed_input_ids, prompt_mask, answers
outputs = rewards
[call.train]
model = actor
kind = train_step
interface = grpo
n_seqs = 4
inputs = packed_input_ids, prompt_mask, packed_logprobs, rewards, seq_no_eos_mask)",
                                        inputs, "\n", train, "\n");
  Loaded result;
  config::LoadResult read = config::load_experiment_text(text, "x.cfg", interface_schemas());
  result.experiment = std::move(read.experiment);
  result.problems = std::move(read.problems);
  expand_methods(result.experiment, result.warnings);
  inherit_options(result.experiment, result.problems, result.warnings);
  check_calls(result.experiment, result.problems, result.warnings);
  return result;
}

std::string texts(const std::vector<config::Problem>& problems) {
  std::string all;
  for (const config::Problem& each : problems) all += each.message() + "\n";
  return all;
}

TEST(Methods, AreSoundAndStandInTheResolvedConfiguration) {
  for (const Method& method : methods()) {
    SCOPED_TRACE(method.name);
    const Loaded got = load(base::concat("method = ", method.name));

    EXPECT_EQ(texts(got.problems), "");
    EXPECT_EQ(texts(got.warnings), "");
    for (const MethodOption& option : method.options) {
      EXPECT_EQ(got.of_train(option.name), option.value) << option.name;
    }
    const std::string resolved = config::resolved_config(got.experiment, interface_schemas());
    EXPECT_NE(resolved.find(base::concat("method = ", method.name)), std::string::npos);
  }
}

/// `inputs` or `outputs` of a call of the resolved configuration.
std::string resolved_keys(const Loaded& loaded, const char* call, const char* list) {
  const std::string text = config::resolved_config(loaded.experiment, interface_schemas());
  const size_t section = text.find(base::concat("[call.", call, "]"));
  const size_t begin = text.find(base::concat("\n", list, " = "), section) + 1;
  return text.substr(begin, text.find('\n', begin) - begin);
}

TEST(Methods, BringTheKeysThatTheyReadFromGeneration) {
  const Loaded got = load("method = high_entropy");

  EXPECT_THAT(resolved_keys(got, "gen", "outputs"), testing::EndsWith(", entropies"));
  EXPECT_THAT(resolved_keys(got, "train", "inputs"), testing::EndsWith(", entropies"));
  // What generation writes already is not written twice.
  const Loaded with_versions = load("method = a3po");
  EXPECT_THAT(resolved_keys(with_versions, "gen", "outputs"),
              testing::EndsWith("packed_logprobs, versions, seq_no_eos_mask"));
  EXPECT_THAT(resolved_keys(with_versions, "train", "inputs"), testing::EndsWith(", versions"));
}

TEST(Methods, OfAConstantLengthTakeThatOfGeneration) {
  EXPECT_EQ(load("method = dr_grpo").of_train("constant_length"), "12");
  EXPECT_EQ(load("method = dr_grpo\nconstant_length = 7").of_train("constant_length"), "7");
}

TEST(Methods, GiveWayToWhatIsWrittenWithANotice) {
  const Loaded got = load("method = dapo\nclip_range_high = 0.3");

  EXPECT_EQ(texts(got.problems), "");
  EXPECT_EQ(got.of_train("clip_range_high"), "0.3");
  ASSERT_EQ(got.warnings.size(), 1u);
  EXPECT_EQ(got.warnings[0].text,
            "call.train.clip_range_high: 0.3 holds, although method = dapo means 0.28");
}

struct Refused {
  const char* options;
  const char* key;
};

/// Each names the key that is at fault.
const std::vector<Refused> kRefused = {
    {"method = grpoo", "method"},
    {"surrogate = cispo\nc_clip = 3", "c_clip"},
    {"surrogate = dppo_tv\nratio_level = sequence", "ratio_level"},
    {"surrogate = reinforce\nratio_level = sequence", "ratio_level"},
    {"surrogate = gmpo", "aggregation"},
    {"surrogate = sapo\nclip_range_high = 0.3", "clip_range_high"},
    {"surrogate = ppo", "surrogate"},
    {"aggregation = constant", "constant_length"},
    {"aggregation = seq_mean_token_sum\nearly_stop_kl = 0.1", "early_stop_kl"},
    {"kl_loss = 0.1", "kl_loss"},
    {"entropy_coef = -1", "entropy_coef"},
    {"top_entropy_fraction = 1.5", "top_entropy_fraction"},
    {"top_entropy_fraction = 0.5", "top_entropy_fraction"},
    {"interpolate_proximal = true", "interpolate_proximal"},
    {"rollout_upper = 2", "rollout_upper"},
    {"rollout_correction = mask", "rollout_correction"},
    {"rollout_correction = truncate\nrecompute_log_probs = true", "rollout_correction"},
    {"rollout_correction = truncate\nrollout_lower = 2\nrollout_upper = 1", "rollout_lower"},
    {"rollout_correction = truncate\nmax_staleness = 1", "max_staleness"},
    {"max_staleness = 1", "max_staleness"},
    {"estimator = pass_at_k", "pass_k"},
    {"estimator = pass_at_k\npass_k = 5", "pass_k"},
    {"estimator = rloo\nadv_norm = true", "adv_norm"},
    {"estimator = rloo\nleave_one_out = true", "leave_one_out"},
    {"kl_reward_estimator = k3", "kl_reward_estimator"},
    {"estimator = reinforce_plus_plus\nwhiten_scope = sequences\ndiscount = 0.9", "whiten_scope"},
    {"ratio_level = sequence\nclip_range = 0.0003\ngmpo_clip_low = 0.1", "gmpo_clip_low"},
    {"ratio_level = sequence_token\nclip_range = 0.0003\ngmpo_clip_high = 1", "gmpo_clip_high"},
    {"method = gspo\ndppo_threshold = 0.1", "dppo_threshold"},
    {"method = gspo\nsurrogate = dppo_kl", "ratio_level"},
    {"method = gspo\nsurrogate = gmpo", "ratio_level"},
    {"reward_weight = 0", "reward_weight"},
    {"method = gdpo\nmax_reward_clip = 5", "max_reward_clip"},
    {"recompute_log_probs = true\nbehav_imp_weight_cap = 0.9", "behav_imp_weight_cap"},
    {"early_stop_imp_ratio = 0.5", "early_stop_imp_ratio"},
    {"rollout_correction = truncate\nrollout_upper = 0.5", "rollout_upper"},
    {"rollout_correction = mask\nrollout_lower = 1.5", "rollout_lower"},
    {"rollout_correction = truncate\nveto_ratio_min = 2", "veto_ratio_min"},
    {"rollout_correction = truncate\nveto_ratio_max = 0.9", "veto_ratio_max"},
    {"rollout_correction = truncate\ninterpolate_proximal = true", "rollout_correction"},
    {"rollout_correction = truncate\nsampling_weight_cap = 2", "sampling_weight_cap"},
    {"method = maxrl\nkl_coef = 0.1", "kl_coef"},
    {"method = rloo\ngroup_std = batch", "group_std"},
};

TEST(ObjectiveOptions, AreRefusedWithFileAndLine) {
  const std::string problems = texts(load("entropy_coef = -1").problems);

  EXPECT_THAT(problems, testing::MatchesRegex("x\\.cfg:[0-9]+: call\\.train\\.entropy_coef: .*\n"));
}

TEST(ObjectiveOptions, ThatMakeNoSenseAreRefusedBeforeARun) {
  for (const Refused& refused : kRefused) {
    SCOPED_TRACE(refused.options);
    const std::string problems = texts(load(refused.options).problems);
    EXPECT_NE(problems.find(base::concat("call.train.", refused.key, ":")), std::string::npos)
        << problems;
  }
}

TEST(ObjectiveOptions, ThatChangeNothingAreNamed) {
  const std::string warnings = texts(load("gmpo_clip_low = 0.1\nkl_loss_estimator = k1").warnings);

  EXPECT_NE(warnings.find("call.train.gmpo_clip_low: has no effect"), std::string::npos);
  EXPECT_NE(warnings.find("call.train.kl_loss_estimator: has no effect"), std::string::npos);
}

TEST(ObjectiveOptions, OfADeviationAreNamedWhereNothingIsDivided) {
  const char* const kDeviation[] = {"group_std_kind = sample", "group_eps = 5",
                                    "group_eps_mode = variance_floor"};
  for (const char* undivided : {"group_adv_norm = false", "method = dr_grpo", "method = rloo",
                                "method = maxrl", "group_std = none"}) {
    for (const char* option : kDeviation) {
      EXPECT_THAT(texts(load(base::concat(undivided, "\n", option)).warnings),
                  testing::HasSubstr("has no effect without a deviation"))
          << undivided << ", " << option;
    }
  }
  for (const char* divided : {"", "estimator = grpo\ngroup_std = batch", "method = gdpo",
                              "method = reinforce_plus_plus"}) {
    for (const char* option : kDeviation) {
      EXPECT_THAT(texts(load(base::concat(divided, "\n", option)).warnings),
                  testing::Not(testing::HasSubstr("has no effect")))
          << divided << ", " << option;
    }
  }
  EXPECT_THAT(texts(load("group_adv_norm = false\ngroup_std = batch").warnings),
              testing::HasSubstr("call.train.group_std: has no effect"));
}

TEST(ObjectiveOptions, OfASingleAnswerAreNamedWhereThereIsNoUseForOne) {
  const std::string kSaid = "call.train.single_answer: has no effect";
  for (const char* without : {"", "method = dr_grpo", "method = maxrl"}) {
    EXPECT_THAT(texts(load(base::concat(without, "\nsingle_answer = keep_reward")).warnings),
                testing::HasSubstr(kSaid))
        << without;
  }
  for (const char* with : {"group_adv_norm = false\nleave_one_out = true", "method = rloo"}) {
    EXPECT_THAT(texts(load(base::concat(with, "\nsingle_answer = keep_reward")).warnings),
                testing::Not(testing::HasSubstr(kSaid)))
        << with;
  }
}

TEST(ObjectiveOptions, ThatAreHardlyMeantAreNamed) {
  const auto warnings = [](const char* train, const char* inputs = "") {
    return texts(load(train, inputs).warnings);
  };
  EXPECT_THAT(warnings("ratio_level = sequence"), testing::HasSubstr("call.train.clip_range: 0.2"));
  EXPECT_THAT(warnings("clip_range = 1"), testing::HasSubstr("call.train.clip_range"));
  EXPECT_THAT(warnings("method = rloo\nppo_epochs = 2"),
              testing::HasSubstr("call.train.ppo_epochs"));
  EXPECT_THAT(warnings("top_entropy_fraction = 1", ", entropies"),
              testing::HasSubstr("call.train.top_entropy_fraction: 1 leaves out no token"));
  EXPECT_THAT(warnings("", ", entropies"), testing::HasSubstr("are measured and not read"));
  EXPECT_THAT(warnings("surrogate = dppo_tv\ndppo_threshold = 1"),
              testing::HasSubstr("call.train.dppo_threshold: from 1 on nothing is blocked"));
}

TEST(ObjectiveOptions, NameInputsThatNothingReads) {
  const struct {
    const char* input;
    const char* reader;
  } inputs[] = {{"packed_ref_logprobs", "kl_loss = 0.1"},
                {"packed_ref_logprobs", "kl_coef = 0.1"},
                {"versions", "interpolate_proximal = true"},
                {"versions", "rollout_correction = truncate\nrollout_upper = 2"},
                {"sampling_logprobs", "sampling_weight_cap = 2"},
                {"sampling_logprobs", "rollout_correction = truncate\nrollout_upper = 2"}};
  for (const auto& [input, reader] : inputs) {
    const std::string bound = base::concat(", ", input);
    const std::string said = base::concat("call.train.inputs: ", input);
    EXPECT_THAT(texts(load("", bound).warnings), testing::HasSubstr(said));
    EXPECT_THAT(texts(load(reader, bound).warnings), testing::Not(testing::HasSubstr(said)))
        << reader;
  }
}

TEST(ObjectiveOptions, APenaltyThatNoAnswerIsLongEnoughForIsNamed) {
  const auto warnings = [](const char* most) {
    return texts(
        load(base::concat("[call.reward]\noverlong_buffer = 2\noverlong_max_length = ", most))
            .warnings);
  };
  EXPECT_THAT(warnings("13"), testing::AllOf(testing::HasSubstr("call.reward.overlong_max_length"),
                                             testing::HasSubstr("call.gen.max_new_tokens = 12")));
  EXPECT_EQ(warnings("12"), "");
}

}  // namespace
}  // namespace orrery::algorithm
