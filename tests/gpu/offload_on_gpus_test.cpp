// Flat buffers between a simulated GPU and pinned memory of the host.
#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <gtest/gtest.h>

#include "orrery/model/offloadable_buffer.h"
#include "orrery/model/parameter_table.h"
#include "orrery/parallel/adamw.h"
#include "streams.h"

namespace orrery::model {
namespace {

constexpr int64_t kNumbers = 3 << 20;  // 12 MiB

at::Tensor numbers() { return at::arange(kNumbers, at::kFloat).mul(0.37).sin(); }

int64_t bytes_in_use() {
  const auto stats = c10::getDeviceAllocator(c10::kCUDA)->getDeviceStats(0);
  return stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)]
      .current;
}

TEST(OffloadableBuffer, GivesItsMemoryBackAndComesAgainUnderAllItsViews) {
  OffloadableBuffer buffer(numbers().to(at::kCUDA));
  const at::Tensor view = buffer.tensor().narrow(0, 1000, 24).view({4, 6}).detach();
  const int64_t before = bytes_in_use();

  buffer.offload();
  EXPECT_EQ(buffer.tensor().storage().data(), nullptr);
  EXPECT_EQ(before - bytes_in_use(), kNumbers * 4);
  buffer.fetch();

  EXPECT_EQ(bytes_in_use(), before);
  EXPECT_TRUE(at::equal(buffer.tensor().cpu(), numbers()));
  EXPECT_TRUE(at::equal(view.cpu(), numbers().narrow(0, 1000, 24).view({4, 6})));
}

TEST(OffloadableBuffer, KeepsItsOrderWithWhatIsComputed) {
  OffloadableBuffer buffer(numbers().to(at::kCUDA));
  for (int round = 1; round <= 3; ++round) {
    SCOPED_TRACE(round);
    buffer.tensor().add_(1);  // not done when the copy is put behind it
    buffer.offload();
    // Takes the memory as soon as it is to be had, which is not before the copy is done.
    const at::Tensor other = at::full({kNumbers}, 7, buffer.tensor().options());
    buffer.fetch();
    const at::Tensor read = buffer.tensor().clone();  // behind the copy that brings the numbers

    at::Tensor expected = numbers();
    for (int i = 0; i < round; ++i) expected.add_(1);
    EXPECT_TRUE(at::equal(read.cpu(), expected));
    EXPECT_TRUE(at::equal(other.cpu(), at::full({kNumbers}, 7, at::kFloat)));
  }
}

TEST(OffloadableBuffer, LetsNobodyWaitAndPinsMemoryOnce) {
  OffloadableBuffer buffer(numbers().to(at::kCUDA));
  buffer.offload();
  const void* const pinned = buffer.where_it_is().const_data_ptr();
  buffer.fetch();
  const simulated_gpu::Counters before = simulated_gpu::counters();
  buffer.offload();
  buffer.fetch();
  buffer.offload();
  const simulated_gpu::Counters after = simulated_gpu::counters();

  EXPECT_EQ(after.host_waits, before.host_waits);
  EXPECT_EQ(after.bytes_to_host - before.bytes_to_host, 2 * kNumbers * 4);
  EXPECT_EQ(after.bytes_to_device - before.bytes_to_device, kNumbers * 4);
  EXPECT_EQ(buffer.where_it_is().const_data_ptr(), pinned);
}

TEST(OffloadableBuffer, IsReadOnTheHostWhereItIs) {
  OffloadableBuffer buffer(numbers().to(at::kCUDA));
  EXPECT_TRUE(buffer.where_it_is().is_same(buffer.tensor()));
  buffer.offload();
  const simulated_gpu::Counters before = simulated_gpu::counters();

  const at::Tensor read = buffer.where_it_is();

  EXPECT_TRUE(read.is_cpu());
  EXPECT_TRUE(at::equal(read, numbers()));
  EXPECT_EQ(simulated_gpu::counters().bytes_to_device, before.bytes_to_device);
}

