#include "orrery/algorithm/agreements.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "orrery/algorithm/registry.h"
#include "orrery/base/text.h"
#include "orrery/config/load.h"  // problem_of

namespace orrery::algorithm {

namespace {

using NamedCall = std::pair<std::string, config::CallConfig>;

/// The graph's key under which a call reads `key`; null: it does not.
const std::string* graph_key_of(const config::CallConfig& call, const std::string& key) {
  const config::KeyBinding* const input = config::find_binding(call.inputs, key);
  return input == nullptr ? nullptr : &input->graph_key;
}

bool reads(const config::CallConfig& call, const std::string& graph_key) {
  return std::any_of(call.inputs.begin(), call.inputs.end(),
                     [&](const config::KeyBinding& input) { return input.graph_key == graph_key; });
}

std::vector<Agreement> agreements_of(const config::CallConfig& call) {
  const auto signature = signature_of(call);
  return signature ? signature->agreements : std::vector<Agreement>();
}

bool is_on(const std::string& value) {
  const std::set<std::string> off = {"", "0", "false", "none", "off"};
  return !off.contains(value);
}

/// A value of an option and where it comes from.
struct Value {
  std::string text;  ///< in the form of config::value_text
  std::string key;   ///< `call.actor_gen.temperature`, of the call that states it
  bool is_written = false;
  config::Position where;

  /// `call.actor_gen.temperature = 0.6 (x.cfg:12)`
  std::string description() const {
    return base::concat(key, " = ", text, " (", where.file,
                        where.line > 0 ? base::concat(":", where.line) : std::string(),
                        is_written ? ")" : ", the default)");
  }
};

/// The calls of an experiment with the options of their interfaces.
class Calls {
 public:
  explicit Calls(const config::Experiment& experiment)
      : experiment_(experiment), schemas_(interface_schemas()) {}

  const config::FieldInfo* field(const config::CallConfig& call, const std::string& option) const {
    const auto schema = schemas_.find(call.interface);
    if (schema == schemas_.end()) return nullptr;
    for (const config::FieldInfo& info : schema->second) {
      if (info.name == option) return &info;
    }
    return nullptr;
  }

  /// What the call says of the option itself, or its default; nothing: it has no such option.
  std::optional<Value> stated(const NamedCall& named, const std::string& option) const {
    const auto& [name, call] = named;
    const config::FieldInfo* info = field(call, option);
    if (info == nullptr) return std::nullopt;
    const std::string key = base::concat("call.", name, ".", option);
    for (const config::Option& own : call.options) {
      if (own.name != option) continue;
      return Value{info->canonical(own.value), key, true, own.where};
    }
    return Value{info->default_text, key, false, experiment_.where(key)};
  }

  /// The call that writes what `call` reads as `key`; null: none, or it is not read.
  const NamedCall* writer(const config::CallConfig& call, const std::string& key) const {
    const std::string* graph_key = graph_key_of(call, key);
    return graph_key == nullptr ? nullptr : experiment_.writer_of(*graph_key);
  }

  /// Whether one of the options is on in the call or in one that reads what it writes.
  bool is_corrected(const NamedCall& named, const std::vector<std::string>& options) const {
    const auto has_one = [&](const NamedCall& each) {
      return std::any_of(options.begin(), options.end(), [&](const std::string& option) {
        const std::optional<Value> value = stated(each, option);
        return value && is_on(value->text);
      });
    };
    if (has_one(named)) return true;
    return std::any_of(
        experiment_.calls.begin(), experiment_.calls.end(), [&](const NamedCall& other) {
          return other.second.enabled && has_one(other) &&
                 std::any_of(named.second.outputs.begin(), named.second.outputs.end(),
                             [&](const config::KeyBinding& output) {
                               return reads(other.second, output.graph_key);
                             });
        });
  }

 private:
  const config::Experiment& experiment_;
  config::InterfaceSchemas schemas_;
};

/// Finds the value of every option that follows from another call.
class Inheritance {
 public:
  Inheritance(config::Experiment& experiment, std::vector<config::Problem>& problems,
              std::vector<config::Problem>& warnings)
      : experiment_(experiment), calls_(experiment), problems_(problems), warnings_(warnings) {}

