#include "gpu_memory_plan.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <map>
#include <ostream>
#include <set>
#include <sstream>

#include "generation_load.h"
#include "orrery/algorithm/registry.h"  // option_facts
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/table.h"
#include "orrery/base/text.h"
#include "orrery/graph/replica.h"
#include "orrery/graph/topology.h"
#include "orrery/kernels/decode_attention.h"  // kPageTokens, page_size, most_attention_parts
#include "orrery/kernels/sample_rows.h"       // sample_rows_scratch_bytes
#include "orrery/model/generator.h"           // kPrefillTokens
#include "orrery/model/matmul_rows.h"
#include "orrery/model/parameter_table.h"
#include "orrery/parallel/gradient_reduction.h"  // owned_partition, kGradientBucketElements
#include "residency.h"

namespace orrery::cli {

namespace {

constexpr int64_t kLogitRows = 1024;  // of the head that are computed at a time

/// Widths in bytes of what is stored; sums are always fp32, or fp64 all through.
struct Widths {
  int64_t value;      // parameters and activations
  int64_t sum;        // moments, logits
  int64_t gradient;   // of the flat buffer
  int64_t optimizer;  // of a parameter that is owned
};

Widths widths_of(const config::ModelConfig& model) {
  if (model.dtype == "fp64") return {8, 8, 8, 16};
  const int64_t moments = model.moments_dtype == "bf16" ? 4 : 8;
  const int64_t gradient = model.gradient_dtype == "bf16" ? 2 : 4;
  if (model.dtype == "fp32") return {4, 4, gradient, moments};
  return {2, 4, gradient, 4 + moments};  // master weights beside both moments
}

/// Of fp32, and as a factor of the products behind them in bf16; others are that in place.
int64_t logit_bytes(int64_t width) { return width == 2 ? 6 : width; }

/// A shard of a role on one worker.
struct Shard {
  const config::ModelConfig* config;
  model::Architecture local;
  model::ShardPlace place;
  int64_t n_parameters = 0;
  int64_t n_owned = 0;       // by this data rank
  int64_t largest_part = 0;  // parameters of a layer, the embedding or the head
  bool is_trained = false;
  bool is_offloaded = false;  // while it is idle: the optimizer's state of a trained role, else all
  bool is_refilled = false;   // from another replica before its calls, and released behind them
  bool is_averaged = false;   // slowly: bf16 has an fp32 form beside it from the first time on
  std::set<std::string> calls;
  std::set<std::string> calls_in_use;  // of what is offloaded: train_steps of a trained role
};

/// Numbers that a layer keeps for backward, for one token: input and middle of the residual stream
/// (rows cut over the tensor ranks), q, k and v, what attention gave, gate and up; what goes into
/// norms behind the branches. What experts make is not kept.
double kept_numbers(const model::Architecture& a, int n_tensor) {
  const int64_t up = a.has_dense_layers() ? a.up_size() : 0;
  const double own_rows = a.has_norms_after() ? 4 : 2;
  return own_rows * double(a.hidden_size) / n_tensor +
         double(a.qkv_size() + a.query_size() + 2 * a.n_heads + up);
}

/// Of contexts that are cut into parts.
int64_t attention_bytes(const model::Architecture& a, int64_t n_rows, int64_t longest,
                        int64_t sum_width) {
  const int64_t parts = kernels::most_attention_parts(longest);
  const int64_t of_head = parts * kernels::partial_size(a.head_dim) * sum_width;
  return kernels::attention_scratch_rows(n_rows, a.n_heads, a.head_dim, longest) * a.n_heads *
         (of_head + static_cast<int64_t>(sizeof(int32_t)));
}

/// Numbers of a layer's scratch, for one token.
double scratch_numbers(const model::Architecture& a, int n_tensor) {
  const double own_rows = a.has_norms_after() ? 3 : 2;
  const int64_t gated = a.has_dense_layers() ? a.intermediate_size : 0;
  return own_rows * double(a.hidden_size) / n_tensor + double(a.hidden_size) +
         double(gated + a.qkv_size() + a.query_size());
}

/// Bytes that the experts of one layer make of some tokens while they run, and backwards the
/// gradients of the largest matrix of all own ones: in bf16 for all experts of a token at once
/// (model/grouped_experts.h), else for one expert, which all tokens may have chosen.
int64_t expert_bytes(const model::Architecture& a, int n_tensor, int64_t width, int64_t n_tokens,
                     bool is_backward) {
  const model::Experts& experts = a.experts;
  if (experts.count == 0) return 0;
  const int64_t hidden = a.hidden_size, inner = experts.intermediate_size;
  const int64_t of_row = is_backward ? 5 * hidden + 4 * inner : 3 * (hidden + inner);
  const int64_t of_token = 2 * hidden + 3 * experts.shared_intermediate_size;  // sums, shared one
  const int64_t n_rows = width == 2 ? experts.per_token : 1;
  const int64_t own = divide_up(experts.count, n_tensor);
  const int64_t gradients = is_backward && width == 2 ? own * 2 * inner * hidden : 0;
  return width * (n_tokens * (n_rows * of_row + of_token) + gradients);
}

/// Bytes that flash attention makes of some tokens in bf16 beside them forwards: its output.
int64_t flash_bytes(const model::Architecture& a, int64_t width, int64_t n_tokens) {
  return width == 2 ? 2 * a.query_size() * n_tokens : 0;
}

/// Backwards: the gradients, those of keys and values for each query head where these share them,
/// and that of the queries in fp32 first. So that its sums have one order, so many parts of that
/// as bring the blocks, one for each sequence and head, to the number of multiprocessors.
int64_t flash_backward_bytes(const model::Architecture& a, int64_t width, int64_t n_tokens,
                             int64_t n_sequences) {
  if (width != 2) return 0;
  constexpr int64_t kMultiprocessors = 132;  // of an H100 or H200, other GPUs have about as many
  constexpr int64_t kPadding = 128;          // rows, of each sequence
  const int64_t n_parts = divide_up(kMultiprocessors, n_sequences * a.n_heads);
  const int64_t multiple = a.head_dim <= 128 ? 32 : 64;
  const int64_t head_dim = divide_up(a.head_dim, multiple) * multiple;
  const int64_t of_shared = a.n_kv_heads < a.n_heads ? 2 * a.query_size() : 0;
  return 2 * (a.qkv_size() + of_shared) * n_tokens +
         4 * a.n_heads * (n_parts * head_dim + 1) * (n_tokens + kPadding * n_sequences);
}

int64_t bytes(double numbers, int64_t width) {
  return static_cast<int64_t>(std::ceil(numbers * static_cast<double>(width)));
}

/// The plan of one worker.
class Worker {
 public:
  Worker(const Job& job, std::vector<Shard> shards) : job_(job), shards_(std::move(shards)) {}

