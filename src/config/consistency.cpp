#include "consistency.h"

#include <algorithm>
#include <set>
#include <string>

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
    const Position at = experiment_.where(key);
    problems_.push_back({at.file, at.line, text});
  }

  void check_sections() {
    if (experiment_.calls.empty()) {
      problem("", "there is no [call.X]: include a graph such as graphs/grpo.cfg");
    }
    if (experiment_.datasets.empty()) problem("", "there is no [dataset.X]");
  }

  void check_end() {
    const ExperimentSection& section = experiment_.experiment;
    if (section.total_steps == 0 && section.total_epochs == 0 && section.total_seconds == 0) {
      problem("experiment",
              "the run would never end: set experiment.total_steps, total_epochs or total_seconds");
    }
  }

  void check_roles() {
    std::set<std::string> used;
    for (const auto& [name, call] : experiment_.calls) {
      used.insert(call.model);
      used.insert(call.post_realloc);
      if (!call.enabled || call.model.empty() || experiment_.find_model(call.model)) continue;
      const std::string key = base::concat("call.", name, ".model");
      problem(key, base::concat(key, ": there is no [model.", call.model, "]",
                                did_you_mean(call.model, names_of(experiment_.models))));
    }
    used.erase("");
    if (used.empty()) return;  // there is no call at all: one report is enough
    // Mostly a misspelled name, in a section or in --set, that would silently change nothing. A
    // role without parameters has nothing to change: graphs carry it for their rule.
    for (const auto& [role, model] : experiment_.models) {
      if (used.contains(role) || model.architecture == "none") continue;
      problem(base::concat("model.", role),
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
          {"id_field", &dataset.id_field}};
      if (dataset.kind == "prompts") fields.emplace_back("answer_field", &dataset.answer_field);
      if (dataset.kind == "completions") {
        fields.emplace_back("completion_field", &dataset.completion_field);
      }
      if (dataset.kind == "preferences") {
        fields.emplace_back("chosen_field", &dataset.chosen_field);
        fields.emplace_back("rejected_field", &dataset.rejected_field);
        fields.emplace_back("margin_field", &dataset.margin_field);
      }
      if (dataset.kind == "labelled") {
        fields.emplace_back("completion_field", &dataset.completion_field);
        fields.emplace_back("label_field", &dataset.label_field);
      }
      for (size_t i = 0; i < fields.size(); ++i) {
        for (size_t k = 0; k < i; ++k) {
          if (fields[i].second->empty() || *fields[i].second != *fields[k].second) continue;
          const std::string key = base::concat("dataset.", name, ".", fields[i].first);
          problem(key, base::concat(key, ": the field ", *fields[i].second, " is already ",
                                    fields[k].first, "; a field has one meaning"));
        }
      }
    }
  }

  void check_evaluation() {
    const EvaluateConfig& evaluate = experiment_.evaluate;
    if (evaluate.dataset.empty()) {
      for (const auto& [key, is_set] :
           {std::pair{"evaluate.every_steps", evaluate.every_steps > 0},
            {"evaluate.every_epochs", evaluate.every_epochs > 0},
            {"evaluate.every_seconds", evaluate.every_seconds > 0},
            {"evaluate.stop_at_accuracy", evaluate.stop_at_accuracy > 0}}) {
        if (is_set) problem(key, base::concat(key, ": evaluate.dataset is missing"));
      }
    } else if (experiment_.find_dataset(evaluate.dataset) == nullptr) {
      problem("evaluate.dataset",
              base::concat("evaluate.dataset: there is no [dataset.", evaluate.dataset, "]",
                           did_you_mean(evaluate.dataset, names_of(experiment_.datasets))));
    }
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
        const std::string key = base::concat("model.", role, ".lr_schedule");
        problem(key, base::concat(key, ": ", model.lr_schedule, " ", advice));
      }
      if (model.warmup_steps == 0 && model.warmup_proportion > 0) {
        const std::string key = base::concat("model.", role, ".warmup_proportion");
        problem(key, base::concat(key, ": ", advice));
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
