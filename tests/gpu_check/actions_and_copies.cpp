// Advantages of a batch of answers, and the strided copies of parameter reallocation.
#include "check.h"
#include "orrery/kernels/gae.h"
#include "orrery/kernels/strided_copy.h"

namespace orrery::gpu_check {

namespace {

using kernels::Bf16;
using kernels::StridedCopy;

/// Halves of the columns of matrices, as tensor parallelism cuts them.
struct Halves {
  int64_t n_matrices, rows, columns;

  int64_t numel() const { return n_matrices * rows * columns; }
  int64_t packed_numel() const { return numel() / 2; }
  std::vector<StridedCopy> copies() const {
    std::vector<StridedCopy> all;
    for (int64_t i = 0; i < n_matrices; ++i) {
      const int64_t begin = i * rows * columns + columns / 2;
      all.push_back({.source_offset = begin,
                     .source_stride = columns,
                     .destination_offset = begin,
                     .destination_stride = columns,
                     .rows = rows,
                     .length = columns / 2});
    }
    return all;
  }
  std::vector<int64_t> first() const {
    std::vector<int64_t> all;
    for (int64_t i = 0; i <= n_matrices; ++i) all.push_back(i * rows * (columns / 2));
    return all;
  }
};

template <class T>
constexpr const char* name_of() {
  return sizeof(T) == 2 ? "bf16" : "fp32";
}

template <class From, class To>
void check_pack(Check& check, const Halves& halves) {
  Figure wanted{.name = "pack",
                .shape = {{"matrices", halves.n_matrices},
                          {"rows", halves.rows},
                          {"columns", halves.columns},
                          {"from", name_of<From>()},
                          {"to", name_of<To>()}},
                .unit = "us"};
  check.figures.measure(wanted, [&](Figure& figure) {
    const auto source = random_numbers<From>(halves.numel(), 1, 7);
    const auto copies = halves.copies();
    const auto first = halves.first();
    std::vector<To> packed(static_cast<size_t>(halves.packed_numel()));
    const DeviceArray<From> gpu_source(source);
    const DeviceArray<StridedCopy> gpu_copies(copies);
    const DeviceArray<int64_t> gpu_first(first);
    const DeviceArray<To> gpu_packed(packed);
    kernels::PackArgs<From, To> args{.source = gpu_source.get(),
                                     .copies = gpu_copies.get(),
                                     .first = gpu_first.get(),
                                     .n_copies = halves.n_matrices,
                                     .numel = halves.packed_numel(),
                                     .packed = gpu_packed.get()};

    figure.value = 1e6 * check.timer.in_graph([&](int64_t, cudaStream_t stream) {
      kernels::pack_cuda(args, stream);
    });

    args.source = source.data();
    args.copies = copies.data();
    args.first = first.data();
    args.packed = packed.data();
    kernels::pack(args);
    figure.roofline = check.roofline_us(halves.packed_numel() * int64_t{sizeof(From) + sizeof(To)});
    figure.compared = {compare(gpu_packed, packed, 0)};
  });
}

/// With `eta` below 1 the destination is read too.
template <class From, class To>
void check_unpack(Check& check, const Halves& halves, double eta) {
  Figure wanted{.name = "unpack",
                .shape = {{"matrices", halves.n_matrices},
                          {"rows", halves.rows},
                          {"columns", halves.columns},
                          {"from", name_of<From>()},
                          {"to", name_of<To>()},
                          {"eta", eta}},
                .unit = "us"};
  check.figures.measure(wanted, [&](Figure& figure) {
    const auto packed = random_numbers<From>(halves.packed_numel(), 1, 8);
    auto destination = random_numbers<To>(halves.numel(), 1, 9);
    const auto copies = halves.copies();
    const auto first = halves.first();
    const DeviceArray<From> gpu_packed(packed);
    const DeviceArray<StridedCopy> gpu_copies(copies);
    const DeviceArray<int64_t> gpu_first(first);
    const DeviceArray<To> original(destination), gpu_destination(destination);
    kernels::UnpackArgs<From, To> args{.packed = gpu_packed.get(),
                                       .copies = gpu_copies.get(),
                                       .first = gpu_first.get(),
                                       .n_copies = halves.n_matrices,
                                       .numel = halves.packed_numel(),
                                       .destination = gpu_destination.get(),
                                       .eta = eta};

    figure.value = 1e6 * check.timer.in_graph([&](int64_t, cudaStream_t stream) {
      kernels::unpack_cuda(args, stream);
    });

    // Mixing goes on from run to run: compared is one run on what was there at first.
    kernels::wait_for_gpu();
    copy_async(gpu_destination.get(), original.get(), original.size_bytes(), nullptr);
    kernels::unpack_cuda(args, nullptr);
    args.packed = packed.data();
    args.copies = copies.data();
    args.first = first.data();
    args.destination = destination.data();
    kernels::unpack(args);
    const int64_t sides = eta < 1 ? 2 : 1;
    figure.roofline = check.roofline_us(halves.packed_numel() *
                                        (int64_t{sizeof(From)} + sides * int64_t{sizeof(To)}));
    figure.compared = {compare(gpu_destination, destination, 0)};
  });
}

}  // namespace

void check_strided_copies(Check& check) {
  // Of Qwen2.5-7B: the width of its MLP is 18,944.
  const Halves halves = check.is_small() ? Halves{2, 5, 14} : Halves{2, 1792, 18'944};
  check_pack<Bf16, Bf16>(check, halves);
  check_pack<float, Bf16>(check, halves);
  check_unpack<Bf16, Bf16>(check, halves, 1);
  check_unpack<Bf16, float>(check, halves, 0.3);
}

void check_gae(Check& check) {
  const int64_t n_sequences = check.is_small() ? 3 : 512, length = check.is_small() ? 200 : 1024;
  check.figures.measure(
      {.name = "gae",
       .shape = {{"sequences", n_sequences}, {"actions_each", length}, {"type", "fp32"}},
       .unit = "us"},
      [&](Figure& figure) {
        const auto rewards = random_numbers<float>(n_sequences * length, 1, 10);
        const auto values = random_numbers<float>(n_sequences * (length + 1), 1, 11);
        std::vector<int32_t> cu_seqlens;
        for (int64_t s = 0; s <= n_sequences; ++s) {
          cu_seqlens.push_back(static_cast<int32_t>(s * length));
        }
        std::vector<char> bootstrap(static_cast<size_t>(n_sequences));
        for (size_t s = 0; s < bootstrap.size(); ++s) bootstrap[s] = s % 2 == 0;
        std::vector<float> advantages(rewards.size()), returns(rewards.size());
        const DeviceArray<float> gpu_rewards(rewards), gpu_values(values);
        const DeviceArray<float> gpu_advantages(advantages), gpu_returns(returns);
        const DeviceArray<int32_t> gpu_cu_seqlens(cu_seqlens);
        const DeviceArray<char> gpu_bootstrap(bootstrap);
        kernels::GaeArgs<float> args{
            .rewards = gpu_rewards.get(),
            .values = gpu_values.get(),
            .cu_seqlens = gpu_cu_seqlens.get(),
            .bootstrap = reinterpret_cast<const bool*>(gpu_bootstrap.get()),
            .advantages = gpu_advantages.get(),
            .returns = gpu_returns.get(),
            .n_sequences = n_sequences,
            .gamma = 0.99,
            .lambda = 0.95};

        figure.value = 1e6 * check.timer.in_graph([&](int64_t, cudaStream_t stream) {
          kernels::gae_cuda(args, stream);
        });

        args.rewards = rewards.data();
        args.values = values.data();
        args.cu_seqlens = cu_seqlens.data();
        args.bootstrap = reinterpret_cast<const bool*>(bootstrap.data());
        args.advantages = advantages.data();
        args.returns = returns.data();
        kernels::gae(args);
        figure.roofline = check.roofline_us(4 * gpu_rewards.size_bytes());
        // Sums of a few dozen numbers in another order.
        figure.compared = {compare(gpu_advantages, advantages, 2e-5),
                           compare(gpu_returns, returns, 2e-5)};
      });
}

}  // namespace orrery::gpu_check
