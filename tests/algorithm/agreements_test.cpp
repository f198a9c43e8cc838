// Options that calls must agree on: stated once, inherited, refused or warned about where they
// differ; and no interface can forget to say.
#include "orrery/algorithm/agreements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "orrery/algorithm/ppo_options.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/error.h"
#include "orrery/config/load.h"

namespace orrery::algorithm {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

/// What every graph here begins with.
const std::string kDataAndActor = R"([experiment]
name = x
[dataset.train]
path = x.jsonl
[model.actor]
hidden_size = 32
)";

const std::string kGenerate = R"([model.rule]
architecture = none
[call.gen]
model = actor
kind = generate
interface = generate
inputs = packed_prompts
outputs = packed_input_ids, prompt_mask, packed_logprobs, seq_no_eos_mask
n_seqs = 4
)";

const std::string kReward = R"([call.reward]
model = rule
kind = inference
interface = rule_reward
inputs = packed_input_ids, prompt_mask, answers
outputs = rewards
n_seqs = 4
)";

/// A PPO graph with a rule and a reference.
const std::string kPpo = kDataAndActor + "[model.critic]\nhead = value\n" + kGenerate + kReward +
                         R"([call.ref_inf]
model = ref
kind = inference
interface = ppo_actor
inputs = packed_input_ids
outputs = packed_logprobs:packed_ref_logprobs
n_seqs = 4
[call.critic_inf]
model = critic
kind = inference
interface = ppo_critic
inputs = packed_input_ids
outputs = values
n_seqs = 4
[call.critic_train]
model = critic
kind = train_step
interface = ppo_critic
inputs = packed_input_ids, prompt_mask, packed_logprobs, packed_ref_logprobs, rewards, values, seq_no_eos_mask
n_seqs = 4
[call.train]
model = actor
kind = train_step
interface = ppo_actor
inputs = packed_input_ids, prompt_mask, packed_logprobs, packed_ref_logprobs, rewards, values, seq_no_eos_mask
n_seqs = 4
)";

/// A GRPO graph.
const std::string kGrpo = kDataAndActor + kGenerate + "group_size = 4\n" + kReward + R"([call.train]
model = actor
kind = train_step
interface = grpo
inputs = packed_input_ids, prompt_mask, packed_logprobs, rewards, seq_no_eos_mask
n_seqs = 4
)";

struct Outcome {
  config::Experiment experiment;
  std::vector<std::string> problems, warnings;

  /// What the call has for the option, as it is resolved.
  std::string value(const std::string& call, const std::string& option) const {
    for (const config::Option& each : experiment.find_call(call)->options) {
      if (each.name == option) return each.value;
    }
    return "";
  }
};

/// `text` with `key = value` lines added to sections, as the file x.cfg would have them.
Outcome outcome(std::string text,
                const std::vector<std::pair<std::string, std::string>>& additions) {
  for (const auto& [section, line] : additions) {
    const std::string heading = "[" + section + "]\n";
    const size_t at = text.find(heading);
    if (at == std::string::npos) {
      text += heading + line + "\n";
    } else {
      text.insert(at + heading.size(), line + "\n");
    }
  }
  Outcome result;
  result.experiment = config::load_experiment_text(text, "x.cfg", interface_schemas()).experiment;
  std::vector<config::Problem> problems, warnings;
  inherit_options(result.experiment, problems, warnings);
  check_calls(result.experiment, problems, warnings);
  for (const config::Problem& problem : problems) result.problems.push_back(problem.message());
  for (const config::Problem& warning : warnings) result.warnings.push_back(warning.message());
  return result;
}

TEST(Temperature, IsThatOfTheGenerationInEveryCallOfThePolicy) {
  const Outcome got = outcome(kPpo, {{"call.gen", "temperature = 6e-1"}});

  EXPECT_THAT(got.problems, IsEmpty());
  EXPECT_THAT(got.warnings, IsEmpty());
  EXPECT_EQ(got.value("train", "temperature"), "0.6");
  EXPECT_EQ(got.value("ref_inf", "temperature"), "0.6");
}

TEST(Temperature, CanBeStatedAgainInAnotherForm) {
  const Outcome got = outcome(kPpo, {{"call.gen", "temperature = 0.60"},
                                     {"call.ref_inf", "temperature = 6e-1"},
                                     {"call.train", "temperature = .6"}});

  EXPECT_THAT(got.problems, IsEmpty());
}