  PhaseMemory load() const {
    PhaseMemory phase = resident("load", "");
    // One after another: each is there whole before it leaves.
    for (const Shard& shard : shards_) {
      if (!shard.is_offloaded) continue;
      phase.workspace = std::max(
          phase.workspace, shard.is_trained ? optimizer_bytes(shard) : parameter_bytes(shard));
    }
    return phase;
  }

  std::optional<PhaseMemory> call(const graph::Call& call) const {
    const Shard* shard = shard_of(call.name);
    if (shard == nullptr) return std::nullopt;
    PhaseMemory phase = resident(call.name, call.name);
    const int64_t width = widths_of(*shard->config).value;
    const int64_t vocabulary =
        shard->place.is_last_stage()
            ? model::vocabulary_of(shard->local.vocab_size, shard->place).count
            : 0;
    if (call.kind == graph::CallKind::kGenerate) {
      const std::optional<GenerationLoad> load = generation_load_of(job_, call);
      if (!load) return phase;
      phase.pages = page_numbers(shard->local, *load) * width;
      phase.fewest_pages = page_numbers(shard->local, load->of_one_sequence()) * width;
      const int64_t places =
          std::max<int64_t>(std::min(load->max_batch, load->n_prompts * load->group_size), 1);
      const int64_t prompt = std::min(load->max_prompt_tokens, shard->local.max_positions);
      constexpr auto on_gpu = model::MatmulRows::on_gpu;
      const int64_t of_step = on_gpu(load->max_batch).filled_up(places);
      const int64_t rows =
          std::max({of_step, prompt, std::min(model::kPrefillTokens, load->n_prompts * prompt)});
      // Of all tensor ranks: those of a step, copies of prompts' for their members, and what
      // drawing writes beside them; with several ranks the own ones before they are gathered.
      const int64_t whole = job_.architectures.at(call.role).vocab_size;
      const bool draws = shard->place.is_last_stage();
      const int64_t n_tensor = tensor(*shard);
      const int64_t gathered = vocabulary + (n_tensor + 1) * (whole / n_tensor + 1);
      const int64_t numbers = whole + (draws && n_tensor > 1 ? gathered : 0);
      phase.logits =
          (of_step * numbers + (draws ? places * whole : 0)) * widths_of(*shard->config).sum +
          (draws ? kernels::sample_rows_scratch_bytes(of_step, whole) : 0);
      phase.workspace = bytes(double(rows) * (kept_numbers(shard->local, tensor(*shard)) +
                                              scratch_numbers(shard->local, tensor(*shard))),
                              width) +
                        flash_bytes(shard->local, width, rows) +
                        expert_bytes(shard->local, tensor(*shard), width, rows, false);
      // The last rows of a matmul of prompts are filled up, and what they give is copied back.
      phase.workspace +=
          on_gpu(load->max_batch).of_prompts * width *
          (shard->local.hidden_size + std::max(shard->local.up_size(), shard->local.qkv_size()));
      // What decoding keeps there of each sequence and each row, what it draws, and page tables, in
      // tensors that LibTorch rounds up; the page of rows that are nobody's (model/decode_ahead.h).
      constexpr int64_t kSlotBytes = 168, kTensors = 16, kRounding = 512;
      const int64_t longest = std::min(prompt + load->max_new_tokens, shard->local.max_positions);
      const int64_t pages = longest / kernels::kPageTokens + 1;
      phase.workspace +=
          kTensors * kRounding +
          (places + 1) * (kSlotBytes + pages * static_cast<int64_t>(sizeof(int32_t))) +
          attention_bytes(shard->local, rows, longest, widths_of(*shard->config).sum) +
          shard->local.n_layers * width *
              kernels::page_size(shard->local.n_kv_heads, shard->local.head_dim);
      return phase;
    }
    const MicroBatch micro_batch = micro_batch_of(call, *shard);
    const int64_t n_tokens = micro_batch.n_tokens;
    const double layer = kept_numbers(shard->local, tensor(*shard)) * double(n_tokens);
    const double scratch = scratch_numbers(shard->local, tensor(*shard)) * double(n_tokens);
    phase.logits = std::min(kLogitRows, n_tokens) * vocabulary * logit_bytes(width);
    phase.workspace = bytes(scratch, width);
    if (call.kind == graph::CallKind::kInference) {
      phase.workspace += bytes(layer, width);  // one layer at a time
      phase.slabs = phase.workspace;
      phase.workspace += flash_bytes(shard->local, width, n_tokens) +
                         expert_bytes(shard->local, tensor(*shard), width, n_tokens, false);
      return phase;
    }
    const double n_layers = double(shard->local.n_layers);
    const double input = double(shard->local.hidden_size) / tensor(*shard) * double(n_tokens);
    // 1F1B: a stage has begun at most as many micro-batches as there are stages from it on.
    const double in_flight = shard->place.n_pipe - shard->place.pipe;
    const double recomputed = double(shard->config->recomputed_layers(shard->local.n_layers));
    // Of layers that are run again each micro-batch has the inputs; one at a time is there whole,
    // in the place of the first layer that is kept, if one is.
    const double whole_in_passing = recomputed == n_layers ? layer - input : 0;
    phase.activations =
        bytes((layer * (n_layers - recomputed) + input * recomputed) * in_flight + whole_in_passing,
              width);
    phase.slabs = phase.activations + phase.workspace;
    phase.workspace +=
        flash_backward_bytes(shard->local, width, n_tokens, micro_batch.n_sequences) +
        expert_bytes(shard->local, tensor(*shard), width, n_tokens, true);
    const Widths widths = widths_of(*shard->config);
    phase.gradients = shard->n_parameters * widths.gradient;
    // What is added to a buffer of bf16 is made in fp32, a part of the model at a time.
    const bool is_narrow = widths.gradient < widths.sum;
    const int64_t room = is_narrow ? shard->largest_part * widths.sum : 0;
    phase.workspace += room;
    if (call.layout.data > 1) {
      // A bucket to send, one to receive, and what is owned, summed; logits are gone by then.
      const int64_t bucket = std::min(parallel::kGradientBucketElements, shard->n_parameters);
      const int64_t reduction =
          (bucket + bucket / call.layout.data) * widths.sum + shard->n_owned * widths.gradient;
      phase.workspace += std::max<int64_t>(reduction - phase.logits - room, 0);
    }
    return phase;
  }

