// The GPU's plain attention and its gradients against the CPU's.
#include "blocks/varlen_attention.h"
#include "gpu_for_test.h"
#include "orrery/base/error.h"

namespace orrery::kernels {
namespace {

struct Case {
  int64_t n_heads, n_kv_heads, head_dim, window;
  std::vector<int32_t> cu_seqlens;
};

/// Fused rows [q | k | v], and the results of both passes.
template <class T>
struct Numbers {
  using Real = typename Arithmetic<T>::Type;
  int64_t tokens, row, q_size, kv_size;
  std::vector<T> qkv, dout, out, dqkv;
  std::vector<Real> logsumexp;

  explicit Numbers(const Case& of)
      : tokens(of.cu_seqlens.back()),
        row((of.n_heads + 2 * of.n_kv_heads) * of.head_dim),
        q_size(of.n_heads * of.head_dim),
        kv_size(of.n_kv_heads * of.head_dim),
        qkv(random_stored<T>(tokens * row, 1)),
        dout(random_stored<T>(tokens * q_size, 2)),
        out(dout),
        dqkv(qkv),
        logsumexp(size_t(tokens * of.n_heads), Real(7)) {}

  AttentionShape shape(const Case& of, const int32_t* cu_seqlens) const {
    return {.cu_seqlens = cu_seqlens,
            .n_sequences = int64_t(of.cu_seqlens.size()) - 1,
            .n_tokens = tokens,
            .n_heads = of.n_heads,
            .n_kv_heads = of.n_kv_heads,
            .head_dim = of.head_dim,
            .window = of.window,
            .scale = 1.5};
  }
  /// With the addresses of the arrays, of the host or a GPU.
  VarlenAttentionArgs<T> forward(const AttentionShape& shape, const T* rows, T* result,
                                 Real* lse) const {
    return {.shape = shape,
            .q = rows,
            .k = rows + q_size,
            .v = rows + q_size + kv_size,
            .q_stride = row,
            .k_stride = row,
            .v_stride = row,
            .out = result,
            .out_stride = q_size,
            .logsumexp = lse};
  }
  VarlenAttentionBackwardArgs<T> backward(const AttentionShape& shape, const T* rows,
                                          const T* result, const T* gradient, const Real* lse,
                                          T* drows) const {
    return {.shape = shape,
            .q = rows,
            .k = rows + q_size,
            .v = rows + q_size + kv_size,
            .q_stride = row,
            .k_stride = row,
            .v_stride = row,
            .out = result,
            .dout = gradient,
            .out_stride = q_size,
            .dout_stride = q_size,
            .logsumexp = lse,
            .dq = drows,
            .dk = drows + q_size,
            .dv = drows + q_size + kv_size,
            .dq_stride = row,
            .dk_stride = row,
            .dv_stride = row};
  }
};

template <class T>
void compare_case(Place place, Case of) {
  Numbers<T> gpu(of);
  Numbers<typename Arithmetic<T>::Type> cpu(of);
  for (size_t i = 0; i < cpu.qkv.size(); ++i) cpu.qkv[i] = Arithmetic<T>::from(gpu.qkv[i]);
  for (size_t i = 0; i < cpu.dout.size(); ++i) cpu.dout[i] = Arithmetic<T>::from(gpu.dout[i]);
  const AttentionShape shape = cpu.shape(of, of.cu_seqlens.data());
  varlen_attention(cpu.forward(shape, cpu.qkv.data(), cpu.out.data(), cpu.logsumexp.data()));
  varlen_attention_backward(cpu.backward(shape, cpu.qkv.data(), cpu.out.data(), cpu.dout.data(),
                                         cpu.logsumexp.data(), cpu.dqkv.data()));

  const VarlenAttentionArgs<T> forward =
      gpu.forward(gpu.shape(of, place.of(of.cu_seqlens)), place.of(gpu.qkv), place.of(gpu.out),
                  place.of(gpu.logsumexp));
  place.run(
      [&] { varlen_attention_cuda(forward, nullptr); },
      [&](const auto& runner) { runner.template run<blocks::VarlenAttentionProgram<T>>(forward); });
  const VarlenAttentionBackwardArgs<T> backward =
      gpu.backward(gpu.shape(of, place.of(of.cu_seqlens)), place.of(gpu.qkv), place.of(gpu.out),
                   place.of(gpu.dout), place.of(gpu.logsumexp), place.of(gpu.dqkv));
  place.run([&] { varlen_attention_backward_cuda(backward, nullptr); },
            [&](const auto& runner) { blocks::varlen_attention_backward(backward, runner); });

  expect_near(as_doubles(gpu.out), as_doubles(cpu.out), stored_bound<T>());
  expect_near(gpu.logsumexp, as_doubles(cpu.logsumexp));
  expect_near(as_doubles(gpu.dqkv), as_doubles(cpu.dqkv), 10 * stored_bound<T>());
}

void compare(const Place& place) {
  const Case cases[] = {
      {2, 2, 5, 0, {0, 1}},   {4, 2, 64, 0, {0, 3, 3, 20}}, {6, 2, 33, 7, {0, 65, 70}},
      {1, 1, 256, 0, {0, 2}}, {3, 1, 8, 1, {0, 4, 130}},    {2, 1, 16, 0, {0}},
  };
  for (const Case& of : cases) {
    SCOPED_TRACE(testing::Message()
                 << of.n_heads << " heads of " << of.head_dim << ", window " << of.window);
    compare_case<float>(place, of);
    compare_case<double>(place, of);
    compare_case<Bf16>(place, of);
  }
}

ORRERY_COMPARE_KERNEL(VarlenAttention, compare)

TEST(VarlenAttentionCuda, RefusesHeadsThatItsThreadsCannotHold) {
  ORRERY_NEEDS_GPU();
  EXPECT_THROW(varlen_attention_cuda<float>({.shape = {.head_dim = 257}}, nullptr), ShapeError);
}

}  // namespace
}  // namespace orrery::kernels
