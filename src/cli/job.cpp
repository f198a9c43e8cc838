#include "job.h"

#include <algorithm>
#include <cereal/archives/binary.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>
#include <chrono>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "model_source.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/clock.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/data/prompt_template.h"
#include "orrery/data/token_index.h"
#include "orrery/data/tokenizer.h"
#include "orrery/graph/replica.h"
#include "orrery/master/step_clock.h"
#include "orrery/model/checkpoint_model.h"

namespace orrery::cli {

namespace {

/// Collects what is wrong, with file and line.
class Checks {
 public:
  Checks(Job& job, std::vector<config::Problem> problems)
      : job_(job), problems_(std::move(problems)) {}

  std::vector<config::Problem>& problems() { return problems_; }

  void add(const std::string& key, const std::string& text) {
    const config::Position at = job_.experiment.where(key);
    problems_.push_back({at.file, at.line, base::concat(key, ": ", text)});
  }

  /// What may be meant: the run starts, and says it.
  void warn(const std::string& key, const std::string& text) {
    const config::Position at = job_.experiment.where(key);
    job_.warnings.push_back({at.file, at.line, base::concat(key, ": ", text)});
  }

  /// Runs `work`; an Error becomes a problem of `key`.
  template <class Work>
  void guard(const std::string& key, const Work& work) {
    try {
      work();
    } catch (const Error& error) {
      add(key, error.what());
    }
  }

  void check_models() {
    for (const graph::Replica& replica : graph::replicas_of(job_.graph)) {
      const std::string& role = replica.id.role;
      const config::ModelConfig* model = job_.experiment.find_model(role);
      if (model == nullptr || replica.origin == graph::Origin::kNone) continue;
      const std::string key = base::concat("model.", role, model->path.empty() ? "" : ".path");
      if (replica.id.index == 0) {
        guard(key, [&] {
          if (!model->path.empty() && model::is_checkpoint(model->path)) check_files(model->path);
          job_.architectures[role] = model::Architecture::from_config(*model);
          check_vocabulary(role, *model);
        });
      }
      const std::string layout_key =
          base::concat("call.", job_.graph.call(replica.calls.front()).name, ".layout");
      if (const auto known = job_.architectures.find(role); known != job_.architectures.end()) {
        for (const std::string& text : model::check_layout(known->second, replica.layout)) {
          add(layout_key, text);
        }
      }
    }
    for (const graph::Call& call : job_.graph.calls()) {
      check_post_realloc(call);
      check_head(call);
      check_reads_tokens(call);
    }
  }

  /// An evaluation needs a call that trains on the like.
  void check_evaluation() {
    if (!problems_.empty()) return;  // it may only follow from another fault
    const std::string& name = job_.experiment.evaluate.dataset;
    const config::DatasetConfig* dataset = job_.experiment.find_dataset(name);
    if (dataset == nullptr || !evaluating_calls(job_).empty()) return;
    add("evaluate.dataset",
        base::concat("no train_step of this experiment evaluates data sets of kind ",
                     dataset->kind));
  }

  /// What concerns all roles together.
  void check_whole() {
    std::set<std::string> tokenizers;
    for (const auto& [role, model] : job_.experiment.models) tokenizers.insert(model.tokenizer);
    if (tokenizers.size() > 1) {
      add(base::concat("model.", job_.experiment.models.back().first, ".tokenizer"),
          "all roles of an experiment must have one tokenizer");
    }
  }

