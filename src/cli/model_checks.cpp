#include "model_checks.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "model_source.h"
#include "orrery/algorithm/generation.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/counted.h"
#include "orrery/base/text.h"
#include "orrery/graph/replica.h"
#include "orrery/model/checkpoint_model.h"
#include "orrery/model/hf_check.h"
#include "orrery/model/hf_directory.h"
#include "orrery/model/parameter_table.h"  // blocks_of
#include "residency.h"
#include "teacher_checks.h"

namespace orrery::cli {

namespace {

/// The roles and calls of one job.
class ModelChecks {
 public:
  ModelChecks(Job& job, Checks& checks) : job_(job), checks_(checks) {}

  void check_models() {
    for (const graph::Replica& replica : graph::replicas_of(job_.graph)) {
      const std::string& role = replica.id.role;
      const config::ModelConfig* model = job_.experiment.find_model(role);
      if (model == nullptr || replica.origin == graph::Origin::kNone) continue;
      const std::string key = base::concat("model.", role, model->path.empty() ? "" : ".path");
      if (replica.id.index == 0) {
        checks_.guard(key, [&] {
          if (!model->path.empty() && model::is_checkpoint(model->path)) check_files(model->path);
          job_.architectures[role] = model::Architecture::from_config(*model);
          if (!model->path.empty() && !model::is_checkpoint(model->path)) {
            model::check_hf_tensors(model->path, job_.architectures.at(role));
          }
          check_vocabulary(role, *model);
          check_weights(role, *model);
        });
      }
      if (replica.is_trained) check_recomputed(role, *model, replica);
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
      check_minibatches(call);
    }
    for (const graph::Edge& edge : job_.graph.edges()) check_reads_tokens(edge);
  }

  /// What concerns all roles together.
  void check_whole() {
    std::set<std::string> tokenizers;
    std::string last;
    for (const auto& [role, model] : job_.experiment.models) {
      if (algorithm::only_reads_texts(job_.experiment, role)) continue;
      tokenizers.insert(model.tokenizer);
      last = role;
    }
    if (tokenizers.size() > 1) {
      add(base::concat("model.", last, ".tokenizer"),
          "all roles of an experiment that read tokens of each other must have one tokenizer");
    }
  }

 private:
  /// Of the files, before anything is loaded.
  void check_weights(const std::string& role, const config::ModelConfig& model) {
    const model::Architecture& architecture = job_.architectures.at(role);
    if (model.balance_coefficient > 0 && architecture.experts.count == 0) {
      add(base::concat("model.", role, ".balance_coefficient"),
          "the model has no experts whose use could be balanced; leave it out");
    }
    if (model.dtype == "fp64") {
      for (const auto& [key, dtype] : {std::pair{".moments_dtype", model.moments_dtype},
                                       {".gradient_dtype", model.gradient_dtype}}) {
        if (dtype != "bf16") continue;
        add(base::concat("model.", role, key),
            "bf16 goes with dtype = fp32 or bf16: beside fp64 leave it out");
      }
    }
    if (model.offload == "when_idle" && idle_part_of(job_, role) == IdlePart::kNothing) {
      checks_.warn(
          base::concat("model.", role, ".offload"),
          "nothing of the role is ever idle: an evaluation or the loss of another reads it, "
          "it is a moving average, or no step computes with it");
    }
    if (model.path.empty() || model::is_checkpoint(model.path)) return;
    for (const std::string& remark : model::unused_in_hf_directory(model.path, architecture)) {
      checks_.warn(base::concat("model.", role, ".path"), remark);
    }
  }

