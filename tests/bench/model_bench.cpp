// Training step and decoding of the quickstart's 0.9 M model and of a 20 M one, on one thread, each
// beside the rate of this machine's fp32 matmuls measured in the same run: `of_matmuls` is
// the share of that rate which a training step reaches, counting only its matmuls.
//
//   bench_model --benchmark_filter=Train        (or Recompute, Decode, Generate, Matmuls)
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <benchmark/benchmark.h>

#include <algorithm>
#include <ctime>
#include <vector>

#include "orrery/model/decoder.h"
#include "orrery/model/generator.h"

namespace orrery::model {
namespace {

[[maybe_unused]] const bool one_thread = [] {
  at::set_num_threads(1);
  return true;
}();

Architecture small() {
  Architecture a;
  a.vocab_size = 259;
  a.hidden_size = 128;
  a.intermediate_size = 344;
  a.n_layers = 4;
  a.n_heads = a.n_kv_heads = 4;
  a.head_dim = 32;
  a.max_positions = 2048;
  return a;
}

Architecture medium() {
  Architecture a = small();
  a.vocab_size = 4096;
  a.hidden_size = 384;
  a.intermediate_size = 1024;
  a.n_layers = 10;
  a.n_heads = 6;
  a.n_kv_heads = 6;
  a.head_dim = 64;
  return a;
}

/// Processor time of this one-threaded process: what other programs take does not count.
class Stopwatch {
 public:
  double seconds() const { return double(std::clock() - start_) / CLOCKS_PER_SEC; }

