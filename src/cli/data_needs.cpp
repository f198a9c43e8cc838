#include "data_needs.h"

#include <algorithm>
#include <optional>

#include "orrery/algorithm/generation.h"
#include "orrery/algorithm/registry.h"
#include "orrery/algorithm/rule_match.h"
#include "orrery/base/text.h"
#include "orrery/graph/call.h"

namespace orrery::cli {

namespace {

using base::concat;

class NeedsOfDataset {
 public:
  NeedsOfDataset(const Job& job, const std::string& name)
      : job_(job), name_(name), dataset_(*job.experiment.find_dataset(name)) {}

  data::RecordNeeds run() {
    const std::vector<std::string> training = graph::training_datasets(job_.experiment);
    const bool is_trained_on = std::find(training.begin(), training.end(), name_) != training.end();
    for (const graph::Call& call : job_.graph.calls()) {
      if (!is_trained_on) break;
      if (!dataset_.is(config::DatasetKind::kPrompts)) bound_sequences(call.role);
      if (call.kind == graph::CallKind::kGenerate) bound_prompts(call);
      note_answers(call);
    }
    for (const config::EvaluationSet& set : job_.experiment.evaluation_sets) {
      if (set.options.dataset != name_) continue;
      for (const int index : evaluating_calls(job_, set)) evaluate(job_.graph.call(index), set);
      for (const std::string& field : config::names_in(set.options.by)) {
        const auto& known = needs_.fields;
        if (std::find(known.begin(), known.end(), field) == known.end()) {
          needs_.fields.push_back(field);
        }
        note_best(set, field);
      }
    }
    // Several calls may compare, each by its rule: an answer that one of them accepts will do.
    if (!rules_.empty() && !accepts_any_) {
      needs_.can_be_right = [rules = rules_](std::string_view answer) {
        return std::any_of(rules.begin(), rules.end(), [&](algorithm::MatchRule rule) {
          return algorithm::can_match(rule, answer);
        });
      };
    }
    return std::move(needs_);
  }

 private:
  /// The value of `field` that evaluate.keep_best looks at, if it does.
  void note_best(const config::EvaluationSet& set, const std::string& field) {
    const auto best = config::best_metric_in(job_.experiment.evaluate);
    const std::string begin = field + "=";
    if (!best || job_.experiment.find_evaluation_set(best->set) != &set) return;
    if (!best->metric.starts_with(begin)) return;
    const std::string value = best->metric.substr(begin.size());
    needs_.values.emplace_back(field, value.substr(0, value.find('/')));
  }

  const model::Architecture* architecture_of(const std::string& role) const {
    const auto known = job_.architectures.find(role);
    return known == job_.architectures.end() ? nullptr : &known->second;
  }

  void bound_sequences(const std::string& role) {
    if (const model::Architecture* a = architecture_of(role)) {
      needs_.sequence.lower_to({a->max_positions, concat("more than the ", a->max_positions,
                                                         " positions of role ", role)});
    }
  }

  /// The generator's context, and those of the calls that read what it writes.
  void bound_prompts(const graph::Call& call) {
    const auto options = config::parse_options<algorithm::GenerateOptions>(
        job_.experiment.find_call(call.name)->options);
    const model::Architecture* generator = architecture_of(call.role);
    if (generator == nullptr) return;
    const int64_t positions = generator->max_positions;
    leave_room(call.role, positions, std::max<int64_t>(1, options.min_new_tokens),
               options.min_new_tokens > 1 ? concat(" of min_new_tokens = ", options.min_new_tokens)
                                          : std::string());
    needs_.roomy_prompt = std::min(needs_.roomy_prompt, positions - options.max_new_tokens);
    bound_by_cache(call.name, options, positions);
    for (const int child : job_.graph.children(job_.graph.find(call.name))) {
      const graph::Call& reader = job_.graph.call(child);
      const model::Architecture* a = architecture_of(reader.role);
      if (a == nullptr || a->max_positions >= positions) continue;
      const auto signature = algorithm::signature_of(reader.interface, reader.kind);
      if (signature && signature->reads_texts) continue;  // what is too long is not judged
      needs_.prompt.lower_to(
          {a->max_positions - options.max_new_tokens,
           concat("which with max_new_tokens = ", options.max_new_tokens, " of ", call.name,
                  " are more than the ", a->max_positions, " positions of role ", reader.role,
                  ", which reads the answers")});
    }
  }

