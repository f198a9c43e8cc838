// How a call is dispatched, against golden vectors (dispatch.json, flops.json): the split of its
// samples over data ranks, what it costs, and one pass of a six-call PPO graph through buffer,
// plan, requests and tracker.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "flops_text.h"
#include "golden_file.h"
#include "orrery/graph/topology.h"
#include "orrery/master/call_plan.h"
#include "orrery/master/sequence_buffer.h"

namespace orrery::master {
namespace {

using golden::Case;
using nlohmann::json;

size_t at(int index) { return static_cast<size_t>(index); }

graph::CallKind kind_of(const std::string& name) {
  const auto kind = graph::call_kind_named(name);
  if (!kind) golden::throw_problem("no kind of call " + name);
  return *kind;
}

/// Names in order; the phases of one redistribution are several hooks here, but one there.
json names_of(const std::vector<comm::Hook>& hooks) {
  json names = json::array();
  for (const comm::Hook& hook : hooks) {
    const std::string name(comm::name_of(hook));
    if (name == "data_transfer" && !names.empty() && names.back() == name) continue;
    names.push_back(name);
  }
  return names;
}

/// Here an evaluation and an export are requests of their own, after the step.
json without_requests(const json& names) {
  json rest = json::array();
  for (const json& name : names) {
    if (name != "evaluate" && name != "save") rest.push_back(name);
  }
  return rest;
}

/// A shard's name there; numbers are as wide as that of all shards.
std::string shard_name(const graph::Call& call, const graph::Coordinate& at, int size) {
  const size_t width = std::to_string(size).size();
  const auto padded = [&](int number) {
    const std::string digits = std::to_string(number);
    return std::string(width - std::min(width, digits.size()), '0') + digits;
  };
  return "ModelName(role='" + call.role + "', replica_id=" + std::to_string(call.replica) + ")@pp" +
         padded(at.pipe) + "@tp" + padded(at.tensor) + "@dp" + padded(at.data);
}

using ModelId = std::pair<std::string, int>;

/// The graph of a case, with its layouts.
graph::Graph graph_of(const Case& c) {
  std::map<ModelId, graph::Layout> layouts;
  for (const json& model : c["models"]) {
    graph::Layout layout{model.at("dp"), model.at("tp"), model.at("pp"), {}};
    layout.workers.resize(at(layout.size()));
    std::iota(layout.workers.begin(), layout.workers.end(), model.at("first_worker").get<int>());
    layouts[{model.at("role"), model.at("replica_id")}] = layout;
  }
  std::vector<graph::Call> calls;
  for (const json& entry : c["trace"]) {
    const json& source = c["calls"].at(entry.at("call").get<std::string>());
    if (std::any_of(calls.begin(), calls.end(),
                    [&](const graph::Call& call) { return call.name == entry.at("call"); })) {
      continue;
    }
    graph::Call call;
    call.name = entry.at("call");
    call.kind = kind_of(source.at("interface_type"));
    call.role = source.at("role");
    call.replica = source.at("replica_id");
    call.n_seqs = c["n_seqs"];
    call.layout = layouts.at({call.role, call.replica});
    for (const json& key : source.at("input_keys")) call.inputs.push_back({key, key});
    for (const json& key : source.at("output_keys")) call.outputs.push_back({key, key});
    calls.push_back(call);
  }
  return graph::Graph(calls);
}

class Pass {
 public:
  explicit Pass(const Case& c)
      : case_(c),
        n_workers_(c["n_workers"].get<int>()),
        n_samples_(static_cast<int>(c["ids"].size())),
        graph_(graph_of(c)),
        buffer_(0, 0, {}),
        metadata_(n_samples_),
        tracker_(n_workers_, n_samples_),
        id_of_row_(at(n_samples_)),
        node_(at(n_workers_)) {
    std::vector<SequenceBuffer::Reader> readers;
    for (int call = 0; call < graph_.size(); ++call) {
      facts_.push_back(facts_of(graph_, call, keys_));
      readers.push_back({facts_.back().input_keys, facts_.back().n_seqs});
    }
    buffer_ = SequenceBuffer(n_samples_, keys_.size(), readers);
    const json& size = c["model_config"];
    cost_.shape = {size.at("n_layers"), size.at("hidden_dim"), size.at("intermediate_dim"),
                   size.at("vocab_size")};
    cost_.n_new_tokens = c["min_new_tokens"];
    cost_.n_recomputed = cost_.shape.n_layers;  // as the reference does
    names_ = c["ids"].get<std::vector<std::string>>();
    sorted_names_ = names_;
    std::sort(sorted_names_.begin(), sorted_names_.end());
    load();
  }

