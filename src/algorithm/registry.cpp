#include "orrery/algorithm/registry.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "orrery/algorithm/combined_reward.h"
#include "orrery/algorithm/command_reward.h"
#include "orrery/algorithm/distill.h"
#include "orrery/algorithm/dpo.h"
#include "orrery/algorithm/format_reward.h"
#include "orrery/algorithm/generation.h"
#include "orrery/algorithm/judge_reward.h"
#include "orrery/algorithm/label_checks.h"
#include "orrery/algorithm/possible_rewards.h"
#include "orrery/algorithm/ppo_actor.h"
#include "orrery/algorithm/ppo_critic.h"
#include "orrery/algorithm/reward_model.h"
#include "orrery/algorithm/rule_reward.h"
#include "orrery/algorithm/sft.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

/// Kinds of data sets that a train_step evaluates.
const std::vector<config::DatasetKind> kTexts = {config::DatasetKind::kPrompts,
                                                 config::DatasetKind::kCompletions};
const std::vector<config::DatasetKind> kPairs = {config::DatasetKind::kPreferences};

using graph::CallKind;

const std::vector<std::string> kGenerated = {"packed_input_ids",  "prompt_mask", "packed_logprobs",
                                             "sampling_logprobs", "entropies",   "versions",
                                             "seq_no_eos_mask"};

/// What a policy or a critic learns from.
const std::vector<std::string> kRewarded = {"packed_input_ids", "prompt_mask", "packed_logprobs",
                                            "rewards", "seq_no_eos_mask"};

std::vector<std::string> with(std::vector<std::string> keys, const char* key) {
  keys.emplace_back(key);
  return keys;
}

InterfaceSignature train_step_of(std::vector<std::string> inputs, std::vector<std::string> optional,
                                 std::vector<config::DatasetKind> evaluates) {
  return {.kind = CallKind::kTrainStep,
          .required_inputs = std::move(inputs),
          .optional_inputs = std::move(optional),
          .outputs = {},
          .evaluates = std::move(evaluates)};
}

InterfaceSignature inference_of(std::vector<std::string> inputs, std::vector<std::string> optional,
                                const char* output, ModelNeed model = ModelNeed::kLanguageModel) {
  return {.kind = CallKind::kInference,
          .required_inputs = std::move(inputs),
          .optional_inputs = std::move(optional),
          .outputs = {output},
          .model = model};
}

InterfaceSignature that_compares(InterfaceSignature signature) {
  signature.compares_answers = true;
  return signature;
}

InterfaceSignature that_combines(InterfaceSignature signature) {
  signature.takes_other_inputs = true;
  return signature;
}

InterfaceSignature that_reads_texts(InterfaceSignature signature) {
  signature.reads_texts = true;
  return signature;
}

InterfaceSignature of_value_head(InterfaceSignature signature) {
  signature.model = ModelNeed::kValueHead;
  return signature;
}

/// Of one call alone, whatever its interface.
const std::set<std::string> kOfOneCall = {"n_minibatches", "ppo_epochs", "dump_samples"};

template <class Options>
std::vector<std::string> names_of_options() {
  std::vector<std::string> names;
  for (const config::FieldInfo& field : config::schema_of<Options>()) names.push_back(field.name);
  return names;
}

/// Options that correct for answers drawn from another distribution than the one that is trained.
const std::vector<std::string> kCorrections = {"recompute_log_probs", "rollout_correction"};

/// Of a loss that has such an option.
Agreement temperature_of(const char* key) {
  return {.option = "temperature", .key = key, .corrected_by = kCorrections};
}

/// Of a loss that has none.
Agreement equal_temperature_of(const char* key) { return {.option = "temperature", .key = key}; }

/// What an actor and a critic make returns of: one critic's values belong to one kind of return.
std::vector<Agreement> shared_estimation() {
  std::vector<Agreement> agreements;
  for (const std::string& name : names_of_options<EstimationOptions>()) {
    if (kOfOneCall.contains(name)) continue;
    agreements.push_back({.option = name, .key = "values", .with = Agreement::With::kOtherReaders});
  }
  return agreements;
}

