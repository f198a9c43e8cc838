// Rates of what runs once per token or per byte: random draws and hashes.
//
//   tools/bench.sh base
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>

#include "orrery/base/hash.h"
#include "orrery/base/philox.h"

namespace orrery::base {
namespace {

void BM_PhiloxUniform(benchmark::State& state) {
  uint64_t index = 0;
  for (auto _ : state) benchmark::DoNotOptimize(philox_uniform(1, 2, index++));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_PhiloxUniform);

void BM_Hash64(benchmark::State& state) {
  const std::string bytes(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(hash64(bytes));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Hash64)->Arg(64)->Arg(1 << 20);

void BM_Hash128(benchmark::State& state) {
  const std::string bytes(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) benchmark::DoNotOptimize(hash128_text(bytes));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Hash128)->Arg(64)->Arg(1 << 20);

}  // namespace
}  // namespace orrery::base
