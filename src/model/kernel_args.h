// From an operator's tensors to the arguments of its kernel, where CPUs and GPUs take the same.
// Offsets and targets come as pointers beside the tensors, to where these stand: on the host for
// kernels of CPUs, on the GPU for its own. Private to src/model.
#pragma once

#include "dispatch.h"
#include "operators.h"
#include "orrery/kernels/route_rows.h"
#include "orrery/kernels/token_log_probs.h"
#include "orrery/kernels/varlen_attention.h"

namespace orrery::model::operators {

/// But for n_tokens, which only GPUs read.
inline kernels::AttentionShape attention_shape(const AttentionHeads& heads,
                                               const int32_t* cu_seqlens, int64_t n_sequences) {
  return {.cu_seqlens = cu_seqlens,
          .n_sequences = n_sequences,
          .n_heads = heads.n_heads,
          .n_kv_heads = heads.n_kv_heads,
          .head_dim = heads.head_dim,
          .window = heads.window,
          .scale = heads.scale};
}

/// Args that say what is attended to: q and k are the first columns of `qk`, v the last of `qkv`.
template <class Args, class T>
Args with_queries_keys_values(const AttentionHeads& heads, const kernels::AttentionShape& shape,
                              const at::Tensor& qk, const at::Tensor& qkv) {
  Args args;
  args.shape = shape;
  args.q = values<T>(qk);
  args.k = args.q + heads.query_size();
  args.v = values<T>(qkv) + heads.query_size() + heads.kv_size();
  args.q_stride = args.k_stride = qk.size(1);
  args.v_stride = qkv.size(1);
  return args;
}

template <class T>
kernels::VarlenAttentionArgs<T> attention_args(const AttentionHeads& heads,
                                               const kernels::AttentionShape& shape,
                                               const at::Tensor& qk, const at::Tensor& qkv,
                                               at::Tensor& out, const at::Tensor& logsumexp) {
  auto args = with_queries_keys_values<kernels::VarlenAttentionArgs<T>, T>(heads, shape, qk, qkv);
  args.out = mutable_values<T>(out);
  args.out_stride = out.size(1);
  args.logsumexp = mutable_values<typename kernels::VarlenAttentionArgs<T>::Real>(logsumexp);
  return args;
}

/// The gradients of q, k and v go next to each other into `dqkv`.
template <class T>
kernels::VarlenAttentionBackwardArgs<T> attention_backward_args(
    const AttentionHeads& heads, const kernels::AttentionShape& shape, const at::Tensor& qk,
    const at::Tensor& qkv, const at::Tensor& out, const at::Tensor& logsumexp,
    const at::Tensor& dout, at::Tensor& dqkv) {
  auto args =
      with_queries_keys_values<kernels::VarlenAttentionBackwardArgs<T>, T>(heads, shape, qk, qkv);
  T* const dq = mutable_values<T>(dqkv);
  args.out = values<T>(out);
  args.dout = values<T>(dout);
  args.out_stride = out.size(1);
  args.dout_stride = dout.size(1);
  args.logsumexp = values<typename kernels::VarlenAttentionArgs<T>::Real>(logsumexp);
  args.dq = dq;
  args.dk = dq + heads.query_size();
  args.dv = dq + heads.query_size() + heads.kv_size();
  args.dq_stride = dqkv.size(1);
  args.dk_stride = dqkv.size(1);
  args.dv_stride = dqkv.size(1);
  return args;
}

template <class T>
kernels::RouteRowsArgs<T> route_args(at::Tensor& logits, bool normalise, at::Tensor& index,
                                     at::Tensor& weight) {
  return {.logits = mutable_values<T>(logits),
          .index = mutable_values<int64_t>(index),
          .weight = mutable_values<T>(weight),
          .n_rows = logits.size(0),
          .n_experts = logits.size(1),
          .per_token = index.size(1),
          .normalise = normalise};
}

template <class T>
kernels::TokenLogProbsArgs<T> log_prob_args(const at::Tensor& logits, const int64_t* targets,
                                            double inverse_temperature, const TokenLogProbs& out) {
  return {.logits = values<T>(logits),
          .targets = targets,
          .log_probs = mutable_values<T>(out.log_probs),
          .target_logits = mutable_values<T>(out.target_logits),
          .logsumexp = mutable_values<T>(out.logsumexp),
          .entropy = mutable_values<T>(out.entropy),
          .n_rows = logits.size(0),
          .vocab_size = logits.size(1),
          .inverse_temperature = inverse_temperature};
}

/// The gradient takes the place of the logits.
template <class T>
kernels::TokenLogProbsBackwardArgs<T> log_prob_backward_args(
    at::Tensor& logits, const int64_t* targets, double inverse_temperature, const TokenLogProbs& of,
    const at::Tensor& dlog_probs, const at::Tensor& dentropy) {
  return {.logits = mutable_values<T>(logits),
          .targets = targets,
          .logsumexp = values<T>(of.logsumexp),
          .entropy = values<T>(of.entropy),
          .dlog_probs = values<T>(dlog_probs),
          .dentropy = values<T>(dentropy),
          .n_rows = logits.size(0),
          .vocab_size = logits.size(1),
          .inverse_temperature = inverse_temperature};
}

}  // namespace orrery::model::operators
