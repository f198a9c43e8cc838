// What a worker saves of a simulated GPU, and gets back.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "../base/temporary_folder.h"
#include "../worker/small_job_for_test.h"
#include "memory.h"
#include "orrery/base/file.h"
#include "orrery/checkpoint/directory.h"
#include "orrery/checkpoint/manifest.h"
#include "orrery/checkpoint/reader.h"
#include "shard_checkpoint.h"
#include "streams.h"

namespace orrery::worker {
namespace {

const c10::Device kGpu(c10::kCUDA, 0);

/// All that a resumed role needs, on the host.
std::vector<at::Tensor> state_of(HostedModels& models) {
  std::vector<at::Tensor> state;
  for (auto& [id, model] : models.all()) {
    if (model.engine == nullptr) continue;
    const parallel::AdamW& optimizer = model.engine->optimizer();
    for (const at::Tensor& values : {model.decoder->parameters().values(), optimizer.first_moment(),
                                     optimizer.second_moment(), optimizer.master_weights()}) {
      if (values.defined()) state.push_back(values.cpu().clone());
    }
  }
  return state;
}

/// As after some steps.
void disturb(HostedModels& models) {
  for (auto& [id, model] : models.all()) {
    if (model.engine == nullptr) continue;
    const parallel::AdamW& optimizer = model.engine->optimizer();
    double scale = 0.3;
    for (const at::Tensor& values : {model.decoder->parameters().values(), optimizer.first_moment(),
                                     optimizer.second_moment(), optimizer.master_weights()}) {
      if (!values.defined()) continue;
      values.copy_(at::arange(values.numel(), at::kDouble).mul(scale += 0.1).sin());
    }
  }
}

struct Saved {
  simulated_gpu::Counters stall;
  std::filesystem::path folder;
};

Saved save(ShardCheckpoint& checkpoint, const std::filesystem::path& directory, int64_t step) {
  const simulated_gpu::Counters before = simulated_gpu::counters();
  checkpoint.start(directory, step, {});
  const Saved saved{.stall = simulated_gpu::counters() - before,
                    .folder = checkpoint::partial_directory(directory)};
  checkpoint::Manifest manifest{.step = step};
  for (const comm::SavedShard& shard : checkpoint.wait()) {
    manifest.files.push_back({.name = shard.file, .size = shard.size, .hash = shard.hash});
  }
  base::publish_file(saved.folder / "manifest.json", checkpoint::manifest_text(manifest));
  return saved;
}

/// Two saves of different numbers, of which the second is restored into a job that began anew.
void expect_saved_and_restored(const std::vector<std::string>& sets) {
  const SmallJob job(sets, 1);
  const TemporaryFolder folder;
  std::vector<at::Tensor> expected;
  Saved saved;
  job.run(
      [&](HostedModels& models, ParameterMoves&) {
        ShardCheckpoint checkpoint(models, job.graph, 0, checkpoint::Compression::kNone);
        const size_t before = simulated_gpu::pinned_bytes();
        save(checkpoint, folder.path() / "first", 1);
        const size_t pinned = simulated_gpu::pinned_bytes();
        disturb(models);
        expected = state_of(models);
        saved = save(checkpoint, folder.path() / "second", 2);

        EXPECT_EQ(simulated_gpu::pinned_bytes(), pinned) << "kept, and used again";
        EXPECT_EQ(saved.stall.bytes_to_host, static_cast<int64_t>(pinned - before));
        EXPECT_EQ(saved.stall.host_waits, 1);
      },
      kGpu);
  int64_t most = 0;
  for (const at::Tensor& values : expected) {
    most = std::max(most, static_cast<int64_t>(values.nbytes()));
  }
  job.run(
      [&](HostedModels& models, ParameterMoves&) {
        ShardCheckpoint checkpoint(models, job.graph, 0, checkpoint::Compression::kNone);
        checkpoint::CheckpointReader reader(saved.folder);
        const size_t pinned = simulated_gpu::pinned_bytes();
        simulated_gpu::forget_most_pinned();
        checkpoint.restore(reader);

        EXPECT_GT(simulated_gpu::most_pinned_bytes(), pinned) << "not pinned";
        EXPECT_LT(simulated_gpu::most_pinned_bytes() - pinned, static_cast<size_t>(most));
        EXPECT_LE(simulated_gpu::pinned_bytes(), pinned) << "not given back";
        const std::vector<at::Tensor> restored = state_of(models);
        ASSERT_EQ(restored.size(), expected.size());
        for (size_t i = 0; i < expected.size(); ++i) {
          EXPECT_TRUE(at::equal(restored[i], expected[i])) << i;
        }
      },
      kGpu);
}

TEST(CheckpointsOnGpus, AreCopiedToPinnedMemoryOnceAndReadInPieces) {
  expect_saved_and_restored({});
}

TEST(CheckpointsOnGpus, HoldBf16AsTheNumbersThatItIs) {
  expect_saved_and_restored(
      {"model.actor.dtype=bf16", "model.actor.moments_dtype=bf16", "model.critic.dtype=bf16"});
}

}  // namespace
}  // namespace orrery::worker
