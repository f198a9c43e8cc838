#include "message_data.h"

#include <algorithm>
#include <set>

#include "orrery/base/text.h"
#include "orrery/data/token_index.h"  // is_token_file

namespace orrery::cli {

namespace {

using base::concat;

/// Keys that calls read and none of them writes.
std::set<std::string> keys_of_data(const config::Experiment& experiment) {
  std::set<std::string> read, written;
  for (const auto& [name, call] : experiment.calls) {
    if (!call.enabled) continue;
    for (const config::KeyBinding& input : call.inputs) read.insert(input.graph_key);
    for (const config::KeyBinding& output : call.outputs) written.insert(output.graph_key);
  }
  for (const std::string& key : written) read.erase(key);
  return read;
}

class MessageChecks {
 public:
  MessageChecks(config::Experiment& experiment, std::vector<config::Problem>& problems)
      : experiment_(experiment), problems_(problems), keys_(keys_of_data(experiment)) {}

  void resolve(const std::string& name, config::DatasetConfig& dataset) {
    if (dataset.kind == config::kMessages) {
      if (dataset.messages_field.empty()) dataset.messages_field = config::kMessages;
      const bool reads_prompts = keys_.contains("packed_prompts");
      if (reads_prompts == keys_.contains("packed_input_ids")) {
        add(name, "kind",
            "the calls do not say whether messages are prompts or completions: write "
            "kind = prompts or completions, and messages_field = messages");
      }
      dataset.kind = config::name(reads_prompts ? config::DatasetKind::kPrompts
                                                : config::DatasetKind::kCompletions);
    }
    if (!dataset.messages_field.empty()) check(name, dataset);
  }

 private:
  void check(const std::string& name, const config::DatasetConfig& dataset) {
    if (!dataset.is(config::DatasetKind::kPrompts) &&
        !dataset.is(config::DatasetKind::kCompletions)) {
      add(name, "messages_field",
          concat("data sets of kind ", dataset.kind,
                 " have no messages; tools/prepare_data.py "
                 "writes a file of them"));
    }
    if (data::is_token_file(dataset.path)) {
      add(name, "messages_field", "the file has tokens already; leave it out");
    }
    for (const auto& [key, text] : {std::pair{"system_prefix", &dataset.system_prefix},
                                    {"system_suffix", &dataset.system_suffix},
                                    {"prompt_prefix", &dataset.prompt_prefix},
                                    {"prompt_suffix", &dataset.prompt_suffix}}) {
      if (!text->empty()) {
        add(name, key, "the chat template writes all that stands around messages; leave it out");
      }
    }
    if (dataset.add_bos == "true") {
      add(name, "add_bos", "the chat template says how messages begin; leave it out");
    }
  }

  void add(const std::string& dataset, const char* key, const std::string& text) {
    problems_.push_back(
        config::problem_of(experiment_, concat("dataset.", dataset, ".", key), text));
  }

  config::Experiment& experiment_;
  std::vector<config::Problem>& problems_;
  std::set<std::string> keys_;
};

}  // namespace

void resolve_messages(config::Experiment& experiment, std::vector<config::Problem>& problems) {
  MessageChecks checks(experiment, problems);
  for (auto& [name, dataset] : experiment.datasets) checks.resolve(name, dataset);
}

}  // namespace orrery::cli