  /// The number is of layers of a stage, so that it means the same memory on all of them.
  void check_recomputed(const std::string& role, const config::ModelConfig& model,
                        const graph::Replica& replica) {
    const auto known = job_.architectures.find(role);
    if (known == job_.architectures.end()) return;
    if (model.recompute_layers == "all") return;
    const int n_stages = replica.layout.pipe;
    const int64_t n_layers = known->second.n_layers;
    const int64_t most = model::blocks_of(n_layers, {.n_pipe = n_stages}).count;  // the first stage
    const int64_t wanted = model.recomputed_layers(std::numeric_limits<int64_t>::max());
    if (wanted <= most) return;
    add(base::concat("model.", role, ".recompute_layers"),
        base::concat("must be at most ", most, ", got ", wanted, ": the model has ",
                     base::counted(n_layers, "layer"),
                     n_stages > 1 ? base::concat(", and in layout ", replica.layout.text(),
                                                 " a stage has ", most)
                                  : std::string(),
                     "; `all` is all of them in every layout"));
  }

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
  void check_reads_tokens(const graph::Edge& edge) {
    const graph::Call& call = job_.graph.call(edge.consumer);
    const graph::Call& other = job_.graph.call(edge.producer);
    const auto reader = job_.architectures.find(call.role);
    const auto writer = job_.architectures.find(other.role);
    const auto signature = algorithm::signature_of(call.interface, call.kind);
    if (signature && signature->reads_texts) return;
    if (other.kind != graph::CallKind::kGenerate || reader == job_.architectures.end() ||
        writer == job_.architectures.end() ||
        reader->second.vocab_size >= writer->second.vocab_size) {
      return;
    }
    add(base::concat("call.", call.name, ".model"),
        base::concat("role ", call.role, " has a vocabulary of ", reader->second.vocab_size,
                     ", but ", other.role, ", whose answers it reads, one of ",
                     writer->second.vocab_size, "; use models of one tokenizer"));
  }

  /// An update that has no sample on some data rank is a mistake in n_seqs or n_minibatches.
  void check_minibatches(const graph::Call& call) {
    const int64_t n_minibatches =
        algorithm::option_facts(*job_.experiment.find_call(call.name)).n_minibatches;
    if (call.kind != graph::CallKind::kTrainStep || n_minibatches <= 1) return;
    const int64_t per_sample = sequences_per_sample(call);
    const int64_t n = call.n_seqs * per_sample;
    if (n_minibatches <= n / std::max(call.layout.data, 1)) return;
    add(base::concat("call.", call.name, ".n_minibatches"),
        base::concat("n_seqs = ", call.n_seqs,
                     per_sample > 1 ? base::concat(" of ", per_sample, " answers") : std::string(),
                     " give each of ", call.layout.data, " data ranks ",
                     n / std::max(call.layout.data, 1), " to learn from, fewer than ",
                     n_minibatches,
                     " minibatches: some updates would have none; lower "
                     "n_minibatches or raise n_seqs"));
  }

  /// What a train step deals into minibatches: the answers of a prompt one by one, else samples.
  int64_t sequences_per_sample(const graph::Call& call) const {
    const auto signature = algorithm::signature_of(call.interface, call.kind);
    const bool learns_from_answers =
        signature && std::count(signature->required_inputs.begin(),
                                signature->required_inputs.end(), "rewards") > 0;
    int64_t group_size = 1;
    for (const graph::Call& other : job_.graph.calls()) {
      if (!learns_from_answers || other.interface != "generate") continue;
      group_size = config::parse_options<algorithm::GenerateOptions>(
                       job_.experiment.find_call(other.name)->options)
                       .group_size;
    }
    return group_size;
  }

  void check_vocabulary(const std::string& role, const config::ModelConfig& model) {
    const int64_t tokens = checks_.tokenizer(model.tokenizer).vocab_size();
    const int64_t vocabulary = job_.architectures.at(role).vocab_size;
    if (vocabulary < tokens) {
      add(base::concat("model.", role, model.path.empty() ? ".vocab_size" : ".tokenizer"),
          base::concat("the tokenizer ", model.tokenizer, " has ", tokens,
                       " tokens, but the model only ", vocabulary));
    }
  }

  void add(const std::string& key, const std::string& text) { checks_.add(key, text); }

  Job& job_;
  Checks& checks_;
};

}  // namespace

void check_models(Job& job, Checks& checks) {
  ModelChecks models(job, checks);
  models.check_models();
  models.check_whole();
  check_teachers(job, checks);
}

}  // namespace orrery::cli