/// Of a policy's train_step, beside those.
std::vector<Agreement> agreements_of_policy(std::vector<Agreement> others) {
  std::vector<Agreement> agreements = {temperature_of("packed_logprobs"),
                                       temperature_of("packed_input_ids"),
                                       temperature_of("packed_ref_logprobs"),
                                       {.option = "match", .key = "rewards", .may_differ = true}};
  agreements.insert(agreements.end(), others.begin(), others.end());
  return agreements;
}

using Why = std::optional<std::string>;

Why two_answers(const std::string&, const std::string& group_size) {
  if (std::stoll(group_size) >= 2) return {};
  return "an answer that is alone in its group has nothing to be compared with and teaches "
         "nothing; write group_size = 2 or more, or switch the option off";
}

/// Of an estimator that compares the answers of a prompt.
Why two_answers_to_compare(const std::string& estimator, const std::string& group_size) {
  if (estimator == "by_options" || estimator == "reinforce_plus_plus") return {};
  return two_answers(estimator, group_size);
}

Why several_to_choose_from(const std::string& best_of, const std::string& group_size) {
  if (std::stoll(best_of) <= std::stoll(group_size)) return {};
  return "there are not so many answers to choose from; write group_size above it";
}

Why different_answers(const std::string&, const std::string& greedy) {
  if (greedy == "false") return {};
  return "all answers of a group are the same and teach nothing; write greedy = false";
}

Why more_than_one_token(const std::string&, const std::string& top_k) {
  if (top_k != "1") return {};
  return "all answers of a group are the same and teach nothing; write another top_k";
}

Why answers_that_end(const std::string&, const std::string& stop_at_eos) {
  if (stop_at_eos == "true") return {};
  return "no answer ever ends, so none is learned from; write stop_at_eos = true, or switch the "
         "option off";
}

Why answers_that_are_too_long(const std::string& longest, const std::string& max_new_tokens) {
  if (std::stoll(longest) <= std::stoll(max_new_tokens)) return {};
  return "no answer is so long, and none gets the whole penalty; write max_new_tokens, or less";
}

/// Of what may penalise long answers.
InterfaceSignature that_penalises_length(InterfaceSignature signature) {
  signature.needs = {{"overlong_max_length", "packed_input_ids", "max_new_tokens",
                      answers_that_are_too_long, OptionProblem::Severity::kWarning}};
  return signature;
}

int64_t number_in(const std::string& text) { return text.empty() ? 0 : std::stoll(text); }

/// Of what masks answers without an end.
std::optional<OptionProblem> room_for_an_end(const char* option, const OptionTexts& own,
                                             const OptionTexts& there) {
  const int64_t longest = number_in(there("max_new_tokens"));
  if (own(option) != "true" || longest == 0 || number_in(there("min_new_tokens")) < longest) {
    return std::nullopt;
  }
  return OptionProblem{
      option, base::concat("no answer ever ends, so none is learned from: min_new_tokens and "
                           "max_new_tokens are both ",
                           longest, "; write a smaller min_new_tokens, or switch the option off")};
}

std::vector<JointNeed> joint_needs_of_estimation() {
  std::vector<JointNeed> needs;
  for (const char* option : {"mask_too_long", "mask_no_eos_with_zero"}) {
    needs.push_back({"packed_input_ids", [option](const auto& own, const auto& there) {
                       return room_for_an_end(option, own, there);
                     }});
  }
  return needs;
}

