// Operators that LibTorch has for GPUs alone, on CPUs: what torch_operators.cpp runs when their
// stream gets there. They refuse what LibTorch's refuse (tools/compare_torch_cuda.py asks both).
#include <ATen/ATen.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <optional>
#include <tuple>

#include "torch_matmul.h"

namespace orrery::simulated_gpu {

namespace {

bool is_half(const at::Tensor& x) {
  return x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16;
}

void check_widening(const at::Tensor& a, const at::Tensor& b, at::ScalarType type,
                    const at::Tensor& out) {
  TORCH_CHECK(a.dim() == 2 && b.dim() == 2 && a.size(1) == b.size(0), "matrices that fit");
  TORCH_CHECK(a.scalar_type() == b.scalar_type(), "expected one type of both matrices");
  TORCH_CHECK(type == a.scalar_type() || (is_half(a) && type == at::kFloat),
              "out_dtype must be that of the matrices, or float32 of halves");
  TORCH_CHECK(out.scalar_type() == type, "out has another type than out_dtype");
}

at::Tensor& mm_dtype(const at::Tensor& a, const at::Tensor& b, at::ScalarType type,
                     at::Tensor& out) {
  check_widening(a, b, type, out);
  out.resize_({a.size(0), b.size(1)});
  return out.copy_(multiplied(a.to(type), b.to(type)));
}

at::Tensor& addmm_dtype(const at::Tensor& added, const at::Tensor& a, const at::Tensor& b,
                        at::ScalarType type, const at::Scalar& beta, const at::Scalar& alpha,
                        at::Tensor& out) {
  check_widening(a, b, type, out);
  TORCH_CHECK(added.scalar_type() == type || added.scalar_type() == a.scalar_type(),
              "what is added has out_dtype or that of the matrices");
  const at::Tensor sum = multiplied_onto(added, a.to(type), b.to(type), beta, alpha);
  out.resize_(sum.sizes());
  return out.copy_(sum);
}

/// One sequence's rows of packed [T, heads, D], as [query heads, n, D] in fp32.
at::Tensor heads_of(const at::Tensor& packed, int64_t begin, int64_t end, int64_t n_heads) {
  const at::Tensor own = packed.narrow(0, begin, end - begin).to(at::kFloat).transpose(0, 1);
  return own.repeat_interleave(n_heads / packed.size(1), 0);
}

/// Probabilities [heads, n, n] of one sequence, and the log of their sums [heads, n].
struct Attention {
  at::Tensor probabilities, logsumexp;

