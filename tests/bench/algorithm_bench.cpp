// What a method costs beside plain GRPO: a train_step of each on one batch of answers in the shape
// of the main job's model, on one thread. Rows beside them: a forward pass before the update
// (recompute_log_probs), and generation with and without entropies. Processor time; a ratio wants
// rounds in turn:
//
//   bench_algorithm --benchmark_enable_random_interleaving=true --benchmark_repetitions=15
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "orrery/algorithm/generation.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/methods.h"
#include "orrery/algorithm/registry.h"
#include "support/thread_communicator.h"

namespace orrery::algorithm {
namespace {

constexpr int kPrompts = 16, kGroup = 8, kPromptLength = 6, kNewTokens = 5;

model::Architecture main_job() {
  model::Architecture a;
  a.vocab_size = data::ByteTokenizer::kVocabSize;
  a.hidden_size = 128;
  a.intermediate_size = 384;
  a.n_layers = 4;
  a.n_heads = a.n_kv_heads = 4;
  a.head_dim = 32;
  a.max_positions = 64;
  return a;
}

/// One worker that has generated a batch.
class Worker {
 public:
  explicit Worker(comm::Communicator& group)
      : decoder_(main_job(), at::kFloat), engine_(decoder_, optimizer(), group), group_(group) {
    at::set_num_threads(1);
    decoder_.parameters().initialise(1);
    answers_ = generate({"entropies"});
    at::Tensor rewards = at::zeros({kPrompts * kGroup}, at::kFloat);
    for (int64_t i = 0; i < rewards.numel(); ++i) rewards[i] = i % 3 == 0 ? 1 : 0;
    answers_.set("rewards", rewards, one_each(answers_.meta.at("packed_input_ids").lengths));
  }

  data::SequenceBatch generate(std::vector<std::string> outputs) {
    data::SequenceBatch prompts;
    std::vector<int64_t> ids;
    for (int i = 0; i < kPrompts; ++i) {
      prompts.meta.ids.push_back({static_cast<uint64_t>(i)});
      for (int t = 0; t < kPromptLength; ++t) ids.push_back(48 + (7 * i + 3 * t) % 10);
    }
    prompts.set("packed_prompts", at::tensor(ids, at::kLong),
                data::NestedLengths::of_single(std::vector<int32_t>(kPrompts, kPromptLength)));
    CallContext call = context();
    call.outputs = std::move(outputs);
    ModelContext model = model_context();
    return Generate({.group_size = kGroup, .max_new_tokens = kNewTokens, .stop_at_eos = false})
        .generate(model, prompts, call);
  }

  void train(Interface& policy) {
    ModelContext model = model_context();
    policy.train_step(model, answers_, context());
  }

 private:
  static parallel::OptimizerOptions optimizer() {
    parallel::OptimizerOptions options;
    options.schedule.max_lr = 1e-9;  // the batch stays that of this policy
    return options;
  }
  static CallContext context() {
    CallContext call;
    call.call = "c";
    call.step = 1;
    return call;
  }
  ModelContext model_context() {
    return {.decoder = &decoder_,
            .engine = &engine_,
            .tokenizer = &tokenizer_,
            .data_group = &group_,
            .is_dp_head = true};
  }

  model::Decoder decoder_;
  parallel::TrainEngine engine_;
  const data::ByteTokenizer tokenizer_;
  comm::Communicator& group_;
  data::SequenceBatch answers_;
};

std::vector<config::Option> options_of(const Method& method) {
  std::vector<config::Option> options;
  for (const MethodOption& each : method.options) {
    options.push_back({.name = each.name, .value = each.value, .where = {}});
    if (std::string(each.value) != "constant") continue;
    options.push_back(
        {.name = "constant_length", .value = std::to_string(kNewTokens), .where = {}});
  }
  return options;
}

template <class Work>
void on_one_rank(const Work& work) {
  comm::run_as_threads(1, [&](comm::Communicator& group) {
    Worker worker(group);
    work(worker);
  });
}

void train(benchmark::State& state, std::vector<config::Option> options) {
  on_one_rank([&](Worker& worker) {
    const std::unique_ptr<Interface> policy = make_interface("grpo", options);
    for (auto _ : state) worker.train(*policy);
  });
}

void generate(benchmark::State& state, std::vector<std::string> outputs) {
  on_one_rank([&](Worker& worker) {
    for (auto _ : state) worker.generate(outputs);
  });
}

[[maybe_unused]] const bool registered = [] {
  const auto add = [](const std::string& name, auto function) {
    benchmark::RegisterBenchmark(name.c_str(), function)
        ->Unit(benchmark::kMillisecond)
        ->MeasureProcessCPUTime();
  };
  for (const Method& method : methods()) {
    add(std::string("TrainStep/") + method.name,
        [&method](benchmark::State& state) { train(state, options_of(method)); });
  }
  add("TrainStep/recompute_log_probs", [](benchmark::State& state) {
    train(state, {{.name = "recompute_log_probs", .value = "true", .where = {}}});
  });
  add("Generate/plain", [](benchmark::State& state) { generate(state, {}); });
  add("Generate/entropies", [](benchmark::State& state) { generate(state, {"entropies"}); });
  return true;
}();

}  // namespace
}  // namespace orrery::algorithm
