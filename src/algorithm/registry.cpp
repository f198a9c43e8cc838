#include "orrery/algorithm/registry.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "orrery/algorithm/generation.h"
#include "orrery/algorithm/grpo.h"
#include "orrery/algorithm/rule_reward.h"
#include "orrery/algorithm/sft.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

using graph::CallKind;

struct Registration {
  config::Schema schema;
  std::vector<InterfaceSignature> signatures;
  std::function<std::unique_ptr<Interface>(const std::vector<config::Option>&)> make;
};

template <class T, class Options>
Registration registration(std::vector<InterfaceSignature> signatures) {
  return {config::schema_of<Options>(), std::move(signatures),
          [](const std::vector<config::Option>& options) -> std::unique_ptr<Interface> {
            return std::make_unique<T>(config::parse_options<Options>(options));
          }};
}

const std::vector<std::string> kGenerated = {"packed_input_ids", "prompt_mask", "packed_logprobs",
                                             "seq_no_eos_mask"};

/// Every interface there is. A new one gets a line here.
const std::map<std::string, Registration>& registrations() {
  static const std::map<std::string, Registration> all = {
      {"generate", registration<Generate, GenerateOptions>(
                       {{CallKind::kGenerate, {"packed_prompts"}, {}, kGenerated}})},
      {"sft", registration<Sft, SftOptions>(
                  {{CallKind::kTrainStep, {"packed_input_ids", "prompt_mask"}, {}, {}}})},
      {"rule_reward",
       registration<RuleReward, RuleRewardOptions>({{CallKind::kInference,
                                                     {"packed_input_ids", "prompt_mask", "answers"},
                                                     {},
                                                     {"rewards"},
                                                     /*needs_model=*/false}})},
      {"grpo",
       registration<Grpo, GrpoOptions>(
           {{CallKind::kTrainStep,
             {"packed_input_ids", "prompt_mask", "packed_logprobs", "rewards", "seq_no_eos_mask"},
             {"packed_ref_logprobs"},
             {}},
            {CallKind::kInference, {"packed_input_ids"}, {}, {"packed_logprobs"}}})},
  };
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
    const config::ModelConfig* model = experiment_.find_model(call_.model);
    if (found->needs_model && model != nullptr && model->architecture == "none") {
      problem("model", base::concat("interface ", call_.interface, " needs a model, but model.",
                                    call_.model, ".architecture is none"));
    }
    try {
      make_interface(call_.interface, call_.options);
    } catch (const Error& error) {
      problem("interface", error.what());
    }
    check_reference();
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

  /// The one option that makes an optional key a needed one.
  void check_reference() {
    if (call_.interface != "grpo" || call_.kind != "train_step") return;
    const auto options = config::parse_options<GrpoOptions>(call_.options);
    if (options.kl_ctl > 0 && !is_bound(call_.inputs, "packed_ref_logprobs")) {
      problem("kl_ctl",
              "a KL reward needs the input packed_ref_logprobs, which a call of a "
              "reference model writes");
    }
  }

  const config::Experiment& experiment_;
  const std::string& name_;
  const config::CallConfig& call_;
  std::vector<config::Problem>& problems_;
};

}  // namespace

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