  void read_data() {
    const data::Tokenizer* tokenizer = nullptr;
    const std::string& role =
        job_.experiment.models.empty() ? std::string() : job_.experiment.models.front().first;
    guard(base::concat("model.", role, ".tokenizer"),
          [&] { tokenizer = &tokenizer_named(job_.tokenizer()); });
    if (tokenizer == nullptr) return;
    for (const auto& [name, dataset] : job_.experiment.datasets) {
      data::DatasetIndex index;
      guard(base::concat("dataset.", name, ".path"), [&] {
        const base::Stopwatch watch;
        index = data::DatasetIndex::build(dataset, *tokenizer);
        if (watch.seconds() > 1) {  // worth a line, and what the start waited for
          base::log_info(
              base::concat("data set ", name, ": ", index.n_rows(), " records checked in ",
                           base::duration_text(std::chrono::duration<double>(watch.seconds()))));
        }
        for (const std::string& remark : data::marks_taken_as_text(dataset, *tokenizer)) {
          warn(base::concat("dataset.", name), remark);
        }
      });
      if (index.n_rejected() > 0) {
        warn(base::concat("dataset.", name, ".on_bad_record"), index.report(20));
      }
      job_.indices.push_back(std::move(index));
    }
  }

 private:
  /// Parameters can only go to a role of the same sizes.
  void check_post_realloc(const graph::Call& call) {
    if (call.post_realloc.empty()) return;
    const auto from = job_.architectures.find(call.role);
    const auto to = job_.architectures.find(call.post_realloc);
    if (from == job_.architectures.end() || to == job_.architectures.end()) return;
    model::Architecture comparable = to->second;
    comparable.family = from->second.family;
    comparable.bos_token = from->second.bos_token;
    comparable.eos_tokens = from->second.eos_tokens;
    if (comparable == from->second) return;
    add(base::concat("call.", call.name, ".post_realloc"),
        base::concat("roles ", call.role, " and ", call.post_realloc,
                     " have different architectures: no parameters can go from one to the other"));
  }

  /// A critic has no probabilities, a language model no values.
  void check_head(const graph::Call& call) {
    const auto known = job_.architectures.find(call.role);
    const auto signature = algorithm::signature_of(call.interface, call.kind);
    if (known == job_.architectures.end() || !signature) return;
    const bool wants_values = signature->model == algorithm::ModelNeed::kValueHead;
    if (signature->model == algorithm::ModelNeed::kNone ||
        known->second.value_head == wants_values) {
      return;
    }
    add(base::concat("call.", call.name, ".model"),
        wants_values
            ? base::concat("interface ", call.interface, " needs one number a token; set model.",
                           call.role, ".head = value")
            : base::concat("interface ", call.interface, " needs a language model; ", call.role,
                           " has a value head"));
  }

  /// Whoever reads what a call generates must know every token that it can draw.
  void check_reads_tokens(const graph::Call& call) {
    const auto reader = job_.architectures.find(call.role);
    if (reader == job_.architectures.end()) return;
    for (const graph::Call& other : job_.graph.calls()) {
      const auto writer = job_.architectures.find(other.role);
      if (other.kind != graph::CallKind::kGenerate || writer == job_.architectures.end()) continue;
      const bool is_read =
          std::any_of(call.inputs.begin(), call.inputs.end(), [&](const config::KeyBinding& input) {
            return std::any_of(other.outputs.begin(), other.outputs.end(),
                               [&](const config::KeyBinding& output) {
                                 return output.graph_key == input.graph_key;
                               });
          });
      if (!is_read || reader->second.vocab_size >= writer->second.vocab_size) continue;
      add(base::concat("call.", call.name, ".model"),
          base::concat("role ", call.role, " has a vocabulary of ", reader->second.vocab_size,
                       ", but ", other.role, ", whose answers it reads, one of ",
                       writer->second.vocab_size, "; use models of one tokenizer"));
    }
  }

  /// A tokenizer is read once, however many roles have it.
  const data::Tokenizer& tokenizer_named(const std::string& name) {
    std::unique_ptr<data::Tokenizer>& known = tokenizers_[name];
    if (known == nullptr) known = data::make_tokenizer(name);
    return *known;
  }