TEST(Temperature, ThatDiffersIsAnErrorWithBothPlaces) {
  const Outcome got =
      outcome(kPpo, {{"call.train", "temperature = 1"}, {"call.gen", "temperature = 0.6"}});

  EXPECT_THAT(got.problems,
              ElementsAre(AllOf(HasSubstr("call.train.temperature = 1 (x.cfg:"),
                                HasSubstr("call.gen.temperature = 0.6 (x.cfg:12)"),
                                HasSubstr("write 0.6"), HasSubstr("recompute_log_probs"))));
}

TEST(Temperature, OfTrainingAloneIsAnErrorToo) {
  EXPECT_THAT(outcome(kPpo, {{"call.train", "temperature = 0.6"}}).problems,
              ElementsAre(HasSubstr("call.gen.temperature = 1 (x.cfg:11, the default)")));
}

TEST(Temperature, OfAReferenceMustBeThatOfThePolicy) {
  EXPECT_THAT(
      outcome(kPpo, {{"call.ref_inf", "temperature = 1"}, {"call.gen", "temperature = 0.6"}})
          .problems,
      Contains(AllOf(HasSubstr("call.ref_inf.temperature"), HasSubstr("call.gen"))));
}

TEST(Temperature, ThatDiffersIsAWarningWhereTheDifferenceIsCorrected) {
  const Outcome got = outcome(kPpo, {{"call.gen", "temperature = 0.6"},
                                     {"call.train", "temperature = 1"},
                                     {"call.train", "recompute_log_probs = true"},
                                     {"call.ref_inf", "temperature = 1"}});

  EXPECT_THAT(got.problems, IsEmpty());
  EXPECT_THAT(got.warnings, Contains(AllOf(HasSubstr("call.train.temperature = 1"),
                                           HasSubstr("call.gen.temperature = 0.6"))));
  EXPECT_EQ(got.value("train", "temperature"), "1") << "both are recorded";
  EXPECT_EQ(got.value("gen", "temperature"), "0.6");
}

TEST(Temperature, ThatDiffersIsAWarningWithARolloutCorrection) {
  const auto with = [](const char* correction) {
    return outcome(kGrpo, {{"call.gen", "temperature = 0.7"},
                           {"call.train", "temperature = 1"},
                           {"call.train", correction}});
  };
  const Outcome got = with("rollout_correction = truncate\nrollout_upper = 2");

  EXPECT_THAT(got.problems, IsEmpty());
  EXPECT_THAT(got.warnings, Contains(AllOf(HasSubstr("call.train.temperature = 1"),
                                           HasSubstr("call.gen.temperature = 0.7"))));
  EXPECT_EQ(got.value("train", "temperature"), "1");
  EXPECT_EQ(got.value("gen", "temperature"), "0.7");
  EXPECT_THAT(with("rollout_correction = none").problems,
              ElementsAre(HasSubstr("recompute_log_probs or rollout_correction two values")));
}

TEST(Temperature, ThatCannotBeReadIsOneProblem) {
  EXPECT_THAT(outcome(kPpo, {{"call.gen", "temperature = 0"}}).problems, IsEmpty())
      << "the reader has found it";
}

TEST(ActorAndCritic, ShareWhatEitherStates) {
  const Outcome got = outcome(kPpo, {{"call.critic_train", "value_norm = true"},
                                     {"call.train", "discount = 0.9"},
                                     {"call.train", "max_reward_clip = 3"},
                                     {"call.critic_train", "n_minibatches = 4"}});

  EXPECT_THAT(got.problems, IsEmpty());
  EXPECT_EQ(got.value("train", "value_norm"), "true");
  EXPECT_EQ(got.value("critic_train", "discount"), "0.9");
  EXPECT_EQ(got.value("critic_train", "max_reward_clip"), "3");
  EXPECT_EQ(got.value("train", "n_minibatches"), "") << "each has its own";
  EXPECT_EQ(got.value("critic_inf", "value_norm"), "") << "an inference uses none of them";
}

