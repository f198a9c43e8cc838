#include "data_checks.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <filesystem>
#include <functional>
#include <unordered_map>
#include <utility>
#include <variant>

#include "data_needs.h"
#include "orrery/algorithm/combined_reward.h"  // weighted_rewards
#include "orrery/algorithm/registry.h"
#include "orrery/base/clock.h"
#include "orrery/base/counted.h"
#include "orrery/base/hash.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/data/bpe_tokenizer.h"  // has_chat_template
#include "orrery/data/prompt_template.h"
#include "orrery/data/token_index.h"

namespace orrery::cli {

namespace {

using base::concat;

template <class T>
bool contains(const std::vector<T>& list, const T& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

/// What an answer must be to be found right by a rule that does not take any text.
constexpr const char* kRightForms =
    "match = numeric wants an integer, match = math something behind #### and in \\boxed{}";

std::string key_of(const std::string& dataset, const char* name = "") {
  return concat("dataset.", dataset, *name == '\0' ? "" : ".", name);
}

/// `1 record`, `12 records`.
std::string records_text(int64_t n) { return base::counted(n, "record"); }

/// A name that people give to data which nobody should train on.
bool sounds_held_out(const std::string& name) {
  const std::string_view words[] = {"eval", "valid", "test", "dev", "held", "heldout"};
  return std::any_of(std::begin(words), std::end(words), [&](std::string_view word) {
    const size_t at = name.find(word);
    if (at == std::string::npos) return false;
    const bool begins_word = at == 0 || !std::isalpha(static_cast<unsigned char>(name[at - 1]));
    const std::string_view rest = std::string_view(name).substr(at + word.size());
    const bool ends_word = rest.empty() || !std::isalpha(static_cast<unsigned char>(rest[0])) ||
                           rest.starts_with("uation") || rest.starts_with("ation");
    return begins_word && ends_word;
  });
}

/// The model's directory whose tokenizer and templates the data is meant for; empty: none.
std::string role_with_files(const Job& job) {
  for (const auto& [role, model] : job.experiment.models) {
    if (!model.path.empty() && job.architectures.contains(role)) return role;
  }
  return {};
}

std::string model_directory(const Job& job) {
  const config::ModelConfig* const model = job.experiment.find_model(role_with_files(job));
  return model == nullptr ? "" : model->path;
}

/// A field that the configuration names, and how many records have it. -1: it cannot be told.
struct NamedField {
  const char* key;
  const std::string* name;
  int64_t n_with = 0;
};

/// One data set, read, against what the configuration says of it.
class ReadDataset {
 public:
  ReadDataset(Checks& checks, const std::string& name, const config::DatasetConfig& dataset,
              const data::DatasetIndex& index)
      : checks_(checks), name_(name), dataset_(dataset), index_(index) {}

  void check_fields() {
    const data::RecordSummary& summary = index_.summary();
    const bool has_tokens = index_.tokens() != nullptr;
    const bool is_prompts = dataset_.is(config::DatasetKind::kPrompts);
    const bool is_pairs = dataset_.is(config::DatasetKind::kPreferences);
    const bool is_labelled = dataset_.is(config::DatasetKind::kLabelled);
    const int64_t unknown = has_tokens ? -1 : index_.n_rows();  // needed: every record has it
    const int64_t unread = -1;
    const bool has_messages = !dataset_.messages_field.empty();
    for (const NamedField& field : std::array<NamedField, 9>{
             {{"prompt_field", &dataset_.prompt_field, has_messages ? unread : unknown},
              {"answer_field", &dataset_.answer_field, is_prompts ? summary.n_with_answer : unread},
              {"completion_field", &dataset_.completion_field,
               (dataset_.is(config::DatasetKind::kCompletions) && !has_messages) || is_labelled
                   ? unknown
                   : unread},
              {"label_field", &dataset_.label_field, is_labelled ? unknown : unread},
              {"margin_field", &dataset_.margin_field, is_pairs ? unknown : unread},
              {"chosen_field", &dataset_.chosen_field, is_pairs ? unknown : unread},
              {"rejected_field", &dataset_.rejected_field, is_pairs ? unknown : unread},
              {"id_field", &dataset_.id_field,
               has_tokens && !is_prompts ? unread : summary.n_with_id},
              {"system_field", &dataset_.system_field,
               has_tokens || has_messages ? unread : summary.n_with_system}}}) {
      const std::string key = key_of(name_, field.key);
      if (field.name->empty() || !checks_.is_written(key)) continue;
      check_field(key, field, has_tokens);
    }
  }

  void check_counts(const data::RecordNeeds& needs) {
    const data::RecordSummary& summary = index_.summary();
    if (summary.n_cramped > 0) {
      checks_.warn(
          key_of(name_, "max_prompt_tokens"),
          concat(summary.n_cramped, " of ", records_text(index_.n_rows()), " (the first in line ",
                 summary.first_cramped, ") have a prompt of more than ",
                 std::max<int64_t>(needs.roomy_prompt, 0),
                 " tokens: the model's positions end their answers before max_new_tokens"));
    }
    if (summary.n_never_right == index_.n_rows()) {
      checks_.add(key_of(name_, "answer_field"),
                  concat("no answer can be found right by ", needs.answer_reader, ": ", kRightForms,
                         "; set another match, or name another field"));
    } else if (summary.n_never_right > 0) {
      checks_.warn(
          key_of(name_, "answer_field"),
          concat(summary.n_never_right, " of ", records_text(index_.n_rows()),
                 " (the first in line ", summary.first_never_right, ") have an answer that ",
                 needs.answer_reader, " can never find right: ", kRightForms));
    }
    if (!needs.template_tokens.empty() && index_.tokens() != nullptr &&
        summary.n_with_template_tokens < index_.n_rows()) {
      checks_.warn(key_of(name_, "path"),
                   concat(index_.n_rows() - summary.n_with_template_tokens, " of ",
                          records_text(index_.n_rows()),
                          " do not begin as the model's own tokenizer begins a text; make the file "
                          "again with tools/tokenize.py --add-bos auto"));
    }
  }

  void check_limits(const data::RecordNeeds& needs) {
    const std::string prompt = key_of(name_, "max_prompt_tokens");
    if (needs.prompt.tokens < dataset_.max_prompt_tokens && checks_.is_written(prompt)) {
      checks_.warn(prompt, concat("a prompt may have ", std::max<int64_t>(needs.prompt.tokens, 0),
                                  " tokens at most: one of ", dataset_.max_prompt_tokens,
                                  " tokens is one ", needs.prompt.reason));
    }
    const std::string whole = key_of(name_, "max_tokens");
    if (needs.sequence.tokens < dataset_.max_tokens && checks_.is_written(whole)) {
      checks_.warn(whole, concat("a record may have ", needs.sequence.tokens, " tokens at most: ",
                                 dataset_.max_tokens, " are ", needs.sequence.reason));
    }
  }

 private:
  void check_field(const std::string& key, const NamedField& field, bool has_tokens) {
    const int64_t n = index_.n_rows();
    if (field.n_with < 0) {
      if (!checks_.is_default(key, *field.name)) {
        checks_.warn(key,
                     concat("has no effect on ",
                            has_tokens ? "a pre-tokenized dataset: tools/tokenize.py has read the "
                                         "fields when it was made"
                            : !dataset_.messages_field.empty()
                                ? std::string("a data set of messages")
                                : concat("a data set of kind ", dataset_.kind)));
      }
    } else if (field.n_with == 0) {
      checks_.add(key, concat("none of ", records_text(n), " of ", dataset_.path, " has ",
                              has_tokens && field.key[0] == 'a' ? "an answer"
                                                                : concat("the field ", *field.name),
                              "; name the field that is meant, or leave this key out"));
    } else if (field.n_with * 2 < n) {
      checks_.warn(key, concat("only ", field.n_with, " of ", records_text(n), " of ",
                               dataset_.path, " have the field ", *field.name));
    }
  }

  Checks& checks_;
  const std::string& name_;
  const config::DatasetConfig& dataset_;
  const data::DatasetIndex& index_;
};

/// Prompts of evaluation sets that are trained on as well, found by their hashes.
class Overlap {
 public:
  /// Of one data set, whose prompts are given one after the other.
  std::function<void(std::string_view)> reader() {
    hashes_.emplace_back();
    return [&hashes = hashes_.back()](std::string_view prompt) {
      hashes.push_back(base::hash64(prompt));
    };
  }

  void check(Job& job, Checks& checks) {
    std::unordered_map<uint64_t, size_t> trained;  // prompt -> a data set that has it
    for (const int place : job.training_places()) {
      const auto dataset = static_cast<size_t>(place);
      for (const uint64_t hash : hashes_[dataset]) trained.emplace(hash, dataset);
    }
    for (const config::EvaluationSet& set : job.experiment.evaluation_sets) {
      job.n_in_training.push_back(check_set(job, set, trained, checks));
    }
  }

 private:
  int64_t check_set(const Job& job, const config::EvaluationSet& set,
                    const std::unordered_map<uint64_t, size_t>& trained, Checks& checks) const {
    const auto& datasets = job.experiment.datasets;
    const auto own = std::find_if(datasets.begin(), datasets.end(), [&](const auto& dataset) {
      return dataset.first == set.options.dataset;
    });
    if (own == datasets.end()) return 0;
    const auto place = static_cast<size_t>(own - datasets.begin());
    const std::vector<uint64_t>& hashes = hashes_[place];
    size_t n_used = hashes.size();
    if (set.options.max_prompts > 0) {
      n_used = std::min(n_used, static_cast<size_t>(set.options.max_prompts));
    }
    int64_t n = 0;
    size_t other = place;
    for (size_t i = 0; i < n_used; ++i) {
      const auto found = trained.find(hashes[i]);
      if (found == trained.end()) continue;
      if (n++ == 0) other = found->second;
    }
    if (n == 0 || other == place) return n;  // that it is itself trained on is said elsewhere
    const std::string key = job.experiment.key_of(set, "dataset");
    if (job.indices[place].fingerprint() == job.indices[other].fingerprint()) {
      checks.warn(key, concat("its records are those of ", datasets[other].first,
                              ", which is trained on (", n, " of ", n_used,
                              " prompts): what it finds out says nothing about other data"));
      return n;
    }
    checks.warn(key, concat(n, " of ", n_used, " prompts of ", set.options.dataset,
                            " are trained on as well, in ", datasets[other].first,
                            ": what it finds out of them says nothing about other data"));
    return n;
  }

  std::deque<std::vector<uint64_t>> hashes_;  // by data set; [rows]
};

/// Fields by which results are told apart, and that no record has.
void check_fields_of_sets(const Job& job, const std::string& name, const data::RecordNeeds& needs,
                          const data::DatasetIndex& index, Checks& checks) {
  const std::vector<int64_t>& n_with = index.summary().n_with_field;
  for (size_t i = 0; i < n_with.size(); ++i) {
    for (const config::EvaluationSet& set : job.experiment.evaluation_sets) {
      const std::vector<std::string> by = config::names_in(set.options.by);
      if (set.options.dataset != name || !contains(by, needs.fields[i])) continue;
      const std::string key = job.experiment.key_of(set, "by");
      if (n_with[i] == 0) {
        checks.add(key, concat("none of ", records_text(index.n_rows()), " of ", index.path(),
                               " has the field ", needs.fields[i]));
      } else if (n_with[i] < index.n_rows()) {
        checks.warn(key, concat("only ", n_with[i], " of ", records_text(index.n_rows()), " of ",
                                index.path(), " have the field ", needs.fields[i],
                                ": the others count as none"));
      }
    }
  }
}

/// What is kept as the best must be measured.
void check_best_of_set(const data::RecordNeeds& needs, const data::DatasetIndex& index,
                       Checks& checks) {
  for (size_t i = 0; i < needs.values.size(); ++i) {
    if (index.summary().n_with_value[i] > 0) continue;
    const auto& [field, value] = needs.values[i];
    checks.add("evaluate.keep_best",
               concat("is never measured: none of ", records_text(index.n_rows()), " of ",
                      index.path(), " has ", field, " = ", value));
  }
}

/// The key that names the data set as one to evaluate.
std::string key_of_evaluation(const config::Experiment& experiment, const std::string& dataset) {
  for (const config::EvaluationSet& set : experiment.evaluation_sets) {
    if (set.options.dataset == dataset) return experiment.key_of(set, "dataset");
  }
  return "evaluate.dataset";
}

/// Rewards of an evaluation are given where the answers are: by what needs no model.
void check_rewards_of(const Job& job, const config::EvaluationSet& set, Checks& checks) {
  if (set.options.rewards.empty()) return;
  const std::string key = job.experiment.key_of(set, "rewards");
  const auto read = algorithm::weighted_rewards(set.options.rewards);
  if (const std::string* const problem = std::get_if<std::string>(&read)) {
    checks.add(key, *problem);
    return;
  }
  for (const algorithm::WeightedReward& reward : std::get<0>(read)) {
    const config::CallConfig* const call = job.experiment.find_call(reward.name);
    if (call == nullptr) {
      std::vector<std::string> names;
      for (const auto& [name, other] : job.experiment.calls) names.push_back(name);
      const auto nearest = base::nearest(reward.name, names);
      checks.add(key, concat("there is no [call.", reward.name, "]",
                             nearest ? concat("; did you mean ", *nearest, "?") : std::string()));
      continue;
    }
    const auto signature = algorithm::signature_of(call->interface, graph::CallKind::kInference);
    const bool gives_rewards = signature && signature->model == algorithm::ModelNeed::kNone &&
                               !signature->takes_other_inputs &&
                               contains(signature->outputs, std::string("rewards"));
    if (!gives_rewards) {
      checks.add(key, concat("call ", reward.name, " (interface ", call->interface,
                             ") cannot reward the answers of an evaluation; an interface that does "
                             "so without a model can: rule_reward, format_reward, command_reward"));
      continue;
    }
    if (call->enabled) continue;  // its options are checked with its graph
    checks.guard(concat("call.", reward.name), [&] {
      for (const algorithm::OptionProblem& problem : algorithm::option_problems(*call)) {
        const std::string option = concat("call.", reward.name, ".", problem.key);
        if (problem.severity == algorithm::OptionProblem::Severity::kWarning) {
          checks.warn(option, problem.text);
        } else {
          checks.add(option, problem.text);
        }
      }
    });
  }
}

}  // namespace

void check_uses(const Job& job, Checks& checks) {
  const config::Experiment& experiment = job.experiment;
  const std::vector<std::string> training = graph::training_datasets(experiment);
  if (training.empty() && !experiment.datasets.empty()) {
    checks.add(key_of(experiment.datasets.front().first, "use"),
               "every data set has use = evaluate: none is left to train on");
  }
  for (const auto& [name, dataset] : experiment.datasets) {
    const bool is_trained_on = std::find(training.begin(), training.end(), name) != training.end();
    const bool is_evaluated = experiment.is_evaluated(name);
    if (!is_trained_on && !is_evaluated) {
      checks.warn(
          key_of(name, "use"),
          "nothing evaluates it: name it in evaluate.sets or evaluate.dataset, or leave the "
          "section out");
    }
    if (dataset.use != "auto" || !is_trained_on) continue;
    if (is_evaluated) {
      checks.warn(key_of_evaluation(experiment, name),
                  concat("it is the only data set, so it is trained on as well: what it finds out "
                         "says nothing about other data; set dataset.",
                         name, ".use = train if that is meant"));
    } else if (sounds_held_out(name)) {
      checks.warn(
          key_of(name),
          concat("it is trained on, for nothing evaluates it; set its use = evaluate or, if "
                 "that is meant, use = train"));
    }
  }
}

void check_evaluation(const Job& job, Checks& checks) {
  for (const config::EvaluationSet& set : job.experiment.evaluation_sets) {
    check_rewards_of(job, set, checks);
  }
  if (!checks.problems().empty()) return;  // it may only follow from another fault
  for (const config::EvaluationSet& set : job.experiment.evaluation_sets) {
    const config::DatasetConfig& dataset = *job.experiment.find_dataset(set.options.dataset);
    if (evaluating_calls(job, set).empty()) {
      checks.add(
          job.experiment.key_of(set, "dataset"),
          concat("no train_step of this experiment evaluates data sets of kind ", dataset.kind));
    }
    if (dataset.is(config::DatasetKind::kPrompts)) continue;
    for (const auto& [key, is_set] : {std::pair{"samples", set.options.samples > 1},
                                      {"rewards", !set.options.rewards.empty()},
                                      {"match", set.options.match != "auto"},
                                      {"k", !set.options.k.empty()},
                                      {"by", !set.options.by.empty()}}) {
      const std::string name = job.experiment.key_of(set, key);
      if (!is_set) continue;
      checks.add(name, concat("data sets of kind ", dataset.kind, " such as ", set.options.dataset,
                              " are evaluated without answers of the model: write it for the sets "
                              "of kind prompts alone"));
    }
  }
}

void check_templates(Job& job, Checks& checks) {
  const std::string directory = model_directory(job);
  bool has_chat = false;
  const data::Tokenizer* tokenizer = nullptr;
  try {
    tokenizer = &checks.tokenizer(job.tokenizer());
  } catch (const Error&) {
    // It is reported with the data.
  }
  if (!directory.empty() && tokenizer != nullptr) {
    checks.guard(concat("model.", role_with_files(job), ".path"),
                 [&] { has_chat = data::has_chat_template(directory); });
  }
  for (auto& [name, dataset] : job.experiment.datasets) {
    const bool has_tokens = data::is_token_file(dataset.path);
    const bool has_texts = !dataset.system_prefix.empty() || !dataset.system_suffix.empty() ||
                           !dataset.prompt_prefix.empty() || !dataset.prompt_suffix.empty();
    const bool has_messages = !dataset.messages_field.empty();
    if (has_messages) {
      dataset.add_bos = "false";  // the chat template writes what begins a text
      continue;
    }
    if (has_chat && !has_texts && !has_tokens) {
      checks.warn(key_of(name, "prompt_prefix"),
                  concat("nothing stands around the prompts, but ", directory,
                         " has a chat template: set prompt_prefix, prompt_suffix (and "
                         "system_prefix, system_suffix) to what it puts there, or write records of "
                         "messages (kind = messages)"));
    }
    if (has_tokens) {
      if (dataset.add_bos == "true") {
        checks.add(key_of(name, "add_bos"),
                   "cannot be put before prompts that are tokens already: give it to "
                   "tools/tokenize.py as --add-bos true and leave it out here");
      }
      dataset.add_bos = "false";
      continue;
    }
    if (tokenizer == nullptr) continue;
    const std::vector<int32_t> special_tokens = tokenizer->template_tokens();
    if (dataset.add_bos == "auto") dataset.add_bos = special_tokens.empty() ? "false" : "true";
    if (dataset.add_bos == "false" && !special_tokens.empty()) {
      checks.warn(key_of(name, "add_bos"),
                  "prompts do not begin as the tokenizer's own template begins a text");
    }
  }
}

void read_data(Job& job, Checks& checks, data::RecordNeeds::Lengths lengths) {
  const data::Tokenizer* tokenizer = nullptr;
  const std::string& role =
      job.experiment.models.empty() ? std::string() : job.experiment.models.front().first;
  checks.guard(concat("model.", role, ".tokenizer"),
               [&] { tokenizer = &checks.tokenizer(job.tokenizer()); });
  if (tokenizer == nullptr) return;
  Overlap overlap;
  for (const auto& [name, dataset] : job.experiment.datasets) {
    data::DatasetIndex index;
    std::function<void(std::string_view)> on_prompt = overlap.reader();
    if (job.experiment.evaluation_sets.empty()) on_prompt = nullptr;  // nothing to compare with
    checks.guard(key_of(name, "path"), [&] {
      const base::Stopwatch watch;
      data::RecordNeeds needs = needs_of(job, name);
      needs.lengths = lengths;
      if (data::is_token_file(dataset.path)) {
        needs.template_tokens = checks.own_template_tokens(model_directory(job));
      }
      needs.on_prompt = std::move(on_prompt);
      index = data::DatasetIndex::build(dataset, *tokenizer, needs);
      if (watch.seconds() > 1) {  // worth a line, and what the start waited for
        base::log_info(concat("data set ", name, ": ", index.n_rows(), " records checked in ",
                              base::duration_text(std::chrono::duration<double>(watch.seconds()))));
      }
      for (const std::string& remark : data::marks_taken_as_text(dataset, *tokenizer)) {
        checks.warn(key_of(name), remark);
      }
      ReadDataset read(checks, name, dataset, index);
      read.check_fields();
      read.check_counts(needs);
      read.check_limits(needs);
      check_fields_of_sets(job, name, needs, index, checks);
      check_best_of_set(needs, index, checks);
    });
    if (index.n_rejected() > 0) {
      checks.warn(key_of(name, "on_bad_record"), index.report(20));
    }
    job.indices.push_back(std::move(index));
  }
  overlap.check(job, checks);
}

}  // namespace orrery::cli