  PhaseMemory between(const std::string& name) const {
    PhaseMemory phase = resident(name, "");
    if (name == "reallocate") {  // what is sent and what arrives, a bucket each
      int64_t largest = 0;
      for (const Shard& shard : shards_) {
        largest = std::max(largest, shard.n_parameters);
        if (shard.is_refilled) phase.parameters += parameter_bytes(shard);
      }
      phase.workspace = 2 * std::min(parallel::kGradientBucketElements, largest) * 4;
    }
    return phase;
  }

 private:
  static int tensor(const Shard& shard) { return shard.place.n_tensor; }

  static int64_t parameter_bytes(const Shard& shard) {
    return shard.n_parameters * widths_of(*shard.config).value;
  }

  const Shard* shard_of(const std::string& call) const {
    const auto found = std::find_if(shards_.begin(), shards_.end(),
                                    [&](const Shard& shard) { return shard.calls.contains(call); });
    return found == shards_.end() ? nullptr : &*found;
  }

  static int64_t optimizer_bytes(const Shard& shard) {
    return shard.n_owned * widths_of(*shard.config).optimizer;
  }

  /// Parameters and optimizer state that are on the device while `call` runs, and on the host.
  PhaseMemory resident(const std::string& name, const std::string& call) const {
    PhaseMemory phase{.phase = name};
    for (const Shard& shard : shards_) {
      if (shard.is_refilled && !shard.calls.contains(call)) continue;
      const bool is_idle = shard.is_offloaded && !shard.calls_in_use.contains(call);
      const bool is_away = is_idle && !shard.is_trained;
      (is_away ? phase.offloaded : phase.parameters) += parameter_bytes(shard);
      if (shard.is_averaged) phase.parameters += shard.n_parameters * widths_of(*shard.config).sum;
      if (shard.is_trained) {
        (is_idle ? phase.offloaded : phase.optimizer) += optimizer_bytes(shard);
      }
    }
    return phase;
  }