TEST(ActorAndCritic, ThatDifferInAnyOfThemAreRefused) {
  size_t n_checked = 0;
  for (const config::FieldInfo& field : config::schema_of<EstimationOptions>()) {
    if (field.name == "n_minibatches" || field.name == "ppo_epochs") continue;
    SCOPED_TRACE(field.name);
    std::pair<const char*, const char*> values = {"0.5", "0.25"};
    if (field.type == "true or false") values = {"true", "false"};
    if (field.type == "integer") values = {"1", "2"};
    if (field.name == "value_norm_type") values = {"exp", "ma"};
    if (field.name == "single_answer") values = {"zero", "keep_reward"};
    const Outcome got = outcome(kPpo, {{"call.train", field.name + " = " + values.first},
                                       {"call.critic_train", field.name + " = " + values.second}});

    EXPECT_THAT(got.problems, Contains(AllOf(HasSubstr("call.train." + field.name + " = "),
                                             HasSubstr("call.critic_train." + field.name + " = "),
                                             HasSubstr("learn from values"))));
    ++n_checked;
  }
  EXPECT_GT(n_checked, 20u);
}

TEST(ActorAndCritic, NameAReferenceThatNothingReads) {
  const std::string said = ".inputs: packed_ref_logprobs is not read with kl_coef = 0";

  EXPECT_THAT(outcome(kPpo, {{"call.train", "kl_coef = 0"}}).warnings,
              AllOf(Contains(HasSubstr("call.train" + said)),
                    Contains(HasSubstr("call.critic_train" + said))));
  EXPECT_THAT(outcome(kPpo, {}).warnings, Each(Not(HasSubstr(said))));
}

TEST(Match, OfAnEvaluationIsThatOfTheReward) {
  const Outcome inherited = outcome(kGrpo, {{"call.reward", "match = numeric"}});
  EXPECT_EQ(inherited.value("train", "match"), "numeric");
  EXPECT_THAT(inherited.warnings, IsEmpty());

  const Outcome other =
      outcome(kGrpo, {{"call.reward", "match = numeric"}, {"call.train", "match = exact"}});
  EXPECT_THAT(other.problems, IsEmpty());
  EXPECT_THAT(other.warnings, ElementsAre(HasSubstr("is that meant?")));
}

/// kGrpo with two rules that a combined reward adds up.
std::string with_combined_rewards() {
  std::string text = kGrpo;
  const std::string outputs = "outputs = rewards\n";
  text.replace(text.find(outputs), outputs.size(), "outputs = rewards:first\n");
  return text + R"([call.second]
model = rule
kind = inference
interface = rule_reward
inputs = packed_input_ids, prompt_mask, answers
outputs = rewards:second
n_seqs = 4
[call.sum]
model = rule
kind = inference
interface = combined_reward
inputs = packed_input_ids, prompt_mask, first, second
outputs = rewards
rewards = first:1, second:0.5
n_seqs = 4
)";
}

TEST(Match, OfAnEvaluationIsThatOfTheRewardsThatAreAddedUp) {
  const std::string text = with_combined_rewards();
  const Outcome same =
      outcome(text, {{"call.reward", "match = numeric"}, {"call.second", "match = numeric"}});
  EXPECT_EQ(same.value("train", "match"), "numeric");
  EXPECT_THAT(same.warnings, IsEmpty());

  const Outcome two =
      outcome(text, {{"call.reward", "match = numeric"}, {"call.second", "match = math"}});
  EXPECT_EQ(two.value("train", "match"), "numeric");
  EXPECT_THAT(two.warnings, ElementsAre(AllOf(HasSubstr("call.train.match: is taken from"),
                                              HasSubstr("call.reward.match = numeric (x.cfg:"),
                                              HasSubstr("call.second.match = math (x.cfg:"))));

  const Outcome written = outcome(text, {{"call.reward", "match = numeric"},
                                         {"call.second", "match = math"},
                                         {"call.train", "match = math"}});
  EXPECT_EQ(written.value("train", "match"), "math");
  EXPECT_THAT(written.warnings, IsEmpty());
}

TEST(Match, OfAnEvaluationThatIsWrittenThereAndDiffersIsAWarningWithBothKeys) {
  const auto with = [](const char* match) {
    return outcome(kGrpo, {{"evaluate", match}, {"evaluate", "dataset = train"}}).warnings;
  };
  EXPECT_THAT(with("match = math"),
              ElementsAre(AllOf(HasSubstr("x.cfg:"), HasSubstr("evaluate.match: math, but"),
                                HasSubstr("call.reward.match = exact"))));
  EXPECT_THAT(with("match = exact"), IsEmpty());
  EXPECT_THAT(with("match = auto"), IsEmpty());
}