  Attention(const at::Tensor& q, const at::Tensor& k, double scale, bool is_causal,
            std::optional<int64_t> left) {
    const int64_t n = q.size(1);
    at::Tensor is_seen = at::ones({n, n}, at::kBool);
    if (is_causal) is_seen = is_seen.tril();
    if (left) is_seen = is_seen.triu(-*left);
    const at::Tensor scores =
        at::matmul(q, k.transpose(1, 2))
            .mul(scale)
            .masked_fill(is_seen.logical_not(), -std::numeric_limits<float>::infinity());
    logsumexp = scores.logsumexp(-1);
    probabilities = (scores - logsumexp.unsqueeze(-1)).exp();
  }
};

void check_flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                 const std::optional<at::Tensor>& begins) {
  for (const at::Tensor& x : {q, k, v}) {
    TORCH_CHECK(is_half(x) && x.scalar_type() == q.scalar_type(),
                "FlashAttention only support fp16 and bf16 data type");
    TORCH_CHECK(x.dim() == 3 && x.stride(-1) == 1, "packed rows with a contiguous last dimension");
    TORCH_CHECK(x.size(2) == q.size(2) && x.size(2) % 8 == 0 && x.size(2) <= 256,
                "head dimensions that are multiples of 8, at most 256");
  }
  TORCH_CHECK(q.size(1) % k.size(1) == 0 && k.sizes() == v.sizes(), "heads that divide");
  TORCH_CHECK(begins && begins->scalar_type() == at::kInt, "int32 begins of sequences");
}

/// Calls work(begin, end) for each sequence.
template <class Work>
void for_each_sequence(const at::Tensor& begins, const Work& work) {
  const auto* const begin = begins.const_data_ptr<int32_t>();
  for (int64_t s = 0; s + 1 < begins.numel(); ++s) {
    if (begin[s] < begin[s + 1]) work(begin[s], begin[s + 1]);
  }
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> flash_forward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const std::optional<at::Tensor>& begins, const std::optional<at::Tensor>&, c10::SymInt,
    c10::SymInt, double, bool is_causal, bool, std::optional<double> scale,
    std::optional<c10::SymInt> left, std::optional<c10::SymInt>, const std::optional<at::Tensor>&,
    const std::optional<at::Tensor>&) {
  check_flash(q, k, v, begins);
  const int64_t n_heads = q.size(1);
  at::Tensor out = at::zeros(q.sizes(), q.options());
  at::Tensor logsumexp = at::zeros({n_heads, q.size(0)}, at::kFloat);
  const double factor = scale.value_or(1 / std::sqrt(static_cast<double>(q.size(2))));
  for_each_sequence(*begins, [&](int64_t begin, int64_t end) {
    const Attention own(heads_of(q, begin, end, n_heads), heads_of(k, begin, end, n_heads), factor,
                        is_causal, left ? std::optional(left->expect_int()) : std::nullopt);
    out.narrow(0, begin, end - begin)
        .copy_(at::matmul(own.probabilities, heads_of(v, begin, end, n_heads)).transpose(0, 1));
    logsumexp.narrow(1, begin, end - begin).copy_(own.logsumexp);
  });
  const at::TensorOptions state = at::TensorOptions(at::kUInt64);
  return {out, logsumexp, at::zeros({2}, state), at::zeros({}, state), at::zeros({0}, q.options())};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> flash_backward(
    const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& logsumexp, const at::Tensor& begins, const at::Tensor&,
    c10::SymInt, c10::SymInt, double, bool is_causal, const at::Tensor&, const at::Tensor&,
    std::optional<double> scale, std::optional<c10::SymInt> left, std::optional<c10::SymInt>) {
  check_flash(q, k, v, begins);
  TORCH_CHECK(logsumexp.scalar_type() == at::kFloat && logsumexp.size(0) == q.size(1) &&
                  logsumexp.numel() == q.size(0) * q.size(1),
              "the log of the sums [heads, T] in fp32");
  const int64_t n_heads = q.size(1), group = n_heads / k.size(1);
  at::Tensor dq = at::zeros(q.sizes(), q.options());
  at::Tensor dk = at::zeros(k.sizes(), q.options()), dv = at::zeros(k.sizes(), q.options());
  const double factor = scale.value_or(1 / std::sqrt(static_cast<double>(q.size(2))));
  for_each_sequence(begins, [&](int64_t begin, int64_t end) {
    const auto of = [&](const at::Tensor& x) { return heads_of(x, begin, end, n_heads); };
    const auto put = [&](at::Tensor& to, const at::Tensor& gradient, int64_t shared) {
      const at::Tensor sum =
          gradient.view({to.size(1), shared, end - begin, to.size(2)}).sum(1).transpose(0, 1);
      to.narrow(0, begin, end - begin).copy_(sum);
    };
    const Attention own(of(q), of(k), factor, is_causal,
                        left ? std::optional(left->expect_int()) : std::nullopt);
    const at::Tensor d = of(dout), p = own.probabilities;
    const at::Tensor delta = (d * of(out)).sum(-1, true);
    const at::Tensor dscores = p * (at::matmul(d, of(v).transpose(1, 2)) - delta) * factor;
    put(dq, at::matmul(dscores, of(k)), 1);
    put(dk, at::matmul(dscores.transpose(1, 2), of(q)), group);
    put(dv, at::matmul(p.transpose(1, 2), d), group);
  });
  return {dq, dk, dv};
}

TORCH_LIBRARY_IMPL(aten, CPU, library) {
  library.impl("mm.dtype_out", &mm_dtype);
  library.impl("addmm.dtype_out", &addmm_dtype);
  library.impl("_flash_attention_forward", &flash_forward);
  library.impl("_flash_attention_backward", &flash_backward);
}

}  // namespace

}  // namespace orrery::simulated_gpu