  void run() {
    for (NamedCall& named : experiment_.calls) {
      if (!named.second.enabled) continue;
      for (const Agreement& agreement : agreements_of(named.second)) {
        if (agreement.with == Agreement::With::kOtherReaders) agree_with_readers(named, agreement);
      }
    }
    for (const NamedCall& named : experiment_.calls) {
      if (!named.second.enabled) continue;
      for (const Agreement& agreement : agreements_of(named.second)) {
        value_of(named, agreement.option);
      }
    }
    for (NamedCall& named : experiment_.calls) take_over(named);
  }

 private:
  /// The value that holds for the call, after what it takes from others.
  std::optional<Value> value_of(const NamedCall& named, const std::string& option) {
    const std::pair<std::string, std::string> place = {named.first, option};
    if (const auto known = values_.find(place); known != values_.end()) return known->second;
    std::optional<Value> value = calls_.stated(named, option);
    values_[place] = value;  // a cycle of calls, which the graph's check reports, ends here
    if (!value) return value;
    for (const Agreement& agreement : agreements_of(named.second)) {
      if (agreement.option != option || agreement.with != Agreement::With::kWriter) continue;
      const NamedCall* writer = calls_.writer(named.second, agreement.key);
      if (writer == nullptr || writer->first == named.first) continue;
      const std::vector<Value> theirs = values_behind(*writer, option);
      if (theirs.empty()) continue;
      if (value->is_written || is_inherited(named, *value)) {
        const auto same = std::find_if(theirs.begin(), theirs.end(),
                                       [&](const Value& v) { return v.text == value->text; });
        compare(named, agreement, *value, writer->first,
                same == theirs.end() ? theirs.front() : *same);
      } else {
        value = theirs.front();
        values_[place] = value;
        warn_of_others(named, option, theirs);
      }
    }
    return value;
  }

  /// That of the call, or those of the calls whose outputs it passes on where it has no such option
  /// itself: what adds rewards up judges no answer.
  std::vector<Value> values_behind(const NamedCall& writer, const std::string& option) {
    if (const std::optional<Value> own = value_of(writer, option)) return {*own};
    const auto signature = signature_of(writer.second);
    if (!signature || !signature->takes_other_inputs) return {};
    std::vector<Value> values;
    for (const config::KeyBinding& input : writer.second.inputs) {
      const NamedCall* behind = calls_.writer(writer.second, input.interface_key);
      if (behind == nullptr || behind->first == writer.first) continue;
      if (const std::optional<Value> theirs = value_of(*behind, option)) values.push_back(*theirs);
    }
    return values;
  }

  /// Several calls give the option, and one of its values can be taken only.
  void warn_of_others(const NamedCall& named, const std::string& option,
                      const std::vector<Value>& values) {
    const std::string key = base::concat("call.", named.first, ".", option);
    for (const Value& other : values) {
      if (other.text == values.front().text) continue;
      warnings_.push_back(
          {values.front().where.file, values.front().where.line,
           base::concat(key, ": is taken from ", values.front().description(), ", but there is ",
                        other.description(), " as well; write the one that is meant"),
           key});
      return;
    }
  }

  static bool is_inherited(const NamedCall& named, const Value& value) {
    return !value.key.starts_with(base::concat("call.", named.first, "."));
  }

  /// Whether a problem of the key has been reported: one is enough, and a value that could not be
  /// read says nothing.
  bool is_reported(const std::string& key) const {
    return std::any_of(problems_.begin(), problems_.end(),
                       [&](const config::Problem& problem) { return problem.key == key; });
  }

