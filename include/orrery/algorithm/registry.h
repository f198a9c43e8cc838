// The interfaces by name: what `[call.X] interface = ...` may say, with which options and keys.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/algorithm/agreements.h"
#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/option_facts.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/config/experiment.h"
#include "orrery/config/load.h"  // Problem
#include "orrery/graph/call.h"   // CallKind

namespace orrery::algorithm {

/// What a call wants of its role's model.
enum class ModelNeed {
  kNone,           ///< runs on a role without parameters as well
  kLanguageModel,  ///< next-token probabilities
  kValueHead,      ///< one number a token
};

/// What one kind of call of an interface reads and writes. Names are the interface's.
struct InterfaceSignature {
  graph::CallKind kind = graph::CallKind::kInference;
  std::vector<std::string> required_inputs;
  std::vector<std::string> optional_inputs;
  std::vector<std::string> outputs;
  ModelNeed model = ModelNeed::kLanguageModel;
  std::vector<config::DatasetKind> evaluates = {};  ///< train_step: kinds of data sets
  /// Scores by comparing with the key answers, which no record may lack then.
  bool compares_answers = false;
  /// Reads other keys as well, whatever their names: its options say which.
  bool takes_other_inputs = false;
  /// Reads answers as texts, so that its role may have another tokenizer and other positions.
  bool reads_texts = false;
  std::vector<Agreement> agreements = {};  ///< options that other calls state as well
  std::vector<Need> needs = {};            ///< what they need of other calls
  std::vector<JointNeed> joint_needs = {};
  /// Inputs that another role than the call's own should write: a reference.
  std::vector<std::string> of_other_roles = {};
  /// Options that matter to this kind of call; nothing: all of the interface.
  std::optional<std::vector<std::string>> options = {};
};

/// Everything about an interface but its name.
struct Registration {
  config::Schema schema;
  std::vector<InterfaceSignature> signatures;
  std::function<std::unique_ptr<Interface>(const std::vector<config::Option>&)> make;
  /// What is wrong with the options of this call beyond the range of each one.
  std::function<std::vector<OptionProblem>(const config::CallConfig&)> problems;
  std::function<OptionFacts(const std::vector<config::Option>&)> facts;
  /// Options that other interfaces have by the same name and that this one states for itself.
  std::vector<std::string> own_options = {};
};

/// Of an interface T that is made from Options, a struct with a field list (config/field.h) and
/// perhaps a method `problems` (option_problem.h).
template <class T, class Options>
Registration registration_of(std::vector<InterfaceSignature> signatures,
                             std::vector<std::string> own_options = {}) {
  Registration result;
  result.schema = config::schema_of<Options>();
  result.signatures = std::move(signatures);
  result.own_options = std::move(own_options);
  result.make = [](const std::vector<config::Option>& options) -> std::unique_ptr<Interface> {
    return std::make_unique<T>(config::parse_options<Options>(options));
  };
  result.facts = [](const std::vector<config::Option>& options) {
    return facts_of(config::parse_options<Options>(options));
  };
  result.problems = [](const config::CallConfig& call) -> std::vector<OptionProblem> {
    const auto options = config::parse_options<Options>(call.options);
    if constexpr (requires { options.problems(call); }) return options.problems(call);
    return {};
  };
  return result;
}

/// Adds an interface to those that are built in; before configurations are read, on every rank.
/// Throws ConfigError when the name is taken, and when it has an option that another interface has
/// by the same name without saying (in `agreements` or `own_options`) whether they are one value.
void register_interface(const std::string& name, Registration registration);

/// Option lists of all interfaces, for config::load_experiment and the documentation.
config::InterfaceSchemas interface_schemas();

/// Options of an interface that another one has by the same name, without an agreement on them and
/// not among its own_options. Those of a call alone (n_minibatches, ...) are nobody's concern.
std::vector<std::string> undeclared_options(const std::string& interface);

/// The kinds of call that an interface has. Empty for an unknown name.
std::vector<InterfaceSignature> signatures_of(std::string_view interface);

/// That of a call's kind; null where there is none.
std::optional<InterfaceSignature> signature_of(std::string_view interface, graph::CallKind kind);
std::optional<InterfaceSignature> signature_of(const config::CallConfig& call);

/// Whether no call of the role wants the tokenizer of those who generate and learn.
bool only_reads_texts(const config::Experiment& experiment, const std::string& role);

/// The interface with its options (defaults where none is given).
/// Throws ConfigError for an unknown name or option. Local.
std::unique_ptr<Interface> make_interface(const std::string& name,
                                          const std::vector<config::Option>& options);

/// What the options of a call tell others; for an unknown interface the defaults. Throws as
/// make_interface.
OptionFacts option_facts(const config::CallConfig& call);

/// What is wrong with the options of a call beyond the range of each one; for an unknown interface
/// nothing. Throws what looking at them throws.
std::vector<OptionProblem> option_problems(const config::CallConfig& call);

/// Every call of the experiment that its interface cannot serve: a kind that it has not, a key that
/// it needs and is not bound, one that it does not know, a role without parameters, options that
/// contradict each other or those of the calls whose outputs are read, a command that does not
/// exist. Appended with file and line; what may be meant to `warnings`. Rank 0 only.
void check_calls(const config::Experiment& experiment, std::vector<config::Problem>& problems,
                 std::vector<config::Problem>& warnings);

}  // namespace orrery::algorithm