  struct MicroBatch {
    int64_t n_tokens = 0;
    int64_t n_sequences = 1;  // of the longest, of which there are fewest
  };

  /// Its limit, but never less than the longest sequence; without a limit a minibatch of a data
  /// rank in n_micro_batches parts.
  MicroBatch micro_batch_of(const graph::Call& call, const Shard& shard) const {
    const GenerationLoad longest = longest_load_of(job_);
    const int64_t sequence = std::max<int64_t>(
        std::min(longest.max_prompt_tokens + longest.max_new_tokens, shard.local.max_positions), 1);
    const config::CallConfig& config = *job_.experiment.find_call(call.name);
    const int64_t of_rank =
        std::max<int64_t>(divide_up(call.n_seqs, call.layout.data) * longest.group_size, 1);
    const int64_t n_minibatches = call.kind == graph::CallKind::kTrainStep
                                      ? algorithm::option_facts(config).n_minibatches
                                      : 1;
    const int64_t of_minibatch = divide_up(of_rank, std::max<int64_t>(n_minibatches, 1));
    const int64_t limit = config.max_tokens_per_micro_batch;
    if (limit > 0) {
      const int64_t n_tokens = std::min(std::max(limit, sequence), of_minibatch * sequence);
      return {n_tokens, n_tokens / sequence};
    }
    const int64_t n_sequences =
        divide_up(of_minibatch, std::max<int64_t>(config.n_micro_batches, 1));
    return {n_sequences * sequence, n_sequences};
  }

