#include "consistency.h"

#include <algorithm>
#include <set>
#include <string>

#include "orrery/config/load.h"  // problem_of
#include "suggestion.h"

namespace orrery::config {

namespace {

class ConsistencyCheck {
 public:
  ConsistencyCheck(const Experiment& experiment, std::vector<Problem>& problems)
      : experiment_(experiment), problems_(problems) {}

  void run() {
    check_sections();
    check_end();
    check_roles();
    check_fields();
    check_evaluation();
    check_schedules();
  }

 private:
  void problem(const std::string& key, const std::string& text) {
    problems_.push_back(problem_of(experiment_, key, text));
  }

  /// Of no single key: at the place of a section, or of the file.
  void problem_in(const std::string& section, const std::string& text) {
    const Position at = experiment_.where(section);
    problems_.push_back({at.file, at.line, text});
  }

  void check_sections() {
    if (experiment_.calls.empty()) {
      problem_in("", "there is no [call.X]: include a graph such as graphs/grpo.cfg");
    }
    if (experiment_.datasets.empty()) problem_in("", "there is no [dataset.X]");
  }

  void check_end() {
    const ExperimentSection& section = experiment_.experiment;
    if (section.total_steps == 0 && section.total_epochs == 0 && section.total_seconds == 0) {
      problem_in(
          "experiment",
          "the run would never end: set experiment.total_steps, total_epochs or total_seconds");
    }
  }

  void check_roles() {
    std::set<std::string> used;
    for (const auto& [name, call] : experiment_.calls) {
      used.insert(call.model);
      used.insert(call.post_realloc);
      if (!call.enabled || call.model.empty() || experiment_.find_model(call.model)) continue;
      problem(base::concat("call.", name, ".model"),
              base::concat("there is no [model.", call.model, "]",
                           did_you_mean(call.model, names_of(experiment_.models))));
    }
    used.erase("");
    if (used.empty()) return;  // there is no call at all: one report is enough
    // Mostly a misspelled name, in a section or in --set, that would silently change nothing. A
    // role without parameters has nothing to change: graphs carry it for their rule.
    for (const auto& [role, model] : experiment_.models) {
      if (used.contains(role) || model.architecture == "none") continue;
      problem_in(base::concat("model.", role),
                 base::concat("no call uses [model.", role, "]",
                              did_you_mean(role, {used.begin(), used.end()})));
    }
  }

  /// A field of a record has one meaning.
  void check_fields() {
    for (const auto& [name, dataset] : experiment_.datasets) {
      std::vector<std::pair<const char*, const std::string*>> fields = {
          {"prompt_field", &dataset.prompt_field},
          {"system_field", &dataset.system_field},
          {"id_field", &dataset.id_field},
          {"messages_field", &dataset.messages_field}};
      if (dataset.is(DatasetKind::kPrompts))
        fields.emplace_back("answer_field", &dataset.answer_field);
      if (dataset.is(DatasetKind::kCompletions)) {
        fields.emplace_back("completion_field", &dataset.completion_field);
      }
      if (dataset.is(DatasetKind::kPreferences)) {
        fields.emplace_back("chosen_field", &dataset.chosen_field);
        fields.emplace_back("rejected_field", &dataset.rejected_field);
        fields.emplace_back("margin_field", &dataset.margin_field);
      }
      if (dataset.is(DatasetKind::kLabelled)) {
        fields.emplace_back("completion_field", &dataset.completion_field);
        fields.emplace_back("label_field", &dataset.label_field);
      }
      for (size_t i = 0; i < fields.size(); ++i) {
        for (size_t k = 0; k < i; ++k) {
          if (fields[i].second->empty() || *fields[i].second != *fields[k].second) continue;
          problem(base::concat("dataset.", name, ".", fields[i].first),
                  base::concat("the field ", *fields[i].second, " is already ", fields[k].first,
                               "; a field has one meaning"));
        }
      }
    }
  }

  void check_evaluation() {
    const EvaluateConfig& evaluate = experiment_.evaluate;
    if (experiment_.evaluation_sets.empty()) {
      for (const auto& [key, is_set] :
           {std::pair{"evaluate.every_steps", evaluate.every_steps > 0},
            {"evaluate.every_epochs", evaluate.every_epochs > 0},
            {"evaluate.every_seconds", evaluate.every_seconds > 0},
            {"evaluate.keep_best", !evaluate.keep_best.empty()},
            {"evaluate.stop_after", evaluate.stop_after > 0},
            {"evaluate.stop_at_accuracy", evaluate.stop_at_accuracy > 0}}) {
        if (is_set) problem(key, "evaluate.dataset or sets is missing");
      }
      return;
    }
    for (const EvaluationSet& set : experiment_.evaluation_sets) check_set(set);
    check_best();
  }