/// Bounds of a form that no generated answer keeps, or every one.
std::optional<OptionProblem> bounds_that_tell(const OptionTexts& own, const OptionTexts& there) {
  const int64_t shortest = number_in(there("min_new_tokens"));
  const int64_t longest = number_in(there("max_new_tokens"));
  const int64_t least = number_in(own("min_tokens")), most = number_in(own("max_tokens"));
  if (longest == 0) return std::nullopt;
  if (own("pattern").empty() && least <= 1 && most == 0) return std::nullopt;  // said already
  const std::string lengths =
      base::concat("answers have ", std::max<int64_t>(shortest, 1), " to ", longest, " tokens");
  if (least > longest) {
    return OptionProblem{"min_tokens", base::concat("no answer has ", least, " tokens: ", lengths)};
  }
  if (most > 0 && most < shortest) {
    return OptionProblem{"max_tokens",
                         base::concat("every answer has more than ", most, " tokens: ", lengths)};
  }
  const bool is_least_idle = least <= std::max<int64_t>(shortest, 1);
  const bool is_most_idle = most == 0 || most >= longest;
  if (own("pattern").empty() && is_least_idle && is_most_idle) {
    return OptionProblem{most > 0 ? "max_tokens" : "min_tokens",
                         base::concat("every answer has the form and nothing is learned: ", lengths,
                                      "; write bounds between, or a pattern")};
  }
  if (most > 0 && is_most_idle) {
    return OptionProblem{"max_tokens", base::concat("has no effect: ", lengths),
                         OptionProblem::Severity::kWarning};
  }
  return std::nullopt;
}

InterfaceSignature that_bounds(InterfaceSignature signature) {
  signature.joint_needs = {{"packed_input_ids", bounds_that_tell}};
  return signature;
}

/// What the options of a policy or critic need of the call that generates.
std::vector<Need> needs_of_estimation() {
  std::vector<Need> needs;
  for (const char* option : {"group_adv_norm", "group_adv_norm_by_token", "leave_one_out",
                             "skip_uniform_groups", "best_of"}) {
    needs.push_back({option, "packed_input_ids", "group_size", two_answers});
    // Their log-probabilities may be what somebody wants to look at.
    constexpr auto kWarning = OptionProblem::Severity::kWarning;
    needs.push_back({option, "packed_input_ids", "greedy", different_answers, kWarning});
    needs.push_back({option, "packed_input_ids", "top_k", more_than_one_token, kWarning});
  }
  for (const char* option : {"best_of", "pass_k"}) {
    needs.push_back({option, "packed_input_ids", "group_size", several_to_choose_from});
  }
  needs.push_back({"estimator", "packed_input_ids", "group_size", two_answers_to_compare});
  for (const char* option : {"mask_too_long", "mask_no_eos_with_zero"}) {
    needs.push_back({option, "packed_input_ids", "stop_at_eos", answers_that_end});
  }
  return needs;
}

InterfaceSignature policy(std::vector<std::string> inputs, std::vector<Agreement> agreements) {
  InterfaceSignature signature =
      train_step_of(std::move(inputs),
                    {"packed_ref_logprobs", "dense_rewards", "sampling_logprobs", "entropies",
                     "versions", "rewards_2", "rewards_3"},
                    kTexts);
  signature.agreements = agreements_of_policy(std::move(agreements));
  signature.needs = needs_of_estimation();
  signature.joint_needs = joint_needs_of_estimation();
  signature.of_other_roles = {"packed_ref_logprobs"};
  return signature;
}

/// Log-probabilities of given answers: a reference model.
InterfaceSignature reference(Agreement temperature) {
  InterfaceSignature signature = inference_of({"packed_input_ids"}, {}, "packed_logprobs");
  signature.agreements = {std::move(temperature)};
  signature.options = {{"temperature"}};
  return signature;
}

InterfaceSignature critic() {
  InterfaceSignature signature = of_value_head(
      train_step_of(with(kRewarded, "values"), {"packed_ref_logprobs", "dense_rewards"}, {}));
  signature.agreements = shared_estimation();
  signature.needs = needs_of_estimation();
  signature.joint_needs = joint_needs_of_estimation();
  return signature;
}

InterfaceSignature preferences() {
  InterfaceSignature signature = train_step_of(
      {"packed_input_ids", "prompt_mask"},
      {"ref_seqlogp", "desirable", "kl_input_ids", "kl_prompt_mask", "kl_ref_seqlogp"}, kPairs);
  signature.of_other_roles = {"ref_seqlogp", "kl_ref_seqlogp"};
  return signature;
}