  void compare(const NamedCall& named, const Agreement& agreement, const Value& own,
               const std::string& writer, const Value& theirs) {
    const std::string key = base::concat("call.", named.first, ".", agreement.option);
    if (own.text == theirs.text || is_reported(key) || is_reported(theirs.key)) return;
    if (!compared_.insert({key, writer}).second) return;
    const std::string text =
        base::concat(key, ": ", own.description(), ", but ", theirs.description(),
                     ", and this call reads ", agreement.key, " of call.", writer);
    const config::Position& at = own.where;
    if (agreement.may_differ) {
      warnings_.push_back({at.file, at.line, base::concat(text, "; is that meant?"), key});
    } else if (!agreement.corrected_by.empty() &&
               calls_.is_corrected(named, agreement.corrected_by)) {
      warnings_.push_back({at.file, at.line,
                           base::concat(text, "; ", base::join(agreement.corrected_by, " or "),
                                        " corrects for the difference, both values hold"),
                           key});
    } else {
      problems_.push_back(
          {at.file, at.line,
           base::concat(text, "; expected one value: leave ", key,
                        " out and it is taken from there, or write ", theirs.text,
                        agreement.corrected_by.empty()
                            ? ""
                            : base::concat("; with ", base::join(agreement.corrected_by, " or "),
                                           " two values are allowed")),
           key});
    }
  }

  /// Calls that read the same key: whoever states the option states it for all.
  void agree_with_readers(const NamedCall& first, const Agreement& agreement) {
    const std::string* graph_key = graph_key_of(first.second, agreement.key);
    if (graph_key == nullptr) return;
    std::vector<const NamedCall*> group;
    for (const NamedCall& other : experiment_.calls) {
      if (!other.second.enabled || !reads(other.second, *graph_key)) continue;
      for (const Agreement& theirs : agreements_of(other.second)) {
        if (theirs.option == agreement.option && theirs.with == Agreement::With::kOtherReaders &&
            theirs.key == agreement.key) {
          group.push_back(&other);
          break;
        }
      }
    }
    if (group.size() < 2 || group.front()->first != first.first) return;  // once a group
    std::optional<Value> value;
    for (const NamedCall* each : group) {
      const std::optional<Value> own = calls_.stated(*each, agreement.option);
      if (!own || (value && !own->is_written)) continue;
      if (is_reported(own->key)) continue;
      if (value && value->is_written && value->text != own->text) {
        problems_.push_back(
            {own->where.file, own->where.line,
             base::concat(own->key, ": ", own->description(), ", but ", value->description(),
                          ", and both calls learn from ", agreement.key,
                          "; expected one value: write it in one of them"),
             own->key});
      } else if (!value || !value->is_written) {
        value = own;
      }
    }
    if (!value) return;
    for (const NamedCall* each : group) values_[{each->first, agreement.option}] = value;
  }

  /// Writes what a call takes from others into its options.
  void take_over(NamedCall& named) {
    for (const Agreement& agreement : agreements_of(named.second)) {
      const auto found = values_.find({named.first, agreement.option});
      if (found == values_.end() || !found->second) continue;
      const std::optional<Value> own = calls_.stated(named, agreement.option);
      if (!own || own->is_written || own->text == found->second->text) continue;
      named.second.options.push_back({agreement.option, found->second->text, found->second->where});
    }
  }