TEST(Evaluation, LetsAnswersBeAsLongAsTrainingDoes) {
  const std::vector<std::pair<std::string, std::string>> evaluated = {
      {"evaluate", "dataset = train"}, {"call.gen", "max_new_tokens = 77"}};
  EXPECT_EQ(outcome(kGrpo, evaluated).experiment.evaluate.max_new_tokens, 77);

  auto shorter = evaluated;
  shorter.insert(shorter.begin() + 1, {"evaluate", "max_new_tokens = 5"});
  const Outcome got = outcome(kGrpo, shorter);
  EXPECT_EQ(got.experiment.evaluate.max_new_tokens, 5);
  EXPECT_THAT(got.warnings, ElementsAre(AllOf(HasSubstr("evaluate.max_new_tokens: 5"),
                                              HasSubstr("call.gen.max_new_tokens = 77"))));
}

TEST(Groups, OfOneAnswerAreRefusedByWhatNeedsAGroup) {
  for (const char* option : {"group_adv_norm = true", "group_adv_norm_by_token = true",
                             "leave_one_out = true", "skip_uniform_groups = true", "best_of = 1"}) {
    SCOPED_TRACE(option);
    EXPECT_THAT(outcome(kPpo, {{"call.train", option}}).problems,
                Contains(AllOf(HasSubstr("group_size = 1"), HasSubstr("teaches nothing"))));
  }
  EXPECT_THAT(outcome(kPpo, {}).problems, IsEmpty()) << "a critic needs none";
}

TEST(Groups, ShouldHaveAnswersThatDiffer) {
  for (const char* line : {"greedy = true", "top_k = 1"}) {
    const Outcome result = outcome(kGrpo, {{"call.gen", line}});
    EXPECT_THAT(result.problems, IsEmpty()) << line;
    EXPECT_THAT(result.warnings, Contains(HasSubstr(line)));
  }
}

TEST(Groups, HaveAsManyAnswersAsAreChosen) {
  EXPECT_THAT(outcome(kGrpo, {{"call.train", "best_of = 5"}}).problems,
              ElementsAre(HasSubstr("best_of = 5")));
  EXPECT_THAT(outcome(kGrpo, {{"call.train", "best_of = 4"}}).problems, IsEmpty());
}

TEST(Answers, ThatNeverEndCannotAllBeMasked) {
  for (const char* option : {"mask_too_long = true", "mask_no_eos_with_zero = true"}) {
    EXPECT_THAT(
        outcome(kGrpo, {{"call.train", option}, {"call.gen", "stop_at_eos = false"}}).problems,
        ElementsAre(HasSubstr("no answer ever ends")));
  }
}

TEST(Answers, ThatHaveNoRoomForAnEndCannotAllBeMasked) {
  for (const char* option : {"mask_too_long = true", "mask_no_eos_with_zero = true"}) {
    const auto with = [&](const char* lengths) {
      return outcome(kGrpo, {{"call.train", option}, {"call.gen", lengths}}).problems;
    };
    EXPECT_THAT(with("min_new_tokens = 6\nmax_new_tokens = 6"),
                ElementsAre(AllOf(HasSubstr("x.cfg:"), HasSubstr("call.train.mask_"),
                                  HasSubstr("no answer ever ends"), HasSubstr("(call.gen)"))));
    EXPECT_THAT(with("min_new_tokens = 5\nmax_new_tokens = 6"), IsEmpty());
  }
  EXPECT_THAT(outcome(kGrpo, {{"call.gen", "min_new_tokens = 6\nmax_new_tokens = 6"}}).problems,
              IsEmpty());
}

/// kGrpo with a reward of form instead of the rule.
std::string with_form() {
  std::string text = kGrpo;
  const std::string rule = "interface = rule_reward\n";
  return text.replace(text.find(rule), rule.size(), "interface = format_reward\n");
}