/// On-policy distillation: the student's answers with its own and the teacher's log-probabilities.
InterfaceSignature student() {
  InterfaceSignature signature =
      train_step_of({"packed_input_ids", "prompt_mask", "packed_logprobs", "teacher_logprobs"},
                    {"rewards"}, kTexts);
  signature.agreements = {equal_temperature_of("packed_logprobs"),
                          equal_temperature_of("packed_input_ids"),
                          equal_temperature_of("teacher_logprobs"),
                          {.option = "match", .key = "rewards", .may_differ = true}};
  signature.needs = {{"estimator", "packed_input_ids", "group_size", two_answers_to_compare}};
  signature.of_other_roles = {"teacher_logprobs"};
  return signature;
}

/// The same of whole distributions.
InterfaceSignature student_of_distributions() {
  InterfaceSignature signature =
      train_step_of({"packed_input_ids", "prompt_mask", "teacher_hidden"}, {}, kTexts);
  signature.of_other_roles = {"teacher_hidden"};
  return signature;
}

InterfaceSignature with_options(InterfaceSignature signature, std::vector<std::string> options) {
  signature.options = std::move(options);
  return signature;
}

/// Own options of rule_reward and command_reward: each has its penalty for long answers.
std::vector<std::string> with_overlong_options(std::vector<std::string> options) {
  for (std::string& name : names_of_options<OverlongOptions>()) options.push_back(std::move(name));
  return options;
}

std::map<std::string, Registration> built_in() {
  const std::vector<std::string> answered = {"packed_input_ids", "prompt_mask"};
  return {
      {"generate", registration_of<Generate, GenerateOptions>(
                       {{CallKind::kGenerate, {"packed_prompts"}, {}, kGenerated}},
                       {"temperature", "max_new_tokens", "max_batch"})},
      {"sft", registration_of<Sft, SftOptions>({train_step_of(answered, {}, kTexts)}, {"match"})},
      {"rule_reward", registration_of<RuleReward, RuleRewardOptions>(
                          {that_penalises_length(that_compares(
                              inference_of(with(answered, "answers"), {"fields", "prompt_texts"},
                                           "rewards", ModelNeed::kNone)))},
                          with_overlong_options({"match", "correct", "wrong"}))},
      {"command_reward",
       registration_of<CommandReward, CommandRewardOptions>(
           {that_penalises_length(inference_of(answered, {"answers", "fields", "prompt_texts"},
                                               "rewards", ModelNeed::kNone))},
           with_overlong_options({"max_failed_share", "max_failed_share_20_steps"}))},
      {"combined_reward",
       registration_of<CombinedReward, CombinedRewardOptions>({that_combines(inference_of(
           answered, {"answers", "fields", "prompt_texts"}, "rewards", ModelNeed::kNone))})},
      {"format_reward",
       registration_of<FormatReward, FormatRewardOptions>(
           {that_bounds(inference_of(answered, {"answers", "fields", "prompt_texts"}, "rewards",
                                     ModelNeed::kNone))},
           {"correct", "wrong"})},
      {"judge_reward", registration_of<JudgeReward, JudgeRewardOptions>(
                           {that_reads_texts(inference_of(
                               answered, {"answers", "fields", "prompt_texts"}, "rewards"))},
                           {"max_new_tokens", "temperature", "max_batch", "output_scaling",
                            "output_bias", "max_failed_share", "max_failed_share_20_steps"})},
      {"grpo", registration_of<PpoActor, GrpoOptions>(
                   {policy(kRewarded, {}), reference(temperature_of("packed_input_ids"))},
                   names_of_options<GrpoOptions>())},
      {"ppo_actor", registration_of<PpoActor, PpoActorOptions>(
                        {policy(with(kRewarded, "values"), shared_estimation()),
                         reference(temperature_of("packed_input_ids"))},
                        names_of_options<PpoActorOptions>())},
      {"ppo_critic", registration_of<PpoCritic, PpoCriticOptions>(
                         {critic(), with_options(inference_of({"packed_input_ids"}, {}, "values",
                                                              ModelNeed::kValueHead),
                                                 {})})},
      {"reward_model",
       registration_of<RewardModel, RewardModelOptions>(
           {with_options(of_value_head(train_step_of({"packed_input_ids"},
                                                     {"prompt_mask", "margins"}, kPairs)),
                         {"n_minibatches", "centering_coef"}),
            with_options(inference_of({"packed_input_ids"},
                                      {"prompt_mask", "answers", "fields", "prompt_texts"},
                                      "rewards", ModelNeed::kValueHead),
                         {"output_scaling", "output_bias", "dump_samples"})},
           {"output_scaling", "output_bias"})},
      {"dpo",
       registration_of<Dpo, DpoOptions>(
           {preferences(), with_options(inference_of(answered, {}, "seqlogp"), {})}, {"beta"})},
      {"distill", registration_of<Distill, DistillOptions>(
                      {student(), reference(equal_temperature_of("packed_input_ids"))},
                      names_of_options<DistillOptions>())},
      {"distill_full",
       registration_of<DistillFull, DistillFullOptions>(
           {student_of_distributions(),
            with_options(inference_of({"packed_input_ids"}, {}, "teacher_hidden"), {})},
           names_of_options<DistillFullOptions>())},
  };
}