  config::Experiment& experiment_;
  Calls calls_;
  std::vector<config::Problem>& problems_;
  std::vector<config::Problem>& warnings_;
  std::map<std::pair<std::string, std::string>, std::optional<Value>> values_;  // call, option
  std::set<std::pair<std::string, std::string>> compared_;                      // key, writer
};

/// An evaluation lets answers be as long as training does, unless it says otherwise.
void inherit_evaluation(config::Experiment& experiment, std::vector<config::Problem>& warnings) {
  const Calls calls(experiment);
  std::optional<Value> longest;
  for (const NamedCall& named : experiment.calls) {
    if (longest || !named.second.enabled || named.second.kind != "generate") continue;
    longest = calls.stated(named, "max_new_tokens");
  }
  if (!longest) return;
  const int64_t tokens = std::stoll(longest->text);
  for (config::EvaluationSet& set : experiment.evaluation_sets) {
    const config::DatasetConfig* dataset = experiment.find_dataset(set.options.dataset);
    if (dataset == nullptr || !dataset->is(config::DatasetKind::kPrompts)) continue;
    const std::string key = experiment.key_of(set, "max_new_tokens");
    if (!experiment.positions.contains(key)) {
      set.options.max_new_tokens = tokens;
      if (set.name.empty()) experiment.evaluate.max_new_tokens = tokens;
    } else if (set.options.max_new_tokens < tokens) {
      warnings.push_back(config::problem_of(
          experiment, key,
          base::concat(set.options.max_new_tokens, ", but ", longest->description(),
                       ": evaluation cuts answers that training lets end")));
    }
  }
}

/// An evaluation that compares by another rule than the rewards that are trained for measures
/// something else.
void compare_rules(const config::Experiment& experiment, std::vector<config::Problem>& warnings) {
  const Calls calls(experiment);
  std::vector<Value> rules;
  for (const NamedCall& named : experiment.calls) {
    const auto signature = signature_of(named.second);
    if (!named.second.enabled || !signature || !signature->compares_answers) continue;
    if (const std::optional<Value> rule = calls.stated(named, "match")) rules.push_back(*rule);
  }
  if (rules.empty()) return;
  for (const config::EvaluationSet& set : experiment.evaluation_sets) {
    const std::string& rule = set.options.match;
    const bool is_theirs = std::any_of(rules.begin(), rules.end(),
                                       [&](const Value& value) { return value.text == rule; });
    if (rule == "auto" || is_theirs) continue;
    warnings.push_back(config::problem_of(
        experiment, experiment.key_of(set, "match"),
        base::concat(rule, ", but ", rules.front().description(),
                     ": evaluation and training judge answers by two rules; is that meant?")));
  }
}

}  // namespace

void inherit_options(config::Experiment& experiment, std::vector<config::Problem>& problems,
                     std::vector<config::Problem>& warnings) {
  Inheritance(experiment, problems, warnings).run();
  inherit_evaluation(experiment, warnings);
  compare_rules(experiment, warnings);
}

namespace {

void check_joint_needs(const Calls& calls, const NamedCall& named,
                       const InterfaceSignature& signature, const config::Experiment& experiment,
                       std::vector<config::Problem>& problems,
                       std::vector<config::Problem>& warnings) {
  const auto texts_of = [&](const NamedCall& call) {
    return [&](const std::string& option) {
      const std::optional<Value> value = calls.stated(call, option);
      return value ? value->text : std::string();
    };
  };
  for (const JointNeed& need : signature.joint_needs) {
    const NamedCall* writer = calls.writer(named.second, need.key);
    if (writer == nullptr) continue;
    const std::optional<OptionProblem> found = need.problem(texts_of(named), texts_of(*writer));
    if (!found) continue;
    const std::string key = base::concat("call.", named.first, ".", found->key);
    const bool is_warning = found->severity == OptionProblem::Severity::kWarning;
    (is_warning ? warnings : problems)
        .push_back(config::problem_of(experiment, key,
                                      base::concat(found->text, " (call.", writer->first, ")")));
  }
}

}  // namespace

void check_needs(const config::Experiment& experiment, std::vector<config::Problem>& problems,
                 std::vector<config::Problem>& warnings) {
  const Calls calls(experiment);
  for (const NamedCall& named : experiment.calls) {
    if (!named.second.enabled) continue;
    const auto signature = signature_of(named.second);
    if (!signature) continue;
    check_joint_needs(calls, named, *signature, experiment, problems, warnings);
    for (const Need& need : signature->needs) {
      const NamedCall* writer = calls.writer(named.second, need.key);
      if (writer == nullptr) continue;
      const std::optional<Value> own = calls.stated(named, need.option);
      const std::optional<Value> there = calls.stated(*writer, need.option_there);
      if (!own || !there || !is_on(own->text)) continue;
      const std::optional<std::string> problem = need.problem(own->text, there->text);
      if (!problem) continue;
      const Value& blamed = own->is_written || !there->is_written ? *own : *there;
      const bool is_warning = need.severity == OptionProblem::Severity::kWarning;
      (is_warning ? warnings : problems)
          .push_back({blamed.where.file, blamed.where.line,
                      base::concat(blamed.key, ": ", own->description(), " and ",
                                   there->description(), ": ", *problem),
                      blamed.key});
    }
  }
}

}  // namespace orrery::algorithm