  /// The longest prompt whose sequence alone has room in a cache that is limited.
  void bound_by_cache(const std::string& call, const algorithm::GenerateOptions& options,
                      int64_t positions) {
    if (options.max_cache_tokens == 0) return;
    int64_t prompt = std::min(positions, options.max_cache_tokens);
    while (prompt > 0 &&
           model::least_cache_tokens(prompt, std::min(prompt + options.max_new_tokens, positions)) >
               options.max_cache_tokens) {
      --prompt;
    }
    needs_.prompt.lower_to(
        {prompt, concat("which with max_new_tokens = ", options.max_new_tokens, " of ", call,
                        " do not fit its max_cache_tokens = ", options.max_cache_tokens)});
  }

  void leave_room(const std::string& role, int64_t positions, int64_t n_tokens,
                  const std::string& which) {
    needs_.prompt.lower_to(
        {positions - n_tokens, concat("which leaves no room for an answer", which, ": role ", role,
                                      " has ", positions, " positions")});
  }

  /// Whether the call scores by the record's answer: it compares, or shows it to a judge.
  bool wants_answers(const config::CallConfig& call) const {
    const auto signature = algorithm::signature_of(call);
    return signature && (signature->compares_answers || algorithm::option_facts(call).shows_answer);
  }

  /// A call that scores by the answers of the records, if it reads them.
  void note_answers(const graph::Call& call) {
    if (!dataset_.is(config::DatasetKind::kPrompts) ||
        !wants_answers(*job_.experiment.find_call(call.name))) {
      return;
    }
    const bool reads_them = std::any_of(call.inputs.begin(), call.inputs.end(), [](const auto& i) {
      return i.interface_key == "answers" && i.graph_key == "answers";
    });
    if (reads_them) {
      compare(concat("call ", call.name, " (", call.interface, ")"), rule_of(call));
    }
  }

  void evaluate(const graph::Call& call, const config::EvaluationSet& set) {
    if (!dataset_.is(config::DatasetKind::kPrompts)) return bound_sequences(call.role);
    if (set.options.match != "auto") {
      compare("the evaluation", algorithm::match_rule_named(set.options.match));
    } else if (set.options.rewards.empty()) {
      compare("the evaluation", rule_of(call));
    } else {
      compare_by_rewards(set);
    }
    const model::Architecture* a = architecture_of(call.role);
    if (a == nullptr) return;
    leave_room(call.role, a->max_positions, 1, "");
    needs_.roomy_prompt =
        std::min(needs_.roomy_prompt, a->max_positions - set.options.max_new_tokens);
  }

  /// Those of its rewards that compare; others may do without an answer.
  void compare_by_rewards(const config::EvaluationSet& set) {
    for (const std::string& name : set.reward_names()) {
      const config::CallConfig* call = job_.experiment.find_call(name);
      if (call == nullptr || !wants_answers(*call)) continue;
      compare(concat("the evaluation by call ", name), rule_of(*call));
    }
  }

  static algorithm::MatchRule rule_of(const config::CallConfig& call) {
    return algorithm::option_facts(call).match.value_or(algorithm::MatchRule::kExact);
  }
  algorithm::MatchRule rule_of(const graph::Call& call) const {
    return rule_of(*job_.experiment.find_call(call.name));
  }

  void compare(const std::string& reader, algorithm::MatchRule rule) {
    if (needs_.answer_reader.empty()) needs_.answer_reader = reader;
    rules_.push_back(rule);
    if (rules_.back() == algorithm::MatchRule::kExact) accepts_any_ = true;
  }

  const Job& job_;
  const std::string& name_;
  const config::DatasetConfig& dataset_;
  data::RecordNeeds needs_;
  std::vector<algorithm::MatchRule> rules_;
  bool accepts_any_ = false;  // one of them takes any text
};

}  // namespace

data::RecordNeeds needs_of(const Job& job, const std::string& name) {
  return NeedsOfDataset(job, name).run();
}

}  // namespace orrery::cli