/// Every interface there is. Filled before the first configuration is read, read-only from then on.
std::map<std::string, Registration>& registrations() {
  static std::map<std::string, Registration> all = built_in();
  return all;
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// One call against one signature.
class CallCheck {
 public:
  CallCheck(const config::Experiment& experiment, const std::string& name,
            const config::CallConfig& call, std::vector<config::Problem>& problems,
            std::vector<config::Problem>& warnings)
      : experiment_(experiment),
        name_(name),
        call_(call),
        problems_(problems),
        warnings_(warnings) {}

  void run() {
    const std::vector<InterfaceSignature> signatures = signatures_of(call_.interface);
    if (signatures.empty()) return;  // an unknown interface has been reported
    const auto found = std::find_if(
        signatures.begin(), signatures.end(),
        [this](const InterfaceSignature& s) { return graph::name_of(s.kind) == call_.kind; });
    if (found == signatures.end()) {
      std::vector<std::string> kinds;
      for (const InterfaceSignature& s : signatures) kinds.emplace_back(graph::name_of(s.kind));
      problem("kind", base::concat("interface ", call_.interface, " has no ", call_.kind,
                                   "; it has ", base::join(kinds, ", ")));
      return;
    }
    check_keys(*found);
    check_use(*found);
    check_references(*found);
    check_moving_reference(*found);
    check_products();
    const config::ModelConfig* model = experiment_.find_model(call_.model);
    if (found->model != ModelNeed::kNone && model != nullptr && model->architecture == "none") {
      problem("model", base::concat("interface ", call_.interface, " needs a model, but model.",
                                    call_.model, ".architecture is none"));
    }
    if (model != nullptr && call_.kind == "train_step" && model->lr == 0) {
      warnings_.push_back(
          config::problem_of(experiment_, base::concat("model.", call_.model, ".lr"),
                             base::concat("0, so call.", name_, " trains nothing")));
    }
    try {
      for (const OptionProblem& found_problem : option_problems(call_)) {
        if (found_problem.severity == OptionProblem::Severity::kWarning) {
          add(warnings_, found_problem.key, found_problem.text);
        } else {
          problem(found_problem.key, found_problem.text);
        }
      }
    } catch (const Error& error) {
      problem("interface", error.what());
    }
  }

 private:
  void add(std::vector<config::Problem>& to, const std::string& key, const std::string& text) {
    to.push_back(config::problem_of(experiment_, base::concat("call.", name_, ".", key), text));
  }
  void problem(const std::string& key, const std::string& text) { add(problems_, key, text); }

  /// An option that is written where it changes nothing was meant for another call.
  void check_use(const InterfaceSignature& signature) {
    if (!signature.options) return;
    for (const config::FieldInfo& field : registrations().at(call_.interface).schema) {
      if (contains(*signature.options, field.name)) continue;
      for (const config::Option& option : call_.options) {
        if (option.name != field.name || field.canonical(option.value) == field.default_text) {
          continue;
        }
        add(warnings_, option.name,
            base::concat(call_.kind, " of interface ", call_.interface,
                         " does not use it; is it meant for another call?"));
      }
    }
  }

  /// Visits inputs that are to come of other roles and come of `role`, each with the call that
  /// writes it.
  template <class Visit>
  void for_each_input_of(const std::string& role, const InterfaceSignature& signature,
                         const Visit& visit) const {
    for (const config::KeyBinding& input : call_.inputs) {
      if (!contains(signature.of_other_roles, input.interface_key)) continue;
      for (const auto& [name, other] : experiment_.calls) {
        const bool writes_it = config::writes(other, input.graph_key);
        if (other.enabled && writes_it && other.model == role) visit(input.graph_key, name);
      }
    }
  }

  /// What a role says of itself is no reference: there is no divergence from it.
  void check_references(const InterfaceSignature& signature) {
    for_each_input_of(call_.model, signature, [&](const std::string& key, const std::string& name) {
      add(warnings_, "inputs",
          base::concat(key, " comes from call.", name, " of the same role ", call_.model,
                       ": a reference that is the policy itself holds nothing back"));
    });
  }

  /// A role that gets the trained parameters after every step.
  void check_moving_reference(const InterfaceSignature& signature) {
    if (call_.post_realloc.empty()) {
      if (call_.ema_decay != 0) add(warnings_, "ema_decay", "has no effect without post_realloc");
      return;
    }
    if (call_.ema_decay == 1) {
      add(warnings_, "ema_decay",
          base::concat("1 leaves role ", call_.post_realloc,
                       " as it is, as without post_realloc; write less than 1 for a role that "
                       "follows"));
    }
    if (call_.ema_decay != 0) return;
    for_each_input_of(
        call_.post_realloc, signature, [&](const std::string& key, const std::string& name) {
          add(warnings_, "post_realloc",
              base::concat("role ", call_.post_realloc, " becomes role ", call_.model,
                           " after every step, so that ", key, " of call.", name,
                           " comes from the very weights that generate: its divergence is 0 and "
                           "holds nothing back (kl_coef); for a reference that follows slowly "
                           "write ema_decay, such as 0.99"));
        });
  }

  void check_keys(const InterfaceSignature& signature) {
    for (const std::string& key : signature.required_inputs) {
      if (config::find_binding(call_.inputs, key) == nullptr) {
        problem("inputs", base::concat("interface ", call_.interface, " needs the key ", key));
      }
    }
    for (const config::KeyBinding& input : call_.inputs) {
      if (signature.takes_other_inputs) break;
      if (!contains(signature.required_inputs, input.interface_key) &&
          !contains(signature.optional_inputs, input.interface_key)) {
        problem("inputs", base::concat("interface ", call_.interface, " does not read the key ",
                                       input.interface_key));
      }
    }
    for (const config::KeyBinding& output : call_.outputs) {
      if (!contains(signature.outputs, output.interface_key)) {
        problem("outputs", base::concat("interface ", call_.interface, " does not write the key ",
                                        output.interface_key));
      }
    }
  }

  /// Counts that are sound one by one may ask together for more than any machine has.
  void check_products() {
    constexpr int64_t kMostSequences = 100'000'000;
    constexpr int64_t kMostTokens = 1'000'000'000'000;
    constexpr int64_t kMostUpdates = 1'000'000;
    const auto check = [this](const char* key, int64_t a, int64_t b, int64_t most,
                              const std::string& text) {
      if (a < 1 || b <= most / a) return false;
      problem(key, base::concat(text, " is more than ", most));
      return true;
    };
    const OptionFacts facts = option_facts(call_);
    const int64_t n_seqs = call_.n_seqs, group = facts.group_size;
    const int64_t longest = facts.max_new_tokens.value_or(1);
    const int64_t n_minibatches = facts.n_minibatches, reuse = facts.ppo_epochs;
    if (!check("group_size", n_seqs, group, kMostSequences,
               base::concat("n_seqs (", n_seqs, ") x group_size (", group, ")"))) {
      check("max_new_tokens", n_seqs * group, longest, kMostTokens,
            base::concat(n_seqs * group, " answers x max_new_tokens (", longest, ")"));
    }
    check("n_minibatches", n_minibatches, reuse, kMostUpdates,
          base::concat("n_minibatches (", n_minibatches, ") x ppo_epochs (", reuse, ")"));
  }

  const config::Experiment& experiment_;
  const std::string& name_;
  const config::CallConfig& call_;
  std::vector<config::Problem>& problems_;
  std::vector<config::Problem>& warnings_;
};

}  // namespace