TEST(OffloadableBuffer, KeepsTheNumbersWhereThereIsNoMemoryToFetchThem) {
  namespace cuda = c10::cuda::CUDACachingAllocator;
  OffloadableBuffer buffer(numbers().to(at::kCUDA));
  buffer.offload();
  cuda::emptyCache();
  cuda::setMemoryFraction(1e-4, 0);
  EXPECT_THROW(buffer.fetch(), c10::OutOfMemoryError);
  EXPECT_TRUE(buffer.is_offloaded());
  EXPECT_TRUE(at::equal(buffer.where_it_is(), numbers()));
  cuda::setMemoryFraction(1, 0);

  buffer.fetch();

  EXPECT_TRUE(at::equal(buffer.tensor().cpu(), numbers()));
}

TEST(OffloadableBuffer, OfACpuStaysWhereItIs) {
  OffloadableBuffer buffer(numbers());
  buffer.offload();
  EXPECT_FALSE(buffer.is_offloaded());
  EXPECT_TRUE(at::equal(buffer.tensor(), numbers()));
}

ParameterTable small_table() {
  Architecture a;
  a.vocab_size = 50;
  a.hidden_size = a.head_dim = 8;
  a.intermediate_size = 16;
  a.n_layers = a.n_heads = a.n_kv_heads = 1;
  a.max_positions = 8;
  return parameter_table(a);
}

TEST(Offload, OfParametersBringsBackWhatTheyWereInEveryType) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    SCOPED_TRACE(toString(dtype));
    FlatParameters parameters(small_table(), dtype, c10::Device(at::kCUDA, 0));
    parameters.initialise(7);
    const at::Tensor values = parameters.values().cpu(), stored = parameters.stored().cpu();
    const at::Tensor leaf = parameters.leaf("model.embed_tokens.weight").detach();
    const at::Tensor expected = leaf.cpu();

    parameters.offload();
    EXPECT_EQ(parameters.values().storage().data(), nullptr);
    EXPECT_TRUE(at::equal(parameters.stored_where_it_is(), stored));
    parameters.fetch();

    EXPECT_TRUE(at::equal(parameters.values().cpu(), values));
    EXPECT_TRUE(at::equal(parameters.stored().cpu(), stored));
    EXPECT_TRUE(at::equal(leaf.cpu(), expected));
  }
}

TEST(Offload, OfTheOptimizerBetweenStepsChangesNoBit) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16}) {
    SCOPED_TRACE(toString(dtype));
    const c10::Device gpu(at::kCUDA, 0);
    FlatParameters kept(small_table(), dtype, gpu), moved(small_table(), dtype, gpu);
    kept.initialise(7);
    moved.initialise(7);
    parallel::AdamW of_kept(kept, {.weight_decay = 0.1}), of_moved(moved, {.weight_decay = 0.1});
    of_moved.offload();
    for (int step = 0; step < 4; ++step) {
      for (FlatParameters* parameters : {&kept, &moved}) {
        parameters->gradients().copy_(at::arange(kept.numel()).mul(0.7 + step).sin());
      }
      of_kept.step(0.01, 0.5);
      of_moved.fetch();
      of_moved.step(0.01, 0.5);
      EXPECT_TRUE(at::equal(moved.values().cpu(), kept.values().cpu())) << step;
      of_moved.offload();
      if (step == 1) {  // as a resumed run does, with what was read on the host
        of_moved.restore(of_kept.steps_done(), of_kept.first_moment(), of_kept.second_moment(),
                         of_kept.master_weights());
      }
    }
    EXPECT_TRUE(at::equal(of_moved.first_moment(), of_kept.first_moment().cpu()));
    EXPECT_TRUE(at::equal(of_moved.second_moment(), of_kept.second_moment().cpu()));
  }
}

}  // namespace
}  // namespace orrery::model
