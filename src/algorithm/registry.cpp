#include "orrery/algorithm/registry.h"

#include <algorithm>
#include <map>
#include <utility>

#include "orrery/algorithm/command_reward.h"
#include "orrery/algorithm/dpo.h"
#include "orrery/algorithm/generation.h"
#include "orrery/algorithm/ppo_actor.h"
#include "orrery/algorithm/ppo_critic.h"
#include "orrery/algorithm/reward_model.h"
#include "orrery/algorithm/rule_reward.h"
#include "orrery/algorithm/sft.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

using graph::CallKind;

const std::vector<std::string> kGenerated = {"packed_input_ids", "prompt_mask", "packed_logprobs",
                                             "sampling_logprobs", "seq_no_eos_mask"};

/// What a policy or a critic learns from.
const std::vector<std::string> kRewarded = {"packed_input_ids", "prompt_mask", "packed_logprobs",
                                            "rewards", "seq_no_eos_mask"};

std::vector<std::string> with(std::vector<std::string> keys, const char* key) {
  keys.emplace_back(key);
  return keys;
}

InterfaceSignature train_step_of(std::vector<std::string> inputs, std::vector<std::string> optional,
                                 std::vector<std::string> evaluates) {
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

InterfaceSignature of_value_head(InterfaceSignature signature) {
  signature.model = ModelNeed::kValueHead;
  return signature;
}

std::map<std::string, Registration> built_in() {
  const std::vector<std::string> text = {"prompts", "completions"};
  const std::vector<std::string> answered = {"packed_input_ids", "prompt_mask"};
  const InterfaceSignature reference = inference_of({"packed_input_ids"}, {}, "packed_logprobs");
  return {
      {"generate", registration_of<Generate, GenerateOptions>(
                       {{CallKind::kGenerate, {"packed_prompts"}, {}, kGenerated}})},
      {"sft", registration_of<Sft, SftOptions>({train_step_of(answered, {}, text)})},
      {"rule_reward", registration_of<RuleReward, RuleRewardOptions>({that_compares(inference_of(
                          with(answered, "answers"), {"fields"}, "rewards", ModelNeed::kNone))})},
      {"command_reward", registration_of<CommandReward, CommandRewardOptions>({inference_of(
                             answered, {"answers", "fields"}, "rewards", ModelNeed::kNone)})},
      {"grpo",
       registration_of<PpoActor, GrpoOptions>(
           {train_step_of(kRewarded, {"packed_ref_logprobs", "dense_rewards", "sampling_logprobs"},
                          text),
            reference})},
      {"ppo_actor",
       registration_of<PpoActor, PpoActorOptions>(
           {train_step_of(with(kRewarded, "values"),
                          {"packed_ref_logprobs", "dense_rewards", "sampling_logprobs"}, text),
            reference})},
      {"ppo_critic",
       registration_of<PpoCritic, PpoCriticOptions>(
           {of_value_head(train_step_of(with(kRewarded, "values"),
                                        {"packed_ref_logprobs", "dense_rewards"}, {})),
            inference_of({"packed_input_ids"}, {}, "values", ModelNeed::kValueHead)})},
      {"reward_model",
       registration_of<RewardModel, RewardModelOptions>(
           {of_value_head(train_step_of({"packed_input_ids"}, {"prompt_mask"}, {"preferences"})),
            inference_of({"packed_input_ids"}, {"prompt_mask", "answers", "fields"}, "rewards",
                         ModelNeed::kValueHead)})},
      {"dpo", registration_of<Dpo, DpoOptions>(
                  {train_step_of(with(answered, "ref_seqlogp"), {}, {"preferences"}),
                   inference_of(answered, {}, "seqlogp")})},
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
            const config::CallConfig& call, std::vector<config::Problem>& problems)
      : experiment_(experiment), name_(name), call_(call), problems_(problems) {}

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
    check_products();
    const config::ModelConfig* model = experiment_.find_model(call_.model);
    if (found->model != ModelNeed::kNone && model != nullptr && model->architecture == "none") {
      problem("model", base::concat("interface ", call_.interface, " needs a model, but model.",
                                    call_.model, ".architecture is none"));
    }
    try {
      for (const OptionProblem& found_problem :
           registrations().at(call_.interface).problems(call_)) {
        problem(found_problem.key, found_problem.text);
      }
    } catch (const Error& error) {
      problem("interface", error.what());
    }
  }

 private:
  void problem(const std::string& key, const std::string& text) {
    const std::string full = base::concat("call.", name_, ".", key);
    const config::Position at = experiment_.where(full);
    problems_.push_back({at.file, at.line, base::concat(full, ": ", text)});
  }

  bool is_bound(const std::vector<config::KeyBinding>& bindings, const std::string& key) const {
    return std::any_of(bindings.begin(), bindings.end(),
                       [&](const config::KeyBinding& b) { return b.interface_key == key; });
  }

  void check_keys(const InterfaceSignature& signature) {
    for (const std::string& key : signature.required_inputs) {
      if (!is_bound(call_.inputs, key)) {
        problem("inputs", base::concat("interface ", call_.interface, " needs the key ", key));
      }
    }
    for (const config::KeyBinding& input : call_.inputs) {
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

  int64_t count(const char* name) const {
    int64_t value = 1;
    for (const config::Option& option : call_.options) {
      if (option.name == name) config::read_value(option.value, value);
    }
    return value;
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
    const int64_t n_seqs = call_.n_seqs, group = count("group_size");
    const int64_t longest = count("max_new_tokens");
    const int64_t n_minibatches = count("n_minibatches"), reuse = count("sample_reuse");
    if (!check("group_size", n_seqs, group, kMostSequences,
               base::concat("n_seqs (", n_seqs, ") x group_size (", group, ")"))) {
      check("max_new_tokens", n_seqs * group, longest, kMostTokens,
            base::concat(n_seqs * group, " answers x max_new_tokens (", longest, ")"));
    }
    check("n_minibatches", n_minibatches, reuse, kMostUpdates,
          base::concat("n_minibatches (", n_minibatches, ") x sample_reuse (", reuse, ")"));
  }

  const config::Experiment& experiment_;
  const std::string& name_;
  const config::CallConfig& call_;
  std::vector<config::Problem>& problems_;
};

}  // namespace

void register_interface(const std::string& name, Registration registration) {
  if (!registrations().emplace(name, std::move(registration)).second) {
    throw ConfigError(base::concat("there is an interface ", name, " already"));
  }
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

std::unique_ptr<Interface> make_interface(const std::string& name,
                                          const std::vector<config::Option>& options) {
  const auto found = registrations().find(name);
  if (found == registrations().end()) throw ConfigError(base::concat("unknown interface ", name));
  return found->second.make(options);
}

void check_calls(const config::Experiment& experiment, std::vector<config::Problem>& problems) {
  for (const auto& [name, call] : experiment.calls) {
    if (call.enabled) CallCheck(experiment, name, call, problems).run();
  }
}

}  // namespace orrery::algorithm