TEST(Forms, ThatNoGeneratedAnswerHasOrEveryOneAreRefused) {
  const auto with = [&](const char* form) {
    return outcome(with_form(),
                   {{"call.gen", "max_new_tokens = 6\nmin_new_tokens = 2"}, {"call.reward", form}});
  };
  EXPECT_THAT(with("min_tokens = 10").problems,
              ElementsAre(AllOf(HasSubstr("call.reward.min_tokens"), HasSubstr("no answer has 10"),
                                HasSubstr("2 to 6 tokens (call.gen)"))));
  EXPECT_THAT(with("max_tokens = 1").problems, ElementsAre(HasSubstr("more than 1")));
  for (const char* idle :
       {"max_tokens = 100", "min_tokens = 2", "min_tokens = 2\nmax_tokens = 6"}) {
    EXPECT_THAT(with(idle).problems, ElementsAre(HasSubstr("every answer has the form"))) << idle;
  }
  for (const char* good : {"max_tokens = 5", "min_tokens = 3", "pattern = a\nmin_tokens = 1"}) {
    EXPECT_THAT(with(good).problems, IsEmpty()) << good;
    EXPECT_THAT(with(good).warnings, IsEmpty()) << good;
  }
  const Outcome half = with("pattern = a\nmax_tokens = 100");
  EXPECT_THAT(half.problems, IsEmpty());
  EXPECT_THAT(half.warnings, ElementsAre(HasSubstr("call.reward.max_tokens: has no effect")));
}

TEST(Rewards, OfRightAndWrongAnswersThatAreOneAreRefused) {
  for (const char* line : {"wrong = 1", "correct = 0", "correct = 2\nwrong = 2"}) {
    EXPECT_THAT(outcome(kGrpo, {{"call.reward", line}}).problems,
                ElementsAre(HasSubstr("right and wrong answers get one reward")))
        << line;
    EXPECT_THAT(
        outcome(with_form(), {{"call.reward", std::string("pattern = a\n") + line}}).problems,
        ElementsAre(HasSubstr("right and wrong answers get one reward")))
        << line;
  }
  const Outcome by_length = outcome(kGrpo, {{"call.reward", "wrong = 1\noverlong_max_length = 8"}});
  EXPECT_THAT(by_length.problems, IsEmpty());
  EXPECT_THAT(by_length.warnings, ElementsAre(HasSubstr("get one reward")));
}

TEST(Options, ThatContradictOrDoNothingAreNamed) {
  const auto train = [](const char* line) { return outcome(kGrpo, {{"call.train", line}}); };
  EXPECT_THAT(train("adaptive_kl = true").problems, ElementsAre(HasSubstr("kl_coef is 0")));
  EXPECT_THAT(train("reward_scaling = 0").problems, SizeIs(1));
  EXPECT_THAT(train("group_adv_norm_by_token = true").problems, SizeIs(1));
  EXPECT_THAT(train("adv_norm = true").problems, ElementsAre(HasSubstr("two deviations")));
  EXPECT_THAT(train("adv_norm = true\ngroup_std = none").problems, IsEmpty());
  EXPECT_THAT(train("adv_norm = true\ngroup_adv_norm = false").problems, IsEmpty());
  for (const char* line :
       {"length_free = 3", "value_norm = true", "behav_imp_weight_cap = 2", "discount = 0.9",
        "leave_one_out = true", "value_norm_type = ma", "value_norm_beta = 0.9",
        "value_norm_eps = 1e-3", "adaptive_kl_target = 1", "adaptive_kl_horizon = 5",
        "ema_decay = 0.5"}) {
    SCOPED_TRACE(line);
    EXPECT_THAT(train(line).problems, IsEmpty());
    EXPECT_THAT(train(line).warnings, ElementsAre(HasSubstr("has no effect")));
  }
  EXPECT_THAT(
      outcome(kPpo, {{"call.train", "group_adv_norm = true"}, {"call.gen", "group_size = 4"}})
          .problems,
      ElementsAre(HasSubstr("use interface grpo")));
  EXPECT_THAT(outcome(kPpo, {{"call.ref_inf", "kl_coef = 0.3"}}).warnings,
              ElementsAre(AllOf(HasSubstr("call.ref_inf.kl_coef"), HasSubstr("does not use it"))));
}

