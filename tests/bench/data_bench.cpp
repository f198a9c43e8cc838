// Time of the partition of one call's samples over data ranks, and of indexing a data file.
//
//   cmake --preset bench && cmake --build build/bench --target bench_data
//   build/bench/tests/bench/bench_data
#include <benchmark/benchmark.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "orrery/data/data_order.h"
#include "orrery/data/jsonl.h"
#include "orrery/data/partition.h"

namespace orrery::data {
namespace {

std::vector<int32_t> random_lengths(int64_t n) {
  std::mt19937 random(1);
  std::vector<int32_t> lengths(static_cast<size_t>(n));
  for (int32_t& length : lengths) length = 32 + static_cast<int32_t>(random() % 2000);
  return lengths;
}

/// Data ranks x samples; fewer samples than ranks cannot be split.
void ranks_and_samples(benchmark::internal::Benchmark* bench) {
  for (const int64_t ranks : {8, 64, 256, 1024}) {
    for (const int64_t samples : {512, 4096, 16384}) {
      if (samples >= ranks) bench->Args({ranks, samples});
    }
  }
  bench->ArgNames({"ranks", "samples"})->Unit(benchmark::kMicrosecond);
}

void ffd(benchmark::State& state) {
  const std::vector<int32_t> lengths = random_lengths(state.range(1));
  const std::vector<int64_t> values(lengths.begin(), lengths.end());
  for (auto _ : state) {
    benchmark::DoNotOptimize(ffd_allocate(
        values, {.capacity = kNoCapacity, .min_groups = static_cast<int>(state.range(0))}));
  }
}
BENCHMARK(ffd)->Apply(ranks_and_samples);

/// As many groups as the capacity forces: groups close and open again.
void ffd_with_capacity(benchmark::State& state) {
  const std::vector<int32_t> lengths = random_lengths(state.range(1));
  const std::vector<int64_t> values(lengths.begin(), lengths.end());
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        ffd_allocate(values, {.capacity = 5000, .min_groups = static_cast<int>(state.range(0))}));
  }
}
BENCHMARK(ffd_with_capacity)->Apply(ranks_and_samples);

void index_file(benchmark::State& state) {
  const std::filesystem::path file = std::filesystem::temp_directory_path() / "orrery_bench.jsonl";
  {
    std::ofstream out(file);
    for (int64_t i = 0; i < state.range(0); ++i) {
      out << "{\"id\": \"arith-7-" << i << "\", \"level\": 2, \"prompt\": \"3*18+" << i
          << "=\", \"answer\": \"" << 54 + i << "\", \"demonstration\": \"3*18=54;54+" << i << "="
          << 54 + i << "\"}\n";
    }
  }
  config::DatasetConfig dataset;
  dataset.path = file.string();
  for (auto _ : state) benchmark::DoNotOptimize(JsonlIndex::build(dataset, ByteTokenizer()));
  state.SetItemsProcessed(state.iterations() * state.range(0));
  std::filesystem::remove(file);
}
BENCHMARK(index_file)->Arg(200'000)->Unit(benchmark::kMillisecond);

void begin_epoch(benchmark::State& state) {
  int64_t epoch = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        epoch_permutation(1, 0, epoch++, static_cast<uint32_t>(state.range(0))));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(begin_epoch)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace orrery::data

BENCHMARK_MAIN();