  void run(const json& entry) {
    const json& expect = entry.at("expect");
    const CallFacts& call = facts_[at(graph_.find(entry.at("call").get<std::string>()))];
    EXPECT_EQ(ready(), as_set(entry.at("ready_before")));
    const std::vector<int> rows = buffer_.take(call.index).rows;
    EXPECT_EQ(json(rows), entry.at("buf_indices"));
    EXPECT_EQ(names(rows), entry.at("ids"));
    const data::BatchMetadata batch = describe(rows, call.input_keys, samples());
    EXPECT_EQ(lengths(batch), entry.at("seqlens"));

    CallPlan plan = plan_call(call, rows, Pattern::kGatherScatter, cost_, samples());
    flops_ += plan.flops;
    const std::vector<std::vector<int>> rows_of_rank = plan.rows;
    plan.payload.hooks = parameter_hooks(call);
    const CallRequests requests = build_requests(std::move(plan.payload), n_workers_);

    check_split(call, rows_of_rank, expect);
    EXPECT_EQ(json(call.head_ranks), expect.at("dp_head_indices"));
    check_plan(plan.redistribution.reference, expect.at("plan"));
    check_requests(call, rows_of_rank, requests, expect);
    EXPECT_EQ(flops_text(flops_), expect.at("flops_so_far").get<std::string>());
    reply(call, rows_of_rank);
    EXPECT_EQ(ready(), as_set(expect.at("ready_after")));
    EXPECT_EQ(buffer_.size(), expect.at("buffer_size").get<int>());
    if (expect.contains("tracker")) check_tracker(expect.at("tracker"));
  }

 private:
  SampleState samples() { return {&metadata_, &tracker_, id_of_row_, node_, &keys_}; }

  static std::set<std::string> as_set(const json& list) {
    return list.get<std::set<std::string>>();
  }

  std::set<std::string> ready() const {
    std::set<std::string> result;
    for (const CallFacts& call : facts_) {
      if (buffer_.is_ready(call.index)) result.insert(call.name);
    }
    return result;
  }

  int row_of(const std::string& name) const {
    return static_cast<int>(std::find(names_.begin(), names_.end(), name) - names_.begin());
  }

  /// Text of a sample: rows are filled in the order of the case's ids.
  json names(const std::vector<int>& rows) const {
    json result = json::array();
    for (const int row : rows) result.push_back(names_[at(row)]);
    return result;
  }

  static json lengths(const data::BatchMetadata& batch) {
    json result = json::array();
    for (const data::KeyMetadata& key : batch.keys) {
      json samples = json::array();
      for (size_t i = 0; i < key.lengths.size(); ++i) {
        const auto of = key.lengths.of(i);
        samples.push_back(std::vector<int>(of.begin(), of.end()));
      }
      result.push_back({key.key, samples});
    }
    return result;
  }

  void load() {
    std::vector<data::SampleId> ids;
    std::vector<int64_t> births;
    data::KeyMetadata prompts{.key = "packed_prompts", .trailing_shape = {}, .lengths = {}};
    for (const std::string& name : names_) {
      // Samples are ordered as their names are.
      const auto place = std::lower_bound(sorted_names_.begin(), sorted_names_.end(), name);
      ids.push_back({static_cast<uint64_t>(place - sorted_names_.begin())});
      births.push_back(static_cast<int64_t>(births.size()));
      prompts.lengths.add_sample(case_["prompt_lens"].at(births.size() - 1).get<int32_t>());
    }
    const std::vector<int> keys = {keys_.find("packed_prompts")};
    const std::vector<int> rows = buffer_.put(ids, keys, births);
    for (const int row : rows) id_of_row_[at(row)] = ids[at(row)].value;
    metadata_.record(rows, keys[0], prompts);
    for (const json& part : case_["loaded"]) {
      std::vector<int> own;
      for (const json& name : part.at(1)) own.push_back(row_of(name));
      tracker_.add(part.at(0), own, keys[0], Ownership::kOwner);
    }
  }

