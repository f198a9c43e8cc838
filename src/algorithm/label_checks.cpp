#include "orrery/algorithm/label_checks.h"

#include <algorithm>
#include <string>

#include "orrery/base/text.h"
#include "orrery/graph/graph.h"  // training_datasets

namespace orrery::algorithm {

namespace {

class Check {
 public:
  Check(const config::Experiment& experiment, std::vector<config::Problem>& problems,
        std::vector<config::Problem>& warnings)
      : experiment_(experiment), problems_(problems), warnings_(warnings) {}

  void run() {
    for (const std::string& name : graph::training_datasets(experiment_)) {
      const config::DatasetConfig& dataset = *experiment_.find_dataset(name);
      if (dataset.is(config::DatasetKind::kLabelled)) check_labels(name);
      if (dataset.is(config::DatasetKind::kPreferences)) check_margins(name, dataset);
    }
  }

 private:
  static bool reads(const config::CallConfig& call, const char* graph_key) {
    return std::any_of(
        call.inputs.begin(), call.inputs.end(),
        [&](const config::KeyBinding& input) { return input.graph_key == graph_key; });
  }
  void add(std::vector<config::Problem>& to, const std::string& key, const std::string& text) {
    to.push_back(config::problem_of(experiment_, key, text));
  }
  template <class Work>
  void for_each_training_call(const Work& work) {
    for (const auto& [name, call] : experiment_.calls) {
      if (call.enabled && call.kind == "train_step") work(name, call);
    }
  }

  void check_labels(const std::string& dataset) {
    for_each_training_call([&](const std::string& name, const config::CallConfig& call) {
      if (!reads(call, "packed_input_ids") || reads(call, "desirable")) return;
      add(problems_, base::concat("call.", name, ".inputs"),
          base::concat(
              "dataset.", dataset,
              " is of kind labelled: without the key desirable good "
              "and bad answers would be learned alike; interface dpo with loss = kto reads "
              "it"));
    });
  }

  void check_margins(const std::string& name, const config::DatasetConfig& dataset) {
    bool is_read = false;
    for_each_training_call([&](const std::string& call_name, const config::CallConfig& call) {
      if (!reads(call, "margins")) return;
      is_read = true;
      if (!dataset.margin_field.empty()) return;
      add(problems_, base::concat("call.", call_name, ".inputs"),
          base::concat("margins: dataset.", name, " has none; set dataset.", name,
                       ".margin_field, or leave the key out"));
    });
    if (!is_read && !dataset.margin_field.empty()) {
      add(warnings_, base::concat("dataset.", name, ".margin_field"),
          "no call reads margins; add the key to the inputs of the reward model's train_step");
    }
  }

  const config::Experiment& experiment_;
  std::vector<config::Problem>& problems_;
  std::vector<config::Problem>& warnings_;
};

}  // namespace

void check_labels(const config::Experiment& experiment, std::vector<config::Problem>& problems,
                  std::vector<config::Problem>& warnings) {
  Check(experiment, problems, warnings).run();
}

}  // namespace orrery::algorithm