  void check_vocabulary(const std::string& role, const config::ModelConfig& model) {
    const int64_t tokens = tokenizer_named(model.tokenizer).vocab_size();
    const int64_t vocabulary = job_.architectures.at(role).vocab_size;
    if (vocabulary < tokens) {
      add(base::concat("model.", role, model.path.empty() ? ".vocab_size" : ".tokenizer"),
          base::concat("the tokenizer ", model.tokenizer, " has ", tokens,
                       " tokens, but the model only ", vocabulary));
    }
  }

  Job& job_;
  std::vector<config::Problem> problems_;
  std::map<std::string, std::unique_ptr<data::Tokenizer>> tokenizers_;
};

/// Equal files are one tokenizer, wherever they are: a run's roles often begin as copies.
bool have_equal_tokenizers(const std::string& a, const std::string& b) {
  if (a == b) return true;
  const auto file_of = [](const std::string& name) {
    const std::filesystem::path path(name);
    std::error_code error;
    return std::filesystem::is_directory(path, error) ? path / "tokenizer.json" : path;
  };
  if (a == "byte" || b == "byte") return false;
  std::error_code error;
  const auto size = std::filesystem::file_size(file_of(a), error);
  if (error || size != std::filesystem::file_size(file_of(b), error) || error) return false;
  return base::read_file(file_of(a)) == base::read_file(file_of(b));
}

/// The first file of tokens, if no data set is text and no role names a tokenizer: its table is all
/// that the run needs. Else nothing.
std::string token_file_of(const config::Experiment& experiment) {
  const bool is_named =
      std::any_of(experiment.models.begin(), experiment.models.end(),
                  [](const auto& named) { return named.second.tokenizer != "auto"; });
  if (is_named || experiment.datasets.empty()) return "";
  const bool are_tokens =
      std::all_of(experiment.datasets.begin(), experiment.datasets.end(),
                  [](const auto& named) { return data::is_token_file(named.second.path); });
  return are_tokens ? experiment.datasets.front().second.path : "";
}

/// Says for each role which tokenizer it has.
void resolve_tokenizers(config::Experiment& experiment) {
  std::error_code error;
  if (const std::string tokens = token_file_of(experiment); !tokens.empty()) {
    for (auto& [role, model] : experiment.models) {
      if (model.tokenizer == "auto") model.tokenizer = tokens;
    }
  }
  for (auto& [role, model] : experiment.models) {
    if (model.tokenizer == "auto" && !model.path.empty() &&
        std::filesystem::exists(std::filesystem::path(model.path) / "tokenizer.json", error)) {
      model.tokenizer = model.path;
    }
  }
  std::string shared = "byte";
  for (const auto& [role, model] : experiment.models) {
    if (model.tokenizer == "auto") continue;
    shared = model.tokenizer;
    break;
  }
  for (auto& [role, model] : experiment.models) {
    if (model.tokenizer == "auto" || have_equal_tokenizers(model.tokenizer, shared)) {
      model.tokenizer = shared;
    }
  }
}

int workers_named(const config::Experiment& experiment) {
  int highest = 0;
  const auto look = [&](const std::string& text) {
    if (text.empty()) return;
    for (const int worker : graph::parse_layout(text).layout.workers) {
      highest = std::max(highest, worker);
    }
  };
  look(experiment.layout.default_layout);
  for (const auto& [name, call] : experiment.calls) look(call.layout);
  return highest + 1;
}

/// Steps until total_steps or total_epochs ends the run, whichever comes first; 0: neither does.
int64_t count_steps(const Job& job) {
  const config::ExperimentSection& section = job.experiment.experiment;
  int64_t steps = section.total_steps;
  if (section.total_epochs > 0 && !job.indices.empty()) {
    const int64_t by_epochs = master::steps_of_epochs(
        section.total_epochs, job.graph.samples_per_step(), job.make_order().samples_per_epoch());
    steps = steps > 0 ? std::min(steps, by_epochs) : by_epochs;
  }
  return steps;
}

}  // namespace

std::vector<int> Job::training_places() const {
  const std::vector<std::string> training = graph::training_datasets(experiment);
  std::vector<int> places;
  for (size_t i = 0; i < experiment.datasets.size(); ++i) {
    const std::string& name = experiment.datasets[i].first;
    if (std::find(training.begin(), training.end(), name) != training.end()) {
      places.push_back(static_cast<int>(i));
    }
  }
  return places;
}

data::DataOrder Job::make_order() const {
  std::vector<data::OrderedDataset> datasets;
  for (const int place : training_places()) {
    const auto& [name, dataset] = experiment.datasets[static_cast<size_t>(place)];
    const data::DatasetIndex& index = indices[static_cast<size_t>(place)];
    datasets.push_back({.name = name,
                        .n_rows = index.n_rows(),
                        .weight = dataset.weight,
                        .fingerprint = index.fingerprint()});
  }
  return data::DataOrder(std::move(datasets),
                         {.seed = static_cast<uint64_t>(experiment.experiment.seed),
                          .samples_per_step = graph.samples_per_step()});
}

std::vector<int> evaluating_calls(const Job& job) {
  std::vector<int> calls;
  const config::DatasetConfig* dataset =
      job.experiment.find_dataset(job.experiment.evaluate.dataset);
  if (dataset == nullptr) return calls;
  for (int i = 0; i < static_cast<int>(job.graph.size()); ++i) {
    const graph::Call& call = job.graph.call(i);
    const auto signature = algorithm::signature_of(call.interface, call.kind);
    if (signature &&
        std::count(signature->evaluates.begin(), signature->evaluates.end(), dataset->kind) > 0) {
      calls.push_back(i);
    }
  }
  return calls;
}

std::string Job::tokenizer() const {
  return experiment.models.empty() ? "byte" : experiment.models.front().second.tokenizer;
}

Job prepare_job(const std::string& config_file, const std::vector<std::string>& sets, int n_workers,
                DataCheck data_check) {
  const config::InterfaceSchemas schemas = algorithm::interface_schemas();
  config::LoadResult loaded = config::load_experiment(config_file, sets, schemas);
  Job job;
  job.experiment = std::move(loaded.experiment);
  resolve_tokenizers(job.experiment);
  job.n_workers = n_workers > 0 ? n_workers : workers_named(job.experiment);

  const size_t n_read = loaded.problems.size();
  Checks checks(job, std::move(loaded.problems));
  if (job.experiment.calls.empty()) config::throw_if_problems(checks.problems());
  algorithm::check_calls(job.experiment, checks.problems());
  job.graph = graph::build_graph(job.experiment, job.n_workers, checks.problems());
  checks.check_models();
  checks.check_whole();
  checks.check_evaluation();
  if (data_check == DataCheck::kRead) {
    checks.read_data();
    if (checks.problems().empty()) {
      checks.guard(base::concat("dataset.", graph::training_datasets(job.experiment).front()), [&] {
        job.n_steps = count_steps(job);
        job.make_order();
      });
    }
  }
  config::drop_consequences(checks.problems(), n_read);
  config::throw_if_problems(checks.problems());
  return job;
}

std::string pack_job(const Job& job) {
  std::ostringstream out;
  cereal::BinaryOutputArchive archive(out);
  archive(config::resolved_config(job.experiment, algorithm::interface_schemas()), job.indices,
          job.n_workers, job.n_steps);
  return std::move(out).str();
}

Job unpack_job(std::string bytes) {
  std::istringstream in(std::move(bytes));
  cereal::BinaryInputArchive archive(in);
  std::string text;
  Job job;
  archive(text, job.indices, job.n_workers, job.n_steps);
  config::LoadResult loaded =
      config::load_experiment_text(text, "config.cfg", algorithm::interface_schemas());
  config::throw_if_problems(loaded.problems);
  job.experiment = std::move(loaded.experiment);
  std::vector<config::Problem> problems;
  job.graph = graph::build_graph(job.experiment, job.n_workers, problems);
  config::throw_if_problems(problems);
  return job;
}

}  // namespace orrery::cli