  /// What the heads answer: lengths follow from the key.
  void reply(const CallFacts& call, const std::vector<std::vector<int>>& rows_of_rank) {
    for (int data = 0; data < call.data_size(); ++data) {
      const std::vector<int>& rows = rows_of_rank[at(data)];
      for (const int key : call.output_keys) {
        data::KeyMetadata made{.key = keys_.name(key), .trailing_shape = {}, .lengths = {}};
        for (const int row : rows) {
          auto lens = case_["seq_lens"].at(at(row)).get<std::vector<int32_t>>();
          for (int32_t& length : lens) length = length_of(made.key, length);
          made.lengths.add_sample(lens);
        }
        metadata_.record(rows, key, made);
        tracker_.add(call.head_worker(data), rows, key, Ownership::kOwner);
      }
      if (!call.output_keys.empty()) buffer_.amend(rows, call.output_keys);
    }
  }

  static int32_t length_of(const std::string& key, int32_t tokens) {
    if (key == "rewards" || key == "seq_no_eos_mask") return 1;
    return key.ends_with("logprobs") ? tokens - 1 : tokens;
  }

  const graph::Layout& layout_of(const ModelId& id) const {
    for (const graph::Call& call : graph_.calls()) {
      if (call.role == id.first && call.replica == id.second) return call.layout;
    }
    throw std::runtime_error("no call runs on " + id.first);
  }

  PlacedHook placed(const json& hook, const CallFacts& call) const {
    const graph::Call& own = graph_.call(call.index);
    if (hook.at("type") == "offload") return {comm::ResidencyHook{}, own.layout.workers};
    const json& other = hook.at("source").is_null() ? hook.at("target") : hook.at("source");
    const graph::Layout& from = layout_of({other[0], other[1]});
    PlacedHook result{comm::ReallocHook{}, from.workers};
    for (const int worker : own.layout.workers) {
      if (std::find(from.workers.begin(), from.workers.end(), worker) == from.workers.end()) {
        result.workers.push_back(worker);
      }
    }
    return result;
  }

  ParameterHooks parameter_hooks(const CallFacts& call) const {
    ParameterHooks hooks;
    const json& source = case_["calls"].at(call.name);
    for (const json& hook : source.at("pre_hooks")) hooks.pre.push_back(placed(hook, call));
    for (const json& hook : source.at("post_hooks")) hooks.post.push_back(placed(hook, call));
    return hooks;
  }

  void check_split(const CallFacts& call, const std::vector<std::vector<int>>& rows_of_rank,
                   const json& expect) const {
    json parts = json::array();
    json dests = json::array();
    for (size_t data = 0; data < rows_of_rank.size(); ++data) {
      parts.push_back(names(rows_of_rank[data]));
      for (const int worker : call.group_workers[data]) {
        dests.push_back({worker, names(rows_of_rank[data])});
      }
    }
    std::set<int> busy(call.workers.begin(), call.workers.end());
    for (int worker = 0; worker < n_workers_; ++worker) {
      if (!busy.contains(worker)) dests.push_back({worker, json::array()});
    }
    EXPECT_EQ(parts, expect.at("partitioned_ids"));
    EXPECT_EQ(dests, expect.at("dests"));
  }

  void check_plan(const ReferencePlan& plan, const json& expect) const {
    json steps = json::array();
    for (const PlanStep& step : plan.steps) {
      json lists = json::array();
      for (const int list : step.lists) lists.push_back(names(plan.lists[at(list)]));
      json key_names = json::array();
      for (const int key : step.keys) key_names.push_back(keys_.name(key));
      const bool gathers = step.kind == StepKind::kGather;
      steps.push_back({{"comm_type", gathers ? "gather" : "scatter"},
                       {"root", step.root},
                       {"srcs", gathers ? json(step.peers) : json(nullptr)},
                       {"dsts", gathers ? json(nullptr) : json(step.peers)},
                       {"ids", lists},
                       {"keys", key_names}});
    }
    EXPECT_EQ(steps, expect);
  }

