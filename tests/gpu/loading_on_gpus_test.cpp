// Parameters from files onto a simulated GPU.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "../model/temporary_directory.h"
#include "decoders_on_gpus.h"
#include "memory.h"
#include "orrery/model/hf_directory.h"
#include "streams.h"

namespace orrery::model {
namespace {

constexpr int64_t kPiece = 4096;

TEST(LoadingOnGpus, GoesThroughTwoPiecesOfPinnedMemory) {
  for (const auto& entry : std::filesystem::directory_iterator(fixtures())) {
    if (!entry.is_directory()) continue;
    SCOPED_TRACE(entry.path());
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
      Decoder cpu = load_hf(entry.path(), dtype);
      Decoder gpu(cpu.architecture(), dtype, at::Device(at::kCUDA, 0));
      const simulated_gpu::Counters before = simulated_gpu::counters();
      const size_t pinned = simulated_gpu::pinned_bytes();
      simulated_gpu::forget_most_pinned();
      load_hf_parameters(entry.path(), gpu, {.piece_bytes = kPiece});
      const simulated_gpu::Counters counts = simulated_gpu::counters() - before;

      EXPECT_TRUE(at::equal(gpu.parameters().stored().cpu(), cpu.parameters().stored()));
      EXPECT_EQ(counts.bytes_to_device, static_cast<int64_t>(cpu.parameters().stored().nbytes()));
      EXPECT_GT(counts.copies_to_device, 10) << "in pieces";
      EXPECT_LE(simulated_gpu::most_pinned_bytes() - pinned, 2 * kPiece);
      EXPECT_LE(simulated_gpu::pinned_bytes(), pinned) << "not given back";
    }
  }
}

}  // namespace
}  // namespace orrery::model
