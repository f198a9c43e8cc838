// The GPU's GAE against the CPU's: its program block by block everywhere, the kernel on a GPU.
#include <memory>

#include "blocks/gae.h"
#include "gpu_for_test.h"
#include "kernel_references.h"

namespace orrery::kernels {
namespace {

template <class T>
struct Case {
  std::vector<T> rewards, values, advantages, returns;
  std::vector<int32_t> cu_seqlens;
  std::vector<uint8_t> bootstrap;  // as bytes: std::vector<bool> has no addresses

  explicit Case(const std::vector<int64_t>& lengths) : cu_seqlens{0} {
    for (const int64_t n : lengths) {
      cu_seqlens.push_back(cu_seqlens.back() + int32_t(n));
      bootstrap.push_back(uint8_t(bootstrap.size() % 2));
    }
    const int64_t n = cu_seqlens.back();
    rewards = random_numbers<T>(n, 1);
    values = random_numbers<T>(n + int64_t(lengths.size()), 2);
    advantages.assign(size_t(n), T(0));
    returns.assign(size_t(n), T(0));
  }

  GaeArgs<T> args() {
    return {.rewards = rewards.data(),
            .values = values.data(),
            .cu_seqlens = cu_seqlens.data(),
            .bootstrap = reinterpret_cast<const bool*>(bootstrap.data()),
            .advantages = advantages.data(),
            .returns = returns.data(),
            .n_sequences = int64_t(bootstrap.size()),
            .gamma = 0.99,
            .lambda = 0.95};
  }
};

/// Each size alone, and all in one batch.
std::vector<std::vector<int64_t>> batches() {
  std::vector<std::vector<int64_t>> result{{}, kGpuSizes};
  for (const int64_t n : kGpuSizes) result.push_back({n, n});
  return result;
}

/// Doubling multiplies at most 7 times where the loop adds; sums of up to 1 / (1 - 0.94) terms.
template <class T>
void expect_same(const Case<T>& got, const Case<T>& reference) {
  expect_near(got.advantages, as_doubles(reference.advantages));
  expect_near(got.returns, as_doubles(reference.returns));
}

template <class T>
void compare_blocks() {
  for (const auto& lengths : batches()) {
    SCOPED_TRACE(testing::PrintToString(lengths));
    Case<T> reference(lengths), forward(lengths), backward(lengths);
    gae<T>(reference.args());

    blocks::simulate<blocks::GaeProgram<T>>(forward.args());
    blocks::simulate<blocks::GaeProgram<T>>(backward.args(), blocks::ThreadOrder::kBackward);

    expect_same(forward, reference);
    EXPECT_EQ(forward.advantages, backward.advantages) << "threads race";
  }
}

TEST(GaeBlocks, GiveWhatTheLoopGives) {
  compare_blocks<float>();
  compare_blocks<double>();
}

template <class T>
void compare_on_gpu() {
  for (const auto& lengths : batches()) {
    SCOPED_TRACE(testing::PrintToString(lengths));
    Case<T> reference(lengths), got(lengths);
    gae<T>(reference.args());
    const OnGpu rewards(got.rewards), values(got.values), advantages(got.advantages),
        returns(got.returns);
    const OnGpu cu_seqlens(got.cu_seqlens);
    const OnGpu bootstrap(got.bootstrap);
    GaeArgs<T> args = got.args();
    args.rewards = rewards.get();
    args.values = values.get();
    args.cu_seqlens = cu_seqlens.get();
    args.bootstrap = reinterpret_cast<const bool*>(bootstrap.get());
    args.advantages = advantages.get();
    args.returns = returns.get();

    gae_cuda<T>(args, nullptr);

    got.advantages = advantages.host();
    got.returns = returns.host();
    expect_same(got, reference);
  }
}

TEST(GaeCuda, GivesWhatTheLoopGives) {
  ORRERY_NEEDS_GPU();
  compare_on_gpu<float>();
  compare_on_gpu<double>();
}

}  // namespace
}  // namespace orrery::kernels