  const Job& job_;
  std::vector<Shard> shards_;
};

/// Slabs of a pass are an eighth larger than it needs (model::ArenaPool).
int64_t left_by(const PhaseMemory& phase) { return phase.slabs + phase.slabs / 8; }

/// Each role keeps what its largest call has left.
void add_what_is_left(const Job& job, std::vector<PhaseMemory>& phases) {
  std::map<std::string, std::string> role_of;  // by call
  for (const graph::Call& call : job.graph.calls()) role_of[call.name] = call.role;
  std::map<std::string, int64_t> of_role;
  for (const PhaseMemory& phase : phases) {
    int64_t& most = of_role[role_of[phase.phase]];
    most = std::max(most, left_by(phase));
  }
  for (PhaseMemory& phase : phases) {
    if (phase.phase == "load") continue;
    for (const auto& [role, left] : of_role) phase.left_behind += left;
    phase.left_behind -= phase.slabs;  // counted as the call's own
  }
}

/// The replicas of the job, or of the same roles if all had one layout.
std::vector<graph::Replica> replicas_in(const Job& job,
                                        const std::optional<graph::Layout>& layout) {
  std::vector<graph::Replica> replicas = graph::replicas_of(job.graph);
  if (!layout) return replicas;
  std::map<std::string, graph::Replica> of_role;
  for (const graph::Replica& replica : replicas) {
    graph::Replica& one = of_role.try_emplace(replica.id.role, replica).first->second;
    one.layout = *layout;
    one.is_trained |= replica.is_trained;
    if (one.id != replica.id) {
      one.calls.insert(one.calls.end(), replica.calls.begin(), replica.calls.end());
    }
  }
  replicas.clear();
  for (auto& [role, replica] : of_role) replicas.push_back(std::move(replica));
  return replicas;
}

/// Parameters of the largest part whose gradients a backward pass makes together (GradientRoom).
int64_t largest_part_of(const model::ParameterTable& table) {
  std::map<int64_t, int64_t> of_part;
  int64_t largest = 0;
  for (const model::ParameterSpec& spec : table.parameters) {
    largest = std::max(largest, of_part[spec.layer] += spec.numel);
  }
  return largest;
}

/// Whether a role of bf16 is a moving average (worker/parameter_moves.h: the first replica's).
bool is_bf16_average(const Job& job, const graph::ReplicaId& id) {
  const std::vector<graph::Call>& calls = job.graph.calls();
  return id.index == 0 && job.experiment.find_model(id.role)->dtype == "bf16" &&
         std::any_of(calls.begin(), calls.end(), [&](const graph::Call& call) {
           return call.post_realloc == id.role && call.eta != 1;
         });
}

std::vector<std::vector<Shard>> shards_in(const Job& job,
                                          const std::vector<graph::Replica>& replicas) {
  std::vector<std::vector<Shard>> workers(static_cast<size_t>(job.n_workers));
  const graph::ResidencyPolicy residency = residency_of(job);
  for (const graph::Replica& replica : replicas) {
    const auto known = job.architectures.find(replica.id.role);
    if (known == job.architectures.end()) continue;  // a role without parameters
    const graph::Topology topology = graph::topology_of(replica.layout);
    for (int rank = 0; rank < topology.size(); ++rank) {
      const graph::Coordinate at = topology.coordinate(rank);
      const model::ShardPlace place = {at.pipe, replica.layout.pipe, at.tensor,
                                       replica.layout.tensor};
      const model::ParameterTable table = model::parameter_table(known->second, place);
      const int64_t numel = table.numel;
      Shard shard{.config = job.experiment.find_model(replica.id.role),
                  .local = model::shard_architecture(known->second, place),
                  .place = place,
                  .n_parameters = numel,
                  .n_owned = parallel::owned_partition(numel, at.data, replica.layout.data).count,
                  .largest_part = largest_part_of(table),
                  .is_trained = replica.is_trained,
                  .is_offloaded = (replica.is_trained ? residency.offload_optimizer
                                                      : residency.offload_when_idle)
                                      .contains(replica.id.role),
                  .is_refilled = replica.origin == graph::Origin::kRealloc,
                  .is_averaged = is_bf16_average(job, replica.id),
                  .calls = {},
                  .calls_in_use = {}};
      shard.local.vocab_size = known->second.vocab_size;  // of which the head has its part
      for (const int index : replica.calls) {
        const graph::Call& call = job.graph.call(index);
        shard.calls.insert(call.name);
        if (!shard.is_trained || call.kind == graph::CallKind::kTrainStep) {
          shard.calls_in_use.insert(call.name);
        }
      }
      workers.at(static_cast<size_t>(replica.layout.workers[base::index(rank)]))
          .push_back(std::move(shard));
    }
  }
  return workers;
}

/// Whether a role exists in several layouts, so that its parameters move every step.
bool moves_parameters(const std::vector<graph::Replica>& replicas) {
  return std::any_of(replicas.begin(), replicas.end(), [](const graph::Replica& replica) {
    return replica.origin == graph::Origin::kRealloc;
  });
}

/// The phase that needs most, with all allowances.
struct Peak {
  double bytes = 0;
  int worker = 0;
  std::string phase;
};

Peak peak_of(const std::vector<std::vector<PhaseMemory>>& workers, const GpuMemory& gpu) {
  Peak peak;
  const double lost = gpu.allowances.sum(static_cast<int>(workers.size())) * kGb;
  for (size_t w = 0; w < workers.size(); ++w) {
    for (const PhaseMemory& phase : workers[w]) {
      const double needed = static_cast<double>(phase.sum()) + lost;
      if (needed > peak.bytes) peak = {needed, static_cast<int>(w), phase.phase};
    }
  }
  return peak;
}

base::TableRow cells(const PhaseMemory& phase, double lost, double room) {
  const double left = room - lost - static_cast<double>(phase.sum() - phase.fewest_pages);
  const std::string pages =
      phase.pages == 0 ? "-"
                       : base::concat(gb(std::max(std::min(left, double(phase.pages)), 0.0)),
                                      " of ", gb(static_cast<double>(phase.pages)));
  const double with_pages =
      phase.pages == 0
          ? static_cast<double>(phase.sum()) + lost
          : static_cast<double>(phase.sum() - phase.fewest_pages) + lost +
                std::max(std::min(left, double(phase.pages)), double(phase.fewest_pages));
  return {phase.phase,
          gb(double(phase.parameters)),
          gb(double(phase.gradients)),
          gb(double(phase.optimizer)),
          gb(double(phase.activations)),
          gb(double(phase.logits)),
          gb(double(phase.workspace)),
          pages,
          gb(lost),
          gb(with_pages),
          phase.offloaded == 0 ? "-" : gb(double(phase.offloaded))};
}

std::string tables(const std::vector<std::vector<PhaseMemory>>& workers, const GpuMemory& gpu) {
  const double lost = gpu.allowances.sum(static_cast<int>(workers.size())) * kGb;
  const double room = gpu.memory_gb * kGb;
  std::string text;
  for (size_t first = 0; first < workers.size();) {
    std::vector<base::TableRow> rows;
    for (const PhaseMemory& phase : workers[first]) rows.push_back(cells(phase, lost, room));
    std::vector<int> equal;
    const auto is_equal = [&](const std::vector<PhaseMemory>& other) {
      std::vector<base::TableRow> its;
      for (const PhaseMemory& phase : other) its.push_back(cells(phase, lost, room));
      return its == rows;
    };
    for (; first < workers.size() && is_equal(workers[first]); ++first) {
      equal.push_back(static_cast<int>(first));
    }
    text += base::concat(
        "workers ", graph::workers_text(equal), "\n",
        base::table_text({"phase", "parameters", "gradients", "optimizer", "activations", "logits",
                          "workspace", "pages", "allowances", "sum", "on the host"},
                         rows));
  }
  return text;
}

}  // namespace

std::string gb(double bytes) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(1) << bytes / kGb;
  return std::move(text).str();
}

