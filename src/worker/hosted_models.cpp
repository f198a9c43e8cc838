#include "orrery/worker/hosted_models.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "orrery/algorithm/registry.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/graph/topology.h"
#include "orrery/model/checkpoint_model.h"
#include "orrery/model/hf_directory.h"
#include "orrery/model/load_log.h"
#include "orrery/worker/allocation.h"
#include "orrery/worker/held_memory.h"

namespace orrery::worker {

namespace {

at::ScalarType dtype_named(const std::string& name) {
  if (name == "bf16") return at::kBFloat16;
  return name == "fp64" ? at::kDouble : at::kFloat;
}

constexpr int64_t kMostUpdates = 1'000'000'000'000'000;  // more are never made

/// The groups of this worker's shard.
parallel::ReplicaGroups groups_of(const graph::Replica& replica,
                                  const comm::CommunicatorRegistry& registry) {
  const auto unless_alone = [&](graph::GroupKind kind, int degree) {
    return degree > 1 ? registry.find(replica.id, kind) : nullptr;
  };
  return {.model = &registry.at(replica.id, graph::GroupKind::kModel),
          .data = &registry.at(replica.id, graph::GroupKind::kData),
          .tensor = unless_alone(graph::GroupKind::kTensor, replica.layout.tensor),
          .pipe = unless_alone(graph::GroupKind::kPipe, replica.layout.pipe),
          .embedding = unless_alone(graph::GroupKind::kEmbedding, replica.layout.pipe)};
}

/// Collective over `data`, whose first rank reads.
void read_files(const config::ModelConfig& config, const std::string& role,
                const model::ShardPlace& place, comm::Communicator& data, model::Decoder& decoder) {
  model::LoadLog log(base::concat("model.", role), config.path,
                     [](const std::string& line) { base::log_info(line); });
  const bool speaks = place.pipe == 0 && place.tensor == 0;  // shards take about as long
  model::LoadOptions options{.data = &data};
  if (speaks) options.on_piece = [&](const model::LoadProgress& now) { log.observe(now); };
  if (model::is_checkpoint(config.path)) {
    const auto open = [&] {
      return model::open_checkpoint_parameters(config.path,
                                               model::role_in_checkpoint(config.path, role));
    };
    model::load_parameters(decoder.parameters(), open, options);
  } else {
    model::load_hf_parameters(config.path, decoder, options);
  }
}

/// `same`: a role of these files in this layout that is there already; null: none.
std::unique_ptr<model::Decoder> make_decoder(const config::ExperimentSection& experiment,
                                             const config::ModelConfig& config,
                                             const graph::Replica& replica,
                                             const model::Shard& shard, comm::Communicator& data,
                                             const model::Decoder* same, c10::Device device) {
  const std::string& role = replica.id.role;
  const auto seed = static_cast<uint64_t>(experiment.seed);
  try {
    auto decoder = std::make_unique<model::Decoder>(model::Architecture::from_config(config),
                                                    dtype_named(config.dtype), device, shard);
    decoder->set_amx(amx_of(experiment));
    decoder->set_recomputed_layers(config.recomputed_layers(decoder->n_layers()));
    if (replica.origin == graph::Origin::kRealloc) {
      decoder->parameters().release();
    } else if (config.path.empty()) {
      decoder->parameters().initialise(seed);
    } else if (same != nullptr) {
      decoder->parameters().stored().copy_(same->parameters().stored_where_it_is());
      decoder->parameters().widen();
    } else {
      model::FlatParameters& parameters = decoder->parameters();
      // The files of a language model have no value head: it begins at random then.
      if (const auto* score = parameters.table().find("score.weight")) {
        parameters.initialise(*score, seed);
      }
      read_files(config, role, shard.place, data, *decoder);
    }
    return decoder;
  } catch (const Error& error) {
    rethrow_from(base::concat("model.", role), error);
  }
}

int64_t bytes_of(at::ScalarType type) { return static_cast<int64_t>(c10::elementSize(type)); }

AllocationPurpose parameters_of(const config::ModelConfig& config, const graph::Replica& replica,
                                const model::ShardPlace& place, std::string held) {
  const int64_t n = model::parameter_table(model::Architecture::from_config(config), place).numel;
  return {.what = base::concat("the parameters of role ", replica.id.role, " (", n, " numbers of ",
                               config.dtype, ", ",
                               base::bytes_text(n * bytes_of(dtype_named(config.dtype))), ")"),
          .advice = base::concat("give the calls of ", replica.id.role,
                                 " a layout with more tensor or pipeline ranks"),
          .held = std::move(held)};
}

AllocationPurpose training_of(const graph::Replica& replica, const model::Decoder& decoder,
                              std::string held) {
  const int64_t n = decoder.parameters().numel();
  return {.what = base::concat("gradients and optimizer state of role ", replica.id.role, " (", n,
                               " parameters)"),
          .advice = base::concat("train ", replica.id.role,
                                 " in a layout with more tensor or pipeline ranks, or more data "
                                 "ranks, which share the optimizer's state"),
          .held = std::move(held)};
}

}  // namespace

kernels::Amx amx_of(const config::ExperimentSection& experiment) {
  return experiment.amx == "off" ? kernels::Amx::kOff : kernels::Amx::kAuto;
}

int64_t optimizer_steps(const config::Experiment& experiment, const graph::Graph& graph,
                        const std::string& role, int64_t n_steps) {
  for (int i = 0; i < graph.size(); ++i) {
    const graph::Call& call = graph.call(i);
    if (call.role != role || call.kind != graph::CallKind::kTrainStep) continue;
    const config::CallConfig& call_config = *experiment.find_call(call.name);
    int64_t updates = n_steps;
    for (const int64_t factor : {graph.calls_per_step(i),
                                 algorithm::option_facts(call_config).optimizer_steps_per_call()}) {
      if (factor > 0 && updates > kMostUpdates / factor) return kMostUpdates;
      updates *= factor;
    }
    return updates;
  }
  return 0;
}

parallel::OptimizerOptions optimizer_options(const config::ModelConfig& model, int64_t n_updates) {
  const int64_t steps = std::max<int64_t>(n_updates, 1);
  int64_t warmup = model.warmup_steps;
  if (warmup == 0) {
    warmup = static_cast<int64_t>(std::floor(model.warmup_proportion * static_cast<double>(steps)));
  }
  return {.adamw = {.beta1 = model.beta1,
                    .beta2 = model.beta2,
                    .eps = model.adam_eps,
                    .weight_decay = model.weight_decay,
                    .bf16_moments = model.moments_dtype == "bf16"},
          .bf16_gradients = model.gradient_dtype == "bf16",
          .schedule = {.init_lr = 0,
                       .max_lr = model.lr,
                       .min_lr = model.lr * model.min_lr_ratio,
                       .warmup_steps = warmup,
                       .decay_steps = std::max(steps, warmup + 1),
                       .style = parallel::decay_style_named(model.lr_schedule)},
          .max_grad_norm = model.max_grad_norm,
          .balance_coefficient = model.balance_coefficient,
          .on_nonfinite = parallel::on_nonfinite_named(model.on_nonfinite),
          .max_skipped_updates = model.max_skipped_updates};
}

algorithm::ModelContext HostedModel::context() const {
  algorithm::ModelContext context;
  context.decoder = decoder.get();
  context.engine = engine.get();
  context.tokenizer = tokenizer.get();
  context.data_tokenizer = data_tokenizer;
  context.data_group = groups.data;
  context.is_dp_head = is_dp_head;
  return context;
}

HostedModels::HostedModels(const config::Experiment& experiment, const graph::Graph& graph,
                           int worker, int64_t n_steps, comm::CommunicatorRegistry& registry,
                           c10::Device device, const graph::ResidencyPolicy& residency) {
  for (const auto& [role, config] : experiment.models) dtypes_[role] = dtype_named(config.dtype);
  for (const graph::Replica& replica : graph::replicas_of(graph)) {
    const std::vector<int>& workers = replica.layout.workers;
    const auto place = std::find(workers.begin(), workers.end(), worker);
    if (place == workers.end()) continue;
    const graph::Topology topology = graph::topology_of(replica.layout);
    const auto rank = static_cast<int>(place - workers.begin());
    const config::ModelConfig& config = *experiment.find_model(replica.id.role);

    HostedModel& hosted = models_[replica.id];
    hosted.replica = replica;
    hosted.at = topology.coordinate(rank);
    hosted.is_dp_head = topology.is_dp_head(rank);
    hosted.tokenizer = data::make_tokenizer(config.tokenizer);
    hosted.groups = groups_of(replica, registry);
    const auto held = [&] { return device.is_cpu() ? std::string() : held_text(*this); };
    if (replica.origin != graph::Origin::kNone) {
      const model::Shard shard{.place = {.pipe = hosted.at.pipe,
                                         .n_pipe = replica.layout.pipe,
                                         .tensor = hosted.at.tensor,
                                         .n_tensor = replica.layout.tensor},
                               .tensor = hosted.groups.tensor,
                               .pipe = hosted.groups.pipe};
      hosted.decoder = with_purpose(
          [&] { return parameters_of(config, replica, shard.place, held()); },
          [&] {
            return make_decoder(experiment.experiment, config, replica, shard, *hosted.groups.data,
                                hosted_of_same_files(experiment, replica), device);
          });
    }
    if (residency.offload_when_idle.contains(replica.id.role) &&
        !graph::is_updated(graph, replica.id.role)) {
      hosted.decoder->parameters().offload();
    }
    if (replica.is_trained) {
      hosted.engine = with_purpose(
          [&] { return training_of(replica, *hosted.decoder, held()); },
          [&] {
            const int64_t steps = optimizer_steps(experiment, graph, replica.id.role, n_steps);
            return std::make_unique<parallel::TrainEngine>(
                *hosted.decoder, optimizer_options(config, steps), hosted.groups);
          });
      if (residency.offload_optimizer.contains(replica.id.role)) {
        hosted.engine->optimizer().offload();
      }
    }
  }
}

/// A role whose shard here was read from the same files, for the same place of the same layout.
const model::Decoder* HostedModels::hosted_of_same_files(const config::Experiment& experiment,
                                                         const graph::Replica& replica) const {
  const config::ModelConfig& config = *experiment.find_model(replica.id.role);
  // What a checkpoint has depends on the role.
  if (config.path.empty() || model::is_checkpoint(config.path)) return nullptr;
  for (const auto& [id, other] : models_) {
    const config::ModelConfig& of_other = *experiment.find_model(id.role);
    const bool is_same = other.decoder != nullptr &&
                         other.replica.origin != graph::Origin::kRealloc &&
                         of_other.path == config.path && of_other.dtype == config.dtype &&
                         other.replica.layout == replica.layout &&
                         other.decoder->architecture() == model::Architecture::from_config(config);
    if (is_same) return other.decoder.get();
  }
  return nullptr;
}

HostedModel* HostedModels::find(const graph::ReplicaId& id) {
  const auto found = models_.find(id);
  return found == models_.end() ? nullptr : &found->second;
}

HostedModel& HostedModels::at(const graph::ReplicaId& id) {
  HostedModel* const found = find(id);
  if (found == nullptr) {
    throw CallError(base::concat("this worker hosts no shard of ", id.text()),
                    {.expected = "a worker of the replica's layout",
                     .got = base::counted(models_.size(), "other replica"),
                     .advice = "this is a fault of the master's plan: report it"});
  }
  return *found;
}

}  // namespace orrery::worker
