// The model shards that one worker hosts: for each replica whose layout includes it, the decoder,
// its train engine if a train_step runs on it, its tokenizer and the groups it communicates in.
// Built once, before the first request; lives on the worker's main thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "orrery/algorithm/interface.h"  // ModelContext
#include "orrery/comm/registry.h"        // CommunicatorRegistry
#include "orrery/config/experiment.h"
#include "orrery/data/tokenizer.h"
#include "orrery/graph/graph.h"
#include "orrery/graph/replica.h"
#include "orrery/graph/topology.h"           // Coordinate
#include "orrery/kernels/instruction_set.h"  // Amx
#include "orrery/model/decoder.h"
#include "orrery/parallel/train_engine.h"

namespace orrery::worker {

/// One shard. Roles without parameters (rule rewards) have a tokenizer and groups only.
struct HostedModel {
  graph::Replica replica;
  graph::Coordinate at;
  std::unique_ptr<data::Tokenizer> tokenizer;
  const data::Tokenizer* data_tokenizer = nullptr;  // of the data sets; the worker's
  std::unique_ptr<model::Decoder> decoder;
  std::unique_ptr<parallel::TrainEngine> engine;
  parallel::ReplicaGroups groups;  // owned by the registry
  /// [parameters] fp32, of bf16 parameters that are mixed with others: what the mixing adds up in.
  /// Undefined until the first time.
  at::Tensor shadow;
  bool is_dp_head = false;

  algorithm::ModelContext context() const;
};

/// What `experiment.amx` says.
kernels::Amx amx_of(const config::ExperimentSection& experiment);

/// How often the role's optimizer moves in `n_steps` steps of the graph.
int64_t optimizer_steps(const config::Experiment& experiment, const graph::Graph& graph,
                        const std::string& role, int64_t n_steps);

/// Of a role's section, for so many updates in all; 0: a number that is not known, so that the rate
/// has no end to fall to.
parallel::OptimizerOptions optimizer_options(const config::ModelConfig& model, int64_t n_updates);

class HostedModels {
 public:
  /// Makes the shards of `worker`: reads them from `model.X.path`, or fills them at random by the
  /// experiment's seed, the same on every data rank; replicas that are filled from another one stay
  /// without memory. Files are read once a shard: by its first data rank, for all roles that are
  /// cut in the same way. Collective over all workers.
  /// Throws ConfigError or CheckpointError naming role and file, PeerError where the rank that
  /// reads for this one could not.
  ///   n_steps    of the whole run: learning-rate schedules end with it; 0: unknown
  ///   device     where parameters are and calls compute
  ///   residency  what it names is offloaded as soon as it is made
  HostedModels(const config::Experiment& experiment, const graph::Graph& graph, int worker,
               int64_t n_steps, comm::CommunicatorRegistry& registry,
               c10::Device device = c10::kCPU, const graph::ResidencyPolicy& residency = {});

  /// Throws CallError when this worker hosts no shard of the replica.
  HostedModel& at(const graph::ReplicaId& id);
  /// Null when this worker hosts no shard of the replica.
  HostedModel* find(const graph::ReplicaId& id);
  /// Those of this worker.
  std::map<graph::ReplicaId, HostedModel>& all() { return models_; }

  /// Of the role's parameters, hosted here or not.
  at::ScalarType dtype_of(const std::string& role) const { return dtypes_.at(role); }

 private:
  const model::Decoder* hosted_of_same_files(const config::Experiment& experiment,
                                             const graph::Replica& replica) const;

  std::map<std::string, at::ScalarType> dtypes_;  // by role
  std::map<graph::ReplicaId, HostedModel> models_;
};

}  // namespace orrery::worker