void register_interface(const std::string& name, Registration registration) {
  if (!registrations().emplace(name, std::move(registration)).second) {
    throw ConfigError(base::concat("there is an interface ", name, " already"));
  }
  const std::vector<std::string> undeclared = undeclared_options(name);
  if (undeclared.empty()) return;
  registrations().erase(name);
  throw ConfigError(
      base::concat("interface ", name, ": options that other interfaces have as well"),
      {.expected = "in an agreement of a signature, or among own_options",
       .got = base::join(undeclared, ", "),
       .advice = "say whether they are one value (algorithm/agreements.h) or another one"});
}

std::vector<std::string> undeclared_options(const std::string& interface) {
  const Registration& own = registrations().at(interface);
  std::set<std::string> declared = kOfOneCall;
  declared.insert(own.own_options.begin(), own.own_options.end());
  for (const InterfaceSignature& signature : own.signatures) {
    for (const Agreement& agreement : signature.agreements) declared.insert(agreement.option);
  }
  std::vector<std::string> undeclared;
  for (const config::FieldInfo& field : own.schema) {
    if (declared.contains(field.name)) continue;
    const bool has_namesake =
        std::any_of(registrations().begin(), registrations().end(), [&](const auto& other) {
          return other.first != interface &&
                 std::any_of(other.second.schema.begin(), other.second.schema.end(),
                             [&](const config::FieldInfo& f) { return f.name == field.name; });
        });
    if (has_namesake) undeclared.push_back(field.name);
  }
  return undeclared;
}