double GpuAllowances::sum(int n_workers) const {
  return context_gb + cublas_gb + (n_workers > 1 ? nccl_gb : 0) + graphs_gb;
}

int64_t PhaseMemory::sum() const {
  return parameters + gradients + optimizer + activations + logits + workspace + fewest_pages;
}

int64_t PhaseMemory::of_the_program() const { return sum() - fewest_pages + pages + left_behind; }

std::vector<std::vector<PhaseMemory>> plan_gpu_memory(const Job& job,
                                                      const std::optional<graph::Layout>& layout) {
  const std::vector<graph::Replica> replicas = replicas_in(job, layout);
  std::vector<std::vector<PhaseMemory>> workers;
  for (std::vector<Shard>& shards : shards_in(job, replicas)) {
    const bool trains = std::any_of(shards.begin(), shards.end(),
                                    [](const Shard& shard) { return shard.is_trained; });
    const Worker worker(job, std::move(shards));
    std::vector<PhaseMemory>& phases = workers.emplace_back();
    phases.push_back(worker.load());
    for (const graph::Call& configured : job.graph.calls()) {
      graph::Call call = configured;
      if (layout) call.layout = *layout;
      if (auto phase = worker.call(call)) phases.push_back(std::move(*phase));
    }
    if (moves_parameters(replicas)) phases.push_back(worker.between("reallocate"));
    if (trains) phases.push_back(worker.between("save"));
    add_what_is_left(job, phases);
  }
  return workers;
}