 private:
  std::clock_t start_ = std::clock();
};

/// GFLOP/s of one large fp32 matmul: the best of a few, measured once.
double matmul_rate() {
  static const double rate = [] {
    const int64_t n = 1536;
    const at::Tensor a = at::rand({n, n}), b = at::rand({n, n});
    at::Tensor c = at::empty({n, n});
    double best = 0;
    for (int i = 0; i < 6; ++i) {
      const Stopwatch watch;
      at::mm_out(c, a, b);
      best = std::max(best, 2e-9 * double(n) * double(n) * double(n) / watch.seconds());
    }
    return best;
  }();
  return rate;
}

PackedTokens batch_of(int64_t sequences, int64_t length, int64_t vocab_size) {
  const at::Tensor tokens =
      at::arange(sequences * length, at::kLong).mul(7919).remainder(vocab_size);
  return pack_tokens(tokens, std::vector<int32_t>(size_t(sequences), int32_t(length)));
}

Decoder decoder_of(bool is_small) {
  Decoder decoder(is_small ? small() : medium(), at::kFloat);
  decoder.parameters().initialise(1);
  return decoder;
}

/// Matmuls per token of one forward pass, the head included.
double matmul_flops(const Architecture& a) {
  const double layer =
      double(a.hidden_size) * double(a.qkv_size() + a.query_size() + 3 * a.intermediate_size);
  return 2 * (double(a.n_layers) * layer + double(a.vocab_size * a.hidden_size));
}

/// tokens/s, and the share of the matmul rate that `flops_per_token` in `seconds` makes.
void report(benchmark::State& state, double tokens, double flops_per_token, double seconds) {
  state.counters["tokens/s"] = tokens / seconds;
  state.counters["of_matmuls"] = 1e-9 * flops_per_token * tokens / seconds / matmul_rate();
  state.counters["products_GFLOP/s"] = matmul_rate();
}

/// Arguments: 1 small or 0 medium, sequences, tokens of each.
void Train(benchmark::State& state) {
  Decoder decoder = decoder_of(state.range(0) == 1);
  const PackedTokens batch =
      batch_of(state.range(1), state.range(2), decoder.architecture().vocab_size);
  const Stopwatch watch;
  for (auto _ : state) {
    decoder.parameters().zero_gradients();
    decoder.log_probs(batch).sum().backward();
  }
  const double tokens = double(batch.size()) * double(state.iterations());
  report(state, tokens, 3 * matmul_flops(decoder.architecture()), watch.seconds());
}
BENCHMARK(Train)
    ->Args({1, 64, 10})
    ->Args({1, 256, 10})
    ->Args({1, 8, 256})
    ->Args({0, 64, 10})
    ->Args({0, 8, 256})
    ->Unit(benchmark::kMillisecond);

double seconds_of_pass(Decoder& decoder, const PackedTokens& batch) {
  const Stopwatch watch;
  decoder.parameters().zero_gradients();
  decoder.log_probs(batch).sum().backward();
  return watch.seconds();
}

/// Training passes in which all layers run again in backward beside some in which none does, by
/// turns: `ratio` is the median of pairs, the sizes are of what holds activations. Arguments as of
/// Train.
void Recompute(benchmark::State& state) {
  Decoder kept = decoder_of(state.range(0) == 1), again = decoder_of(state.range(0) == 1);
  again.set_recomputed_layers(again.n_layers());
  const PackedTokens batch =
      batch_of(state.range(1), state.range(2), kept.architecture().vocab_size);
  seconds_of_pass(kept, batch);
  seconds_of_pass(again, batch);
  std::vector<double> ratios;
  for (auto _ : state) {
    const double of_kept = seconds_of_pass(kept, batch);
    ratios.push_back(seconds_of_pass(again, batch) / of_kept);
  }
  std::sort(ratios.begin(), ratios.end());
  state.counters["ratio"] = ratios[ratios.size() / 2];
  state.counters["kept_MB"] = 1e-6 * double(kept.activation_bytes());
  state.counters["recomputed_MB"] = 1e-6 * double(again.activation_bytes());
}
BENCHMARK(Recompute)
    ->Args({1, 8, 256})
    ->Args({0, 8, 256})
    ->Iterations(21)
    ->Unit(benchmark::kMillisecond);

/// Arguments: 1 small or 0 medium, sequences.
void Infer(benchmark::State& state) {
  Decoder decoder = decoder_of(state.range(0) == 1);
  const PackedTokens batch = batch_of(state.range(1), 10, decoder.architecture().vocab_size);
  at::NoGradGuard no_grad;
  const Stopwatch watch;
  for (auto _ : state) benchmark::DoNotOptimize(decoder.log_probs(batch));
  const double tokens = double(batch.size()) * double(state.iterations());
  report(state, tokens, matmul_flops(decoder.architecture()), watch.seconds());
}
BENCHMARK(Infer)->Args({1, 256})->Args({0, 64})->Unit(benchmark::kMillisecond);

void run_generation(benchmark::State& state, int64_t sequences, int64_t prompt_tokens,
                    int64_t new_tokens, int64_t group_size) {
  Decoder decoder = decoder_of(state.range(0) == 1);
  const PackedTokens prompts =
      batch_of(sequences / group_size, prompt_tokens, decoder.architecture().vocab_size);
  const std::vector<SamplingKey> keys(size_t(sequences / group_size));
  const GenerationOptions options{.max_new_tokens = new_tokens, .group_size = group_size};
  Generator generator(decoder, PackedWeights::kKeep);
  const Stopwatch watch;
  for (auto _ : state) benchmark::DoNotOptimize(generator.generate(prompts, keys, options));
  const double tokens = double(sequences * new_tokens) * double(state.iterations());
  report(state, tokens, matmul_flops(decoder.architecture()), watch.seconds());
}

/// Arguments: 1 small or 0 medium, batch. 64 tokens from a prompt of 16.
void Decode(benchmark::State& state) { run_generation(state, state.range(1), 16, 64, 1); }
BENCHMARK(Decode)->ArgsProduct({{1, 0}, {1, 8, 32, 256}})->Unit(benchmark::kMillisecond);

/// The quickstart's call: 32 prompts of 6 tokens, 8 samples of 8 tokens each.
void GenerateGroups(benchmark::State& state) { run_generation(state, 256, 6, 8, 8); }
BENCHMARK(GenerateGroups)->Args({1})->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace orrery::model