  void set_problem(const EvaluationSet& set, const char* name, const std::string& text) {
    problem(experiment_.key_of(set, name), text);
  }

  void check_set(const EvaluationSet& set) {
    const EvaluationSetConfig& options = set.options;
    if (options.dataset.empty()) {
      const std::string meant = did_you_mean(set.name, names_of(experiment_.datasets));
      problem("evaluate.sets",
              base::concat("the set ", set.name, " has no data: there is no [dataset.", set.name,
                           "] and no evaluate.", set.name, ".dataset", meant));
    } else if (experiment_.find_dataset(options.dataset) == nullptr) {
      set_problem(set, "dataset",
                  base::concat("there is no [dataset.", options.dataset, "]",
                               did_you_mean(options.dataset, names_of(experiment_.datasets))));
    }
    if (options.samples > 1 && options.temperature == 0) {
      set_problem(set, "samples",
                  base::concat(options.samples,
                               ", but temperature is 0: all answers to a prompt "
                               "would be the same; set temperature, or samples = 1"));
    }
    for (const int64_t k : set.k_values()) {
      if (k <= options.samples) continue;
      set_problem(set, "k",
                  base::concat(k, " is more than samples (", options.samples,
                               "): lower it, or raise samples"));
    }
    if (options.subset == "all_subsets" && options.tie == "first_seen" && set.counts_votes() &&
        !set.k_values().empty()) {
      set_problem(set, "subset",
                  "all_subsets has no first answer among those with equally many votes: set tie = "
                  "fractional");
    }
  }

  void check_best() {
    const EvaluateConfig& evaluate = experiment_.evaluate;
    const std::optional<BestMetric> best = best_metric_in(evaluate);
    const char* const key = "evaluate.keep_best";
    if (!best) {
      if (evaluate.stop_after > 0) {
        problem("evaluate.stop_after", "evaluate.keep_best is missing: which metric is to rise?");
      }
      return;
    }
    const EvaluationSet* const set = experiment_.find_evaluation_set(best->set);
    if (set == nullptr || best->metric.empty()) {
      problem(key, base::concat("must be SET/METRIC with a set of evaluate.sets (", evaluate.sets,
                                "), got '", evaluate.keep_best, "'",
                                did_you_mean(best->set, names_in(evaluate.sets))));
      return;
    }
    const DatasetConfig* const dataset = experiment_.find_dataset(set->options.dataset);
    if (dataset == nullptr) return;  // said already
    const std::vector<std::string> known = set->metrics_to_keep(dataset_kind_named(dataset->kind));
    std::string measure = best->metric;  // level=3/accuracy: of one value of a field
    for (const std::string& field : names_in(set->options.by)) {
      if (!measure.starts_with(field + "=")) continue;
      measure = measure.substr(std::min(measure.find('/'), measure.size() - 1) + 1);
      break;
    }
    if (std::find(known.begin(), known.end(), measure) != known.end()) return;
    problem(key, base::concat("an evaluation of ", set->options.dataset, " has no metric '",
                              best->metric, "' that can be better or worse",
                              did_you_mean(measure, known), "; it has ", base::join(known, ", ")));
  }

  /// A learning rate that falls must know when it has arrived.
  void check_schedules() {
    const ExperimentSection& section = experiment_.experiment;
    if (section.total_steps > 0 || section.total_epochs > 0) return;
    for (const auto& [role, model] : experiment_.models) {
      const bool is_trained =
          std::any_of(experiment_.calls.begin(), experiment_.calls.end(), [&](const auto& named) {
            const CallConfig& call = named.second;
            return call.enabled && call.model == role && call.kind == "train_step";
          });
      if (!is_trained) continue;
      const std::string advice = "needs experiment.total_steps or total_epochs: its length";
      if (model.lr_schedule != "constant") {
        problem(base::concat("model.", role, ".lr_schedule"),
                base::concat(model.lr_schedule, " ", advice));
      }
      if (model.warmup_steps == 0 && model.warmup_proportion > 0) {
        problem(base::concat("model.", role, ".warmup_proportion"), advice);
      }
    }
  }

  const Experiment& experiment_;
  std::vector<Problem>& problems_;
};

}  // namespace

void check_consistency(const Experiment& experiment, std::vector<Problem>& problems) {
  ConsistencyCheck(experiment, problems).run();
}

}  // namespace orrery::config
