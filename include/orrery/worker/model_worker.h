// What a worker does with a request: reads rows, runs interfaces on its shards, moves samples,
// evaluates, saves. The order of things is the request loop's.
// Lives on the worker's main thread.
#pragma once

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "orrery/algorithm/interface.h"
#include "orrery/comm/registry.h"
#include "orrery/config/experiment.h"
#include "orrery/data/dataset.h"
#include "orrery/data/dataset_index.h"
#include "orrery/graph/graph.h"
#include "orrery/metrics/trace.h"
#include "orrery/worker/allocation.h"
#include "orrery/worker/data_store.h"
#include "orrery/worker/gpu_spans.h"
#include "orrery/worker/hosted_models.h"
#include "orrery/worker/lost_gpu.h"
#include "orrery/worker/parameter_moves.h"
#include "orrery/worker/request_loop.h"

namespace orrery::worker {

/// Everything that a worker needs to know about the job; the same on all ranks but for `worker`.
struct WorkerJob {
  const config::Experiment& experiment;
  const graph::Graph& graph;
  std::vector<data::DatasetIndex> indices;  // in the order of the configuration
  std::vector<int> training;  // the data order's number of a data set -> its place here
  std::string tokenizer;      // of the data sets
  std::filesystem::path run_directory;
  std::string host;
  int worker = 0;
  std::vector<int> node_of_worker = {};         // [workers]; empty: all on one
  int64_t n_steps = 0;                          // of the whole run; 0: unknown
  std::filesystem::path resume = {};            // checkpoint to go on from; empty: none
  c10::Device device = c10::kCPU;               // where its models compute
  graph::ResidencyPolicy residency = {};        // the master's
  std::set<std::string> kept_though_idle = {};  // roles with something that it could name as well
};

class ShardCheckpoint;  // src/worker/shard_checkpoint.h
class EvaluationSets;   // src/worker/evaluation_sets.h

class ModelWorker final : public Handlers {
 public:
  /// Makes models and opens data sets. Throws ConfigError, DataError or CheckpointError.
  /// `registry` and, if not null, `trace` must outlive it.
  ModelWorker(WorkerJob job, comm::CommunicatorRegistry& registry, metrics::TraceWriter* trace);
  ~ModelWorker() override;

  void begin(const comm::Request& request) override { store_.clear(request.clear); }
  /// Throws with worker, host, call and handle in front of what went wrong.
  void run_hook(const comm::Request& request, const comm::Hook& hook, comm::Reply& reply) override;
  void run_request(const comm::Request& request, comm::Reply& reply) override;

 private:
  struct HostedCall;
  struct Watching;

  std::string where(const comm::Request& request, std::string_view operation) const;
  /// What an operation of the request, whose memory is `measured`, allocates for.
  AllocationPurpose memory_for(const comm::Request& request, const std::string& operation,
                               c10::Device measured);
  std::string offload_advice(const comm::Request& request);
  metrics::TraceArguments trace_arguments(const comm::Request& request) const;
  HostedCall& hosted_call(int call);
  algorithm::CallContext call_context(const comm::Request& request, const HostedCall& call) const;
  const model::Decoder* teacher_of(const graph::Call& call);

  void load(const comm::Request& request, comm::Reply& reply);
  void run_call(const comm::Request& request, comm::Reply& reply);
  /// Those that judge the answers of a generate call while it runs.
  std::vector<Watching> watchers_of(const comm::Request& request, const HostedCall& generating);
  data::SequenceBatch generate(const comm::Request& request, HostedCall& hosted,
                               const data::SequenceBatch& input);
  void evaluate(const comm::Request& request, comm::Reply& reply);
  void export_model(const comm::Request& request);
  void save(const comm::Request& request);
  void keep_samples(const comm::KeepSamplesHook& hook);
  void load_kept(const comm::Request& request, comm::Reply& reply);
  void restore(const std::filesystem::path& checkpoint);

  WorkerJob job_;
  comm::CommunicatorRegistry& registry_;
  metrics::TraceWriter* trace_;
  GpuName gpu_name_;
  GpuSpans gpu_spans_;
  HostedModels models_;
  ParameterMoves moves_;
  std::unique_ptr<data::Tokenizer> tokenizer_;            // of the data sets
  std::vector<std::unique_ptr<data::Dataset>> datasets_;  // in the order of the configuration
  std::unique_ptr<EvaluationSets> evaluation_sets_;
  std::vector<std::unique_ptr<HostedCall>> calls_;  // by call; null: not on this worker
  DataStore store_;
  std::vector<data::SequenceBatch> kept_;  // samples that the next save writes too
  std::unique_ptr<ShardCheckpoint> checkpoint_;
};

}  // namespace orrery::worker