  void check_requests(const CallFacts& call, const std::vector<std::vector<int>>& rows_of_rank,
                      const CallRequests& requests, const json& expect) const {
    const graph::Call& source = graph_.call(call.index);
    const graph::Topology topology = graph::topology_of(source.layout);
    EXPECT_EQ(requests.n_main, expect.at("n_main_requests").get<int>());
    ASSERT_EQ(requests.requests.size(), expect.at("requests").size());
    for (size_t i = 0; i < requests.requests.size(); ++i) {
      SCOPED_TRACE("request " + std::to_string(i));
      const Outgoing& got = requests.requests[i];
      const json& want = expect.at("requests").at(i);
      EXPECT_EQ(got.worker, want.at("worker").get<int>());
      EXPECT_EQ(comm::name_of(got.request.kind), want.at("handle_name").get<std::string>());
      EXPECT_EQ(names_of(got.request.pre_hooks), want.at("pre_hooks"));
      EXPECT_EQ(names_of(got.request.post_hooks), without_requests(want.at("post_hooks")));
      if (i >= at(requests.n_main)) continue;
      const int rank = static_cast<int>(i);
      EXPECT_EQ(shard_name(source, topology.coordinate(rank), topology.size()),
                want.at("handler").get<std::string>());
      const std::vector<int>& rows = rows_of_rank[at(call.data_rank[i])];
      ASSERT_EQ(got.request.batch.ids.size(), rows.size());
      for (size_t s = 0; s < rows.size(); ++s) {
        EXPECT_EQ(sorted_names_[got.request.batch.ids[s].value], names_[at(rows[s])]);
      }
    }
  }

  void check_tracker(const json& expect) const {
    const auto key_names = expect.at("keys").get<std::vector<std::string>>();
    for (size_t k = 0; k < key_names.size(); ++k) {
      const int key = keys_.find(key_names[k]);
      for (int row = 0; row < n_samples_; ++row) {
        std::vector<int> holders;
        for (int worker = 0; worker < n_workers_; ++worker) {
          if (tracker_.holds(worker, row, key)) holders.push_back(worker);
        }
        EXPECT_EQ(json(holders), expect.at("holders").at(k).at(at(row))) << key_names[k];
        EXPECT_EQ(tracker_.owner(row, key), expect.at("owner").at(k).at(at(row)).get<int>())
            << key_names[k];
      }
    }
  }

  const Case& case_;
  int n_workers_, n_samples_;
  graph::Graph graph_;
  KeyTable keys_;
  std::vector<CallFacts> facts_;
  SequenceBuffer buffer_;
  RowMetadata metadata_;
  StorageTracker tracker_;
  std::vector<uint64_t> id_of_row_;
  std::vector<int> node_;
  std::vector<std::string> names_, sorted_names_;  // by row; by sample id
  CallCost cost_;
  metrics::Flops flops_ = 0;
};

TEST(DispatchGolden, RunStepMatches) {
  golden::for_each_case("dispatch.json", "run_step", [](const Case& c) {
    Pass pass(c);
    for (const json& entry : c["trace"]) {
      SCOPED_TRACE(entry.at("call").get<std::string>());
      pass.run(entry);
      if (golden::case_has_failed()) break;  // what follows would repeat it
    }
  });
}

/// The samples of one call by themselves: row i is sample i.
class Samples {
 public:
  /// `seqlens`: [[key, [[length of each sequence of a sample], ...]], ...]
  Samples(const json& seqlens, graph::CallKind kind, int n_data_ranks) : metadata_(0) {
    size_t n = 0;
    for (const json& entry : seqlens) n = std::max(n, entry.at(1).size());
    metadata_ = RowMetadata(static_cast<int>(n));
    rows_.resize(n);
    std::iota(rows_.begin(), rows_.end(), 0);
    facts_.kind = kind;
    facts_.group_workers.resize(at(n_data_ranks));
    for (const json& entry : seqlens) {
      data::KeyMetadata key{.key = entry.at(0), .trailing_shape = {}, .lengths = {}};
      for (const json& sample : entry.at(1)) key.lengths.add_sample(golden::int32s(sample));
      facts_.input_keys.push_back(keys_.intern(key.key));
      metadata_.record(rows_, facts_.input_keys.back(), key);
    }
  }