config::InterfaceSchemas interface_schemas() {
  config::InterfaceSchemas schemas;
  for (const auto& [name, entry] : registrations()) schemas[name] = entry.schema;
  return schemas;
}

std::vector<InterfaceSignature> signatures_of(std::string_view interface) {
  const auto found = registrations().find(std::string(interface));
  return found == registrations().end() ? std::vector<InterfaceSignature>()
                                        : found->second.signatures;
}

std::optional<InterfaceSignature> signature_of(std::string_view interface, graph::CallKind kind) {
  for (InterfaceSignature& signature : signatures_of(interface)) {
    if (signature.kind == kind) return std::move(signature);
  }
  return std::nullopt;
}

std::optional<InterfaceSignature> signature_of(const config::CallConfig& call) {
  const std::optional<graph::CallKind> kind = graph::call_kind_named(call.kind);
  return kind ? signature_of(call.interface, *kind) : std::nullopt;
}

bool only_reads_texts(const config::Experiment& experiment, const std::string& role) {
  bool reads = false;
  for (const auto& [name, call] : experiment.calls) {
    if (!call.enabled || call.model != role) continue;
    for (const InterfaceSignature& signature : signatures_of(call.interface)) {
      if (!signature.reads_texts) return false;
      reads = true;
    }
  }
  return reads;
}

std::unique_ptr<Interface> make_interface(const std::string& name,
                                          const std::vector<config::Option>& options) {
  const auto found = registrations().find(name);
  if (found == registrations().end()) throw ConfigError(base::concat("unknown interface ", name));
  return found->second.make(options);
}

OptionFacts option_facts(const config::CallConfig& call) {
  const auto found = registrations().find(call.interface);
  return found == registrations().end() ? OptionFacts() : found->second.facts(call.options);
}

std::vector<OptionProblem> option_problems(const config::CallConfig& call) {
  const auto found = registrations().find(call.interface);
  return found == registrations().end() ? std::vector<OptionProblem>()
                                        : found->second.problems(call);
}

void check_calls(const config::Experiment& experiment, std::vector<config::Problem>& problems,
                 std::vector<config::Problem>& warnings) {
  for (const auto& [name, call] : experiment.calls) {
    if (call.enabled) CallCheck(experiment, name, call, problems, warnings).run();
  }
  check_needs(experiment, problems, warnings);
  check_outcomes(experiment, problems);
  check_labels(experiment, problems, warnings);
}

}  // namespace orrery::algorithm