std::optional<graph::Layout> nearest_layout_that_fits(const Job& job, const GpuMemory& gpu) {
  std::vector<graph::Layout> candidates;
  const int n = job.n_workers;
  for (int pipe = 1; pipe <= n; ++pipe) {
    for (int tensor = 1; n % pipe == 0 && tensor <= n / pipe; ++tensor) {
      if (n / pipe % tensor != 0) continue;
      graph::Layout layout{
          .data = n / pipe / tensor, .tensor = tensor, .pipe = pipe, .workers = {}};
      for (int worker = 0; worker < n; ++worker) layout.workers.push_back(worker);
      candidates.push_back(std::move(layout));
    }
  }
  // Tensor ranks share every layer; stages of a pipeline wait for each other.
  std::stable_sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) {
    return std::pair(a.tensor * a.pipe, a.pipe) < std::pair(b.tensor * b.pipe, b.pipe);
  });
  for (const graph::Layout& layout : candidates) {
    const bool is_possible = std::all_of(
        job.architectures.begin(), job.architectures.end(),
        [&](const auto& role) { return model::check_layout(role.second, layout).empty(); });
    if (!is_possible) continue;
    if (peak_of(plan_gpu_memory(job, layout), gpu).bytes <= gpu.memory_gb * kGb) return layout;
  }
  return std::nullopt;
}

void write_gpu_memory(const Job& job, const GpuMemory& gpu, std::ostream& out) {
  const std::vector<std::vector<PhaseMemory>> workers = plan_gpu_memory(job);
  const GpuAllowances& a = gpu.allowances;
  out << "memory of each GPU in GB (10^9 bytes); allowances, estimated: context " << a.context_gb
      << ", cuBLAS " << a.cublas_gb << ", NCCL " << (workers.size() > 1 ? a.nccl_gb : 0.0)
      << ", graphs " << a.graphs_gb << "\n"
      << tables(workers, gpu)
      << "pages: what is left for them, of what the longest prompts and answers would take in "
         "every "
         "place at once\n";
  const Peak peak = peak_of(workers, gpu);
  if (peak.bytes <= gpu.memory_gb * kGb) {
    out << "a GPU has " << gpu.memory_gb << " GB: it fits, at most " << gb(peak.bytes)
        << " GB (worker " << peak.worker << ", " << peak.phase << ") before pages take the rest\n";
    return;
  }
  const std::optional<graph::Layout> nearest = nearest_layout_that_fits(job, gpu);
  throw ConfigError(
      base::concat("worker ", peak.worker, ", ", peak.phase, ": needs ", gb(peak.bytes),
                   " GB of GPU memory"),
      {.expected = base::concat("at most ", gpu.memory_gb, " GB"),
       .got = base::concat(gb(peak.bytes), " GB"),
       .advice = nearest ? base::concat("the nearest layout of ", job.n_workers,
                                        " workers that fits is ", nearest->text())
                         : "no layout of so many workers fits: take more, lower "
                           "max_tokens_per_micro_batch, or set recompute_layers = all"});
}

}  // namespace orrery::cli