  std::vector<std::vector<int>> split() const { return split_batch(facts_, rows_, metadata_); }
  std::string split_key() const {
    return keys_.name(heaviest_key(facts_.input_keys, rows_, metadata_));
  }
  metrics::Flops flops(const CallCost& cost) const {
    return count_flops(facts_, rows_, metadata_, cost);
  }
  /// Elements of some rows under a key.
  int64_t total(const std::vector<int>& rows, const std::string& key) const {
    int64_t sum = 0;
    for (const int row : rows) sum += metadata_.elements(row, keys_.find(key));
    return sum;
  }
  json lengths(const std::vector<int>& rows, const std::string& key) const {
    json result = json::array();
    const data::KeyMetadata all = metadata_.assemble(rows, keys_.find(key));
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto of = all.lengths.of(i);
      result.push_back(std::vector<int>(of.begin(), of.end()));
    }
    return result;
  }

 private:
  KeyTable keys_;
  CallFacts facts_;
  RowMetadata metadata_;
  std::vector<int> rows_;
};

TEST(DispatchGolden, SamplesAreSplitOverDataRanksAsRecorded) {
  golden::for_each_case("dispatch.json", "data_parallel_dispatch", [](const Case& c) {
    const bool is_generate = c["is_generate"].get<bool>();
    const Samples samples(c["seqlens"],
                          is_generate ? graph::CallKind::kGenerate : graph::CallKind::kInference,
                          c["dp_size"].get<int>());

    const std::vector<std::vector<int>> parts = samples.split();

    const golden::Fields& expect = c.expect();
    std::vector<int> order;
    json ranges = json::array(), tokens = json::array(), buffer_rows = json::array(),
         ids = json::array();
    for (const std::vector<int>& part : parts) {
      ranges.push_back({order.size(), order.size() + part.size()});
      tokens.push_back(samples.total(part, samples.split_key()));
      order.insert(order.end(), part.begin(), part.end());
    }
    for (const int row : order) {
      buffer_rows.push_back(c["buf_indices"].at(at(row)));
      ids.push_back(c["ids"].at(at(row)));
    }
    EXPECT_EQ(json(order), expect.at("order"));
    EXPECT_EQ(ranges, expect.at("partitions"));
    EXPECT_EQ(tokens, expect.at("tokens"));
    EXPECT_EQ(buffer_rows, expect.at("buf_indices"));
    EXPECT_EQ(ids, expect.at("ids"));
    // Generation is split by number; what the parts weigh is said all the same.
    if (!is_generate) {
      EXPECT_EQ(samples.split_key(), expect.at("split_key").get<std::string>());
    }
    for (const json& entry : expect.at("seqlens")) {
      EXPECT_EQ(samples.lengths(order, entry.at(0).get<std::string>()), entry.at(1));
    }
  });
}

TEST(DispatchGolden, CallsCostAsManyOperationsAsRecorded) {
  golden::for_each_case("flops.json", "counter", [](const Case& c) {
    metrics::Flops total = 0;
    for (const json& call : c["calls"]) {
      const std::string type = call.at("interface_type");
      if (type != "evaluate") {
        const json& size = call.at("model");
        const Samples samples(call.at("seqlens"), kind_of(type), 1);
        total += samples.flops({.shape = {size.at("n_layers"), size.at("hidden_dim"),
                                          size.at("intermediate_dim"), size.at("vocab_size")},
                                .n_new_tokens = call.value("min_new_tokens", int64_t{0}),
                                .n_recomputed = size.at("n_layers")});
      }
      EXPECT_EQ(flops_text(total), call.at("flops_so_far").get<std::string>());
    }
    EXPECT_EQ(flops_text(total), c.expect().at("flops").get<std::string>());
  });
}

}  // namespace
}  // namespace orrery::master