TEST(Roles, ThatBecomeThePolicyAfterEachStepAreNoReference) {
  const auto with = [](const char* decay) {
    return outcome(kPpo, {{"call.train", std::string("post_realloc = ref\n") + decay}});
  };
  EXPECT_THAT(with("").problems, IsEmpty());
  EXPECT_THAT(with("").warnings,
              ElementsAre(AllOf(HasSubstr("x.cfg:"), HasSubstr("call.train.post_realloc"),
                                HasSubstr("packed_ref_logprobs of call.ref_inf"),
                                HasSubstr("its divergence is 0"), HasSubstr("ema_decay"))));
  EXPECT_THAT(with("ema_decay = 1").warnings,
              ElementsAre(AllOf(HasSubstr("call.train.ema_decay: 1 leaves role ref as it is"))));
  EXPECT_THAT(with("ema_decay = 0.99").warnings, IsEmpty());
  EXPECT_THAT(outcome(kPpo, {{"call.train", "post_realloc = other"}}).warnings, IsEmpty());
}

TEST(Roles, ThatAreTheirOwnReferenceAreNamed) {
  std::string text = kPpo;
  text.replace(text.find("model = ref\n"), 12, "model = actor\n");
  EXPECT_THAT(outcome(text, {}).warnings,
              ElementsAre(AllOf(HasSubstr("packed_ref_logprobs comes from call.ref_inf"),
                                HasSubstr("same role actor"))));
}

TEST(Roles, ThatAreTrainedWithoutALearningRateAreNamed) {
  EXPECT_THAT(outcome(kGrpo, {{"model.actor", "lr = 0"}}).warnings,
              ElementsAre(AllOf(HasSubstr("x.cfg:6: model.actor.lr: 0"), HasSubstr("call.train"))));
}

TEST(ResolvedConfiguration, HasTheInheritedValuesAndGivesTheSameExperiment) {
  const Outcome first = outcome(kPpo, {{"call.gen", "temperature = 0.6"},
                                       {"call.train", "value_norm = true"},
                                       {"call.reward", "match = numeric"}});
  const std::string text = config::resolved_config(first.experiment, interface_schemas());

  const Outcome again = outcome(text, {});

  EXPECT_THAT(again.problems, IsEmpty());
  EXPECT_THAT(again.warnings, IsEmpty());
  EXPECT_EQ(again.value("ref_inf", "temperature"), "0.6");
  EXPECT_EQ(again.value("critic_train", "value_norm"), "true");
  EXPECT_EQ(config::resolved_config(again.experiment, interface_schemas()), text);
}

TEST(Interfaces, SayOfEveryOptionOfAnothersNameWhoseValueItHas) {
  for (const auto& [name, schema] : interface_schemas()) {
    EXPECT_THAT(undeclared_options(name), IsEmpty()) << name;
  }
}

struct HotOptions {
  double temperature = 1;
  bool leave_one_out = false;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    field(&HotOptions::temperature, "temperature", "divides the logits", config::above(0));
    field(&HotOptions::leave_one_out, "leave_one_out", "another thing", config::anything());
  }
};

class Hot final : public Interface {
 public:
  explicit Hot(HotOptions) {}
};

InterfaceSignature hot(std::vector<Agreement> agreements) {
  return {.kind = graph::CallKind::kInference,
          .required_inputs = {"packed_input_ids"},
          .optional_inputs = {},
          .outputs = {"heat"},
          .agreements = std::move(agreements)};
}

TEST(Interfaces, OfTheUsersCannotForgetTo) {
  const Agreement agreement = {.option = "temperature", .key = "packed_input_ids"};
  try {
    register_interface("forgetful", registration_of<Hot, HotOptions>({hot({})}));
    ADD_FAILURE() << "it was taken";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("forgetful"), HasSubstr("temperature"),
                                    HasSubstr("leave_one_out")));
  }
  EXPECT_TRUE(signatures_of("forgetful").empty()) << "nothing of it stays";
  EXPECT_THROW(register_interface("half", registration_of<Hot, HotOptions>({hot({agreement})})),
               ConfigError);

  register_interface("hot",
                     registration_of<Hot, HotOptions>({hot({agreement})}, {"leave_one_out"}));
  const Outcome got = outcome(kGrpo + R"([call.hot]
model = actor
kind = inference
interface = hot
inputs = packed_input_ids
n_seqs = 4
)",
                              {{"call.gen", "temperature = 0.7"}});
  EXPECT_THAT(got.problems, IsEmpty());
  EXPECT_EQ(got.value("hot", "temperature"), "0.7");
}

}  // namespace
}  // namespace orrery::algorithm
