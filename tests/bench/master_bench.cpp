// What the master does in its one thread, at the sizes of large jobs: planning, splitting, buffer,
// and a whole PPO step of the dispatcher with replies injected at once. Arguments: workers,
// samples. Compare with the Python reference's seconds in docs (its gather-scatter plan of 4 keys
// at 256 x 4,096: 0.47 s; dispatch by tokens: 0.49 s).
#include <benchmark/benchmark.h>
#include <unistd.h>  // sysconf

#include <algorithm>
#include <fstream>
#include <numeric>

#include "orrery/comm/serialise.h"  // frame_request
#include "orrery/master/dispatch.h"
#include "orrery/master/dispatcher.h"

namespace orrery::master {
namespace {

size_t at(int index) { return static_cast<size_t>(index); }

/// Tokens of sample i: between 200 and 2,200, the same in every run.
int32_t tokens_of(uint64_t sample) {
  return 200 + static_cast<int32_t>((sample * 0x9e3779b97f4a7c15ULL >> 33) % 2000);
}

std::vector<int> first_n(int n) {
  std::vector<int> numbers(at(n));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

/// Samples generated on d<workers>, now wanted by d<workers / 8>t8, under four keys.
struct PlanningScene {
  PlanningScene(int n_workers, int n_samples)
      : tracker(n_workers, n_samples), keys(first_n(4)), nodes(at(n_workers)) {
    for (int worker = 0; worker < n_workers; ++worker) nodes[at(worker)] = worker / 8;
    order.resize(at(n_samples));
    std::iota(order.begin(), order.end(), 1);
    for (const int key : keys) {
      for (int worker = 0; worker < n_workers; ++worker) {
        std::vector<int> own;
        for (int slot = worker; slot < n_samples; slot += n_workers) own.push_back(slot);
        tracker.add(worker, own, key, Ownership::kOwner);
      }
      std::vector<int64_t>& of_key = bytes.emplace_back();
      for (int slot = 0; slot < n_samples; ++slot) {
        of_key.push_back(8 * tokens_of(static_cast<uint64_t>(slot)));
      }
    }
    const int n_groups = std::max(1, n_workers / 8);
    for (int group = 0; group < n_groups; ++group) {
      Need& need = needs.emplace_back();
      for (int i = 0; i < n_workers / n_groups; ++i) {
        need.workers.push_back(group * (n_workers / n_groups) + i);
      }
    }
    // Not by group number: the split by tokens spreads samples without regard to where they are.
    for (int slot = 0; slot < n_samples; ++slot) {
      needs[static_cast<size_t>(tokens_of(static_cast<uint64_t>(slot)) * 7 % n_groups)]
          .slots.push_back(slot);
    }
  }

  RedistributionProblem problem() const {
    return {.keys = keys, .needs = needs, .order_of_slot = order, .node_of_worker = nodes};
  }

  StorageTracker tracker;
  std::vector<int> keys;
  std::vector<int> nodes;
  std::vector<uint64_t> order;
  SlotBytes bytes;
  std::vector<Need> needs;
};

void PlanGatherScatter(benchmark::State& state) {
  const PlanningScene scene(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(plan_gather_scatter(scene.tracker, scene.problem()));
  }
}

void PlanBroadcast(benchmark::State& state) {
  const PlanningScene scene(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(plan_broadcast(scene.tracker, scene.problem()));
  }
}

void PlanDirect(benchmark::State& state) {
  const PlanningScene scene(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(plan_direct(scene.tracker, scene.problem(), scene.bytes));
  }
}

data::KeyMetadata metadata(const std::string& key, int32_t shorter,
                           const std::vector<data::SampleId>& ids) {
  data::KeyMetadata made{.key = key, .trailing_shape = {}, .lengths = {}};
  made.lengths.reserve(ids.size(), ids.size());
  for (const data::SampleId id : ids) {
    made.lengths.add_sample(shorter == 0 ? 1 : tokens_of(id.value) - shorter + 1);
  }
  return made;
}

/// Split by tokens of a batch with four keys over as many data ranks as workers.
void DispatchByTokens(benchmark::State& state) {
  const int n_workers = static_cast<int>(state.range(0));
  const int n_samples = static_cast<int>(state.range(1));
  CallFacts call;
  call.group_workers.resize(at(n_workers));
  call.input_keys = first_n(4);
  RowMetadata rows(n_samples);
  std::vector<data::SampleId> ids;
  for (int i = 0; i < n_samples; ++i) ids.push_back({static_cast<uint64_t>(i)});
  const std::vector<int> all = first_n(n_samples);
  for (const int key : call.input_keys) rows.record(all, key, metadata("key", key, ids));
  for (auto _ : state) benchmark::DoNotOptimize(split_batch(call, all, rows));
}

/// A step's worth of events: put, six calls that read, four that add keys.
void BufferStep(benchmark::State& state) {
  const int n_samples = static_cast<int>(state.range(1));
  const std::vector<SequenceBuffer::Reader> readers = {{{0}, n_samples},
                                                       {{1}, n_samples},
                                                       {{1}, n_samples},
                                                       {{1, 4}, n_samples},
                                                       {{1, 2, 3, 4, 5, 6, 7}, n_samples},
                                                       {{1, 2, 3, 4, 5, 6, 7}, n_samples}};
  const std::vector<std::vector<int>> writes = {{1, 2, 3, 4}, {5}, {6}, {7}, {}, {}};
  SequenceBuffer buffer(n_samples, 8, readers);
  uint64_t next = 0;
  for (auto _ : state) {
    std::vector<data::SampleId> ids;
    std::vector<int64_t> births;
    for (int i = 0; i < n_samples; ++i) {
      births.push_back(static_cast<int64_t>(next));
      ids.push_back({next++});
    }
    buffer.put(ids, std::vector<int>{0}, births);
    for (size_t call = 0; call < writes.size(); ++call) {
      const SequenceBuffer::Taken taken = buffer.take(static_cast<int>(call));
      if (!writes[call].empty()) buffer.amend(taken.rows, writes[call]);
    }
  }
}

graph::Layout layout(int data, int tensor, int pipe) {
  return {data, tensor, pipe, first_n(data * tensor * pipe)};
}

graph::Call call(const std::string& name, graph::CallKind kind, const std::string& role,
                 const std::vector<std::string>& inputs, const std::vector<std::string>& outputs) {
  graph::Call made;
  made.name = name;
  made.kind = kind;
  made.role = role;
  for (const std::string& key : inputs) made.inputs.push_back({key, key});
  for (const std::string& key : outputs) made.outputs.push_back({key, key});
  return made;
}

graph::Graph ppo_graph(int n_workers, int n_samples) {
  using graph::CallKind;
  const std::vector<std::string> all = {
      "packed_input_ids", "packed_logprobs", "packed_ref_logprobs", "rewards",
      "values",           "prompt_mask",     "seq_no_eos_mask"};
  std::vector<graph::Call> calls = {
      call("actor_gen", CallKind::kGenerate, "actor", {"packed_prompts"},
           {"seq_no_eos_mask", "packed_input_ids", "packed_logprobs", "prompt_mask"}),
      call("rew_inf", CallKind::kInference, "reward", {"packed_input_ids"}, {"rewards"}),
      call("ref_inf", CallKind::kInference, "ref", {"packed_input_ids"}, {"packed_ref_logprobs"}),
      call("critic_inf", CallKind::kInference, "critic", {"packed_input_ids", "seq_no_eos_mask"},
           {"values"}),
      call("actor_train", CallKind::kTrainStep, "actor", all, {}),
      call("critic_train", CallKind::kTrainStep, "critic", all, {})};
  for (graph::Call& made : calls) made.n_seqs = n_samples;
  calls[0].layout = layout(n_workers / 2, 2, 1);
  calls[1].layout = layout(n_workers / 4, 4, 1);
  calls[2].layout = layout(n_workers / 8, 4, 2);
  calls[3].layout = layout(n_workers / 4, 2, 2);
  calls[4].layout = layout(n_workers / 8, 4, 2);
  calls[5].layout = layout(n_workers / 8, 8, 1);
  graph::number_replicas(calls);
  return graph::Graph(calls);
}

/// What the workers would answer: outputs for everybody, of which only the heads' count.
std::vector<comm::Reply> answers(const graph::Graph& graph, const std::vector<Outgoing>& sent) {
  std::vector<comm::Reply> replies;
  for (const Outgoing& out : sent) {
    if (out.worker == kEveryWorker) continue;
    comm::Reply& reply = replies.emplace_back();
    reply.worker = out.worker;
    reply.request = out.request.id;
    reply.call = out.request.call;
    reply.times = {{"pre/data_transfer", 0.1}, {"main", 1.0}};
    if (out.request.kind == comm::RequestKind::kLoad) {
      for (const data::RowRef& row : out.request.rows) reply.output.ids.push_back(row.id);
      reply.output.keys.push_back(metadata("packed_prompts", 1, reply.output.ids));
    } else if (out.request.kind == comm::RequestKind::kTrainStep) {
      reply.statistics.resize(4);
      for (metrics::Statistics& statistics : reply.statistics) statistics.mean("loss", 1, 1);
    } else if (out.request.kind != comm::RequestKind::kEmpty) {
      reply.output.ids = out.request.batch.ids;
      for (const config::KeyBinding& key : graph.call(out.request.call).outputs) {
        const bool is_score = key.graph_key == "rewards" || key.graph_key == "seq_no_eos_mask";
        reply.output.keys.push_back(metadata(key.graph_key, is_score ? 0 : 1, reply.output.ids));
      }
    }
  }
  return replies;
}

/// What the messages of the steps weigh, as the control channel would send them: what requests
/// share goes to each worker, but is serialised once.
struct Sent {
  std::vector<uint64_t> by_worker;

  explicit Sent(int n_workers) : by_worker(at(n_workers)) {}

  void add(const std::vector<Outgoing>& outgoing) {
    for (const Outgoing& out : outgoing) {
      const uint64_t bytes = comm::frame_request(out.request, 0).size();
      if (out.worker == kEveryWorker) {
        for (uint64_t& worker : by_worker) worker += bytes;
      } else {
        by_worker[at(out.worker)] += bytes;
      }
    }
  }
};

/// Of this process, in bytes.
double resident_bytes() {
  std::ifstream status("/proc/self/statm");
  double total = 0, resident = 0;
  status >> total >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

/// Master's time of whole PPO steps: all turns of the dispatcher, replies made outside the clock.
void PpoStep(benchmark::State& state, Pattern pattern) {
  const int n_workers = static_cast<int>(state.range(0));
  const int n_samples = static_cast<int>(state.range(1));
  const graph::Graph graph = ppo_graph(n_workers, n_samples);
  DispatcherOptions options;
  options.n_workers = n_workers;
  options.redistribution = pattern;
  for (int worker = 0; worker < n_workers; ++worker) {
    options.node_of_worker.push_back(worker / 8);
  }
  options.costs.assign(6, {.shape = {32, 4096, 11008, 32000}, .n_new_tokens = 512});
  Dispatcher dispatcher(graph,
                        data::DataOrder({{.name = "rows", .n_rows = 10 * n_samples}},
                                        {.samples_per_step = n_samples}),
                        options);
  std::vector<comm::Reply> replies;
  Sent bytes(n_workers);
  double now = 0;
  for (auto _ : state) {
    const int64_t steps = dispatcher.steps_done();
    std::vector<Outgoing> sent;
    while (dispatcher.steps_done() == steps) {
      sent = dispatcher.advance(std::move(replies), now += 1);
      state.PauseTiming();
      replies = answers(graph, sent);
      bytes.add(sent);
      sent.clear();
      state.ResumeTiming();
    }
    dispatcher.take_reports();
  }
  const auto per_step = [&](double number) { return number / double(state.iterations()); };
  const double all =
      double(std::accumulate(bytes.by_worker.begin(), bytes.by_worker.end(), uint64_t{0}));
  state.counters["B/worker"] = per_step(all / n_workers);
  state.counters["B/worker_max"] =
      per_step(double(*std::max_element(bytes.by_worker.begin(), bytes.by_worker.end())));
  state.counters["RSS_MB"] = resident_bytes() / 1e6;
}

void Sizes(benchmark::internal::Benchmark* bench) {
  bench->Unit(benchmark::kMillisecond);
  for (const int workers : {8, 64, 256, 1024}) {
    for (const int samples : {512, 4096, 16384}) {
      if (samples >= workers) bench->Args({workers, samples});
    }
  }
}

void StepSizes(benchmark::internal::Benchmark* bench) {
  bench->Unit(benchmark::kMillisecond);
  for (const int workers : {64, 256, 1024}) bench->Args({workers, 4096});
}

BENCHMARK(PlanGatherScatter)->Apply(Sizes);
BENCHMARK(PlanBroadcast)->Unit(benchmark::kMillisecond)->Args({64, 4096})->Args({256, 4096});
BENCHMARK(PlanDirect)->Apply(Sizes);
BENCHMARK(DispatchByTokens)->Apply(Sizes);
BENCHMARK(BufferStep)->Apply(Sizes);
BENCHMARK_CAPTURE(PpoStep, direct, Pattern::kDirect)->Apply(StepSizes);
BENCHMARK_CAPTURE(PpoStep, gather_scatter, Pattern::kGatherScatter)->Apply(StepSizes);

}  // namespace
}  // namespace orrery::master
