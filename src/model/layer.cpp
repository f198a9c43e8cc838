#include "layer.h"

#include <ATen/ops/add.h>

#include "experts.h"

namespace orrery::model {
namespace {

/// Where q and k are: normed and rotated in a copy, or in the fused matmul's output.
at::Tensor& queries_and_keys(LayerActivations& act) {
  return act.rotated.defined() ? act.rotated : act.qkv;
}

/// What goes into the matmuls of a branch: own rows of the residual stream, normed where the model
/// does that.
at::Tensor branch_input(const Norm& norm, const at::Tensor& x, LayerScratch& scratch,
                        const at::Tensor& rstd) {
  if (!norm.defined()) return x;
  operators::norm(norm, x, scratch.normed, rstd);
  return scratch.normed;
}

/// A branch's last matmul onto the residual stream: out [R, H] = residual + x W^T, that normed
/// first where the model does that. An undefined `out` is not computed.
void add_branch(const PassInput& pass, const Linear& linear, const Norm& after, const at::Tensor& x,
                const at::Tensor& residual, LayerScratch& scratch, at::Tensor& branch,
                const at::Tensor& rstd, at::Tensor& out) {
  const ParallelRows parallel{pass.rows, scratch.full};
  if (!after.defined()) return apply_row_parallel(linear, parallel, x, residual, out);
  apply_row_parallel(linear, parallel, x, {}, branch);
  operators::norm(after, branch, scratch.normed, rstd);
  if (out.defined()) at::add_out(out, residual, scratch.normed);
}

/// From the normed rows to what goes into the output's matmul.
void attend(const PassInput& pass, const LayerWeights& w, const at::Tensor& own,
            LayerActivations& act, LayerScratch& scratch, PagedCache* cache) {
  const ParallelRows parallel{pass.rows, scratch.full};
  const RopeTable& rope = pass.rope.of(w.rotary);
  if (cache != nullptr && operators::is_for_attend_step(w.head_norms, *cache)) {
    apply_column_parallel(w.qkv.without_bias(), parallel, own, act.qkv);
    operators::attend_step(w.heads, w.head_norms, w.qkv.bias, rope, pass.packed, act.qkv, *cache,
                           act.attention);
    return;
  }
  apply_column_parallel(w.qkv, parallel, own, act.qkv);
  at::Tensor& qk = queries_and_keys(act);
  operators::prepare_qkv(w.heads, w.head_norms, rope, pass.packed, act.qkv, qk, act.head_norm_rstd);
  if (cache != nullptr) {
    operators::attend_cached(w.heads, pass.packed, act.qkv, *cache, act.attention);
  } else {
    operators::attend(w.heads, pass.packed, qk, act.qkv, act.attention, act.logsumexp);
  }
}

void forward_attention(const PassInput& pass, const LayerWeights& w, const at::Tensor& input,
                       LayerActivations& act, LayerScratch& scratch, PagedCache* cache) {
  const at::Tensor own = branch_input(w.input_norm, input, scratch, act.input_rstd);
  attend(pass, w, own, act, scratch, cache);
  add_branch(pass, w.output, w.attention_after_norm, act.attention, input, scratch,
             act.attention_out, act.attention_rstd, act.middle);
}

/// out [R, H] = residual [R, H] + `partial` [T, H] summed over the tensor ranks.
void add_partial(const PassInput& pass, const at::Tensor& partial, const at::Tensor& residual,
                 LayerScratch& scratch, at::Tensor& out) {
  if (pass.rows.tensor == nullptr) {
    at::add_out(out, residual, partial);
    return;
  }
  add_reduced_rows(pass.rows, partial, scratch.full, residual, out);
}

/// The MLP or the experts, from the residual stream onto it.
void forward_mlp(const PassInput& pass, const LayerWeights& w, LayerActivations& act,
                 LayerScratch& scratch, at::Tensor& output) {
  const Architecture& a = pass.architecture;
  const at::Tensor own = branch_input(w.post_attention_norm, act.middle, scratch, act.middle_rstd);
  if (w.has_experts()) {
    const at::Tensor rows = gather_rows(pass.rows, own, scratch.full);
    act.routing = route_rows(a, w.experts, rows);
    if (!output.defined()) return;
    add_partial(pass, forward_experts(a, w.experts, act.routing, rows), act.middle, scratch,
                output);
    return;
  }
  apply_column_parallel(w.mlp.up, {pass.rows, scratch.full}, own, act.up);
  if (!output.defined() && !w.mlp_after_norm.defined()) return;
  operators::activate(a.activation_function, act.up, scratch.gated);
  add_branch(pass, w.mlp.down, w.mlp_after_norm, scratch.gated, act.middle, scratch, act.mlp_out,
             act.mlp_rstd, output);
}

/// The gradient by what a branch adds: that by the sum, back through a norm of the branch if there
/// is one.
at::Tensor branch_gradient(const Norm& after, const at::Tensor& branch, const at::Tensor& rstd,
                           const at::Tensor& gradient, Norm& dafter, BackwardScratch& scratch) {
  if (!after.defined()) return gradient;
  operators::norm_backward(after, branch, rstd, gradient, scratch.dbranch,
                           kernels::Output::kOverwrite, dafter);
  return scratch.dbranch;
}

/// gradient += that by the residual stream, from scratch.dnormed by what went into the branch.
void add_branch_gradient(const Norm& norm, const at::Tensor& x, const at::Tensor& rstd,
                         BackwardScratch& scratch, at::Tensor& gradient, Norm& dnorm) {
  if (!norm.defined()) {
    gradient.add_(scratch.dnormed);
    return;
  }
  operators::norm_backward(norm, x, rstd, scratch.dnormed, gradient, kernels::Output::kAdd, dnorm);
}

/// From the gradient by what the experts give to that by what goes into them, in scratch.dnormed.
void backward_expert_branch(const PassInput& pass, const LayerWeights& w, LayerWeights& dw,
                            LayerActivations& act, BackwardScratch& scratch,
                            const at::Tensor& gradient) {
  LayerScratch& forward = scratch.forward;
  at::Tensor dy = gather_rows(pass.rows, gradient, forward.full);
  if (pass.rows.tensor != nullptr) dy = dy.clone();  // the rows are gathered to the same place
  const at::Tensor own = branch_input(w.post_attention_norm, act.middle, forward, {});
  const at::Tensor rows = gather_rows(pass.rows, own, forward.full);
  // The balance loss is one number of all tensor ranks: the first one counts it.
  const bool counts = pass.rows.tensor == nullptr || pass.rows.tensor->rank() == 0;
  const BalanceLoss balance{counts ? pass.balance : 0, pass.packed.cu_seqlens};
  const at::Tensor drows =
      backward_experts(pass.architecture, w.experts, dw.experts, act.routing, balance, rows, dy);
  if (pass.rows.tensor == nullptr) {
    scratch.dnormed.copy_(drows);
    return;
  }
  add_reduced_rows(pass.rows, drows, forward.full, {}, scratch.dnormed);
}

/// The same of an MLP.
void backward_mlp_branch(const PassInput& pass, const LayerWeights& w, LayerWeights& dw,
                         LayerActivations& act, BackwardScratch& scratch,
                         const at::Tensor& gradient) {
  LayerScratch& forward = scratch.forward;
  const ParallelRows parallel{pass.rows, forward.full};
  const at::Tensor dy =
      row_parallel_backward(w.mlp.down, dw.mlp.down, parallel, gradient, forward.gated);
  operators::activate_backward(pass.architecture.activation_function, act.up, forward.gated);
  const at::Tensor& dup = act.up;
  add_weight_gradient(dw.mlp.down, dy, forward.gated);
  const at::Tensor own = branch_input(w.post_attention_norm, act.middle, forward, {});
  column_parallel_backward(w.mlp.up, dw.mlp.up, parallel, own, dup, scratch.dnormed);
}

void backward_mlp(const PassInput& pass, const LayerWeights& w, LayerWeights& dw,
                  LayerActivations& act, BackwardScratch& scratch, at::Tensor& gradient) {
  const at::Tensor dout = branch_gradient(w.mlp_after_norm, act.mlp_out, act.mlp_rstd, gradient,
                                          dw.mlp_after_norm, scratch);
  if (w.has_experts()) {
    backward_expert_branch(pass, w, dw, act, scratch, dout);
  } else {
    backward_mlp_branch(pass, w, dw, act, scratch, dout);
  }
  add_branch_gradient(w.post_attention_norm, act.middle, act.middle_rstd, scratch, gradient,
                      dw.post_attention_norm);
}

void backward_attention(const PassInput& pass, const LayerWeights& w, LayerWeights& dw,
                        const at::Tensor& input, LayerActivations& act, BackwardScratch& scratch,
                        at::Tensor& gradient) {
  const ParallelRows parallel{pass.rows, scratch.forward.full};
  const at::Tensor dout =
      branch_gradient(w.attention_after_norm, act.attention_out, act.attention_rstd, gradient,
                      dw.attention_after_norm, scratch);
  const at::Tensor dy =
      row_parallel_backward(w.output, dw.output, parallel, dout, scratch.dattention);
  add_weight_gradient(dw.output, dy, act.attention);
  operators::attend_backward(w.heads, pass.packed, queries_and_keys(act), act.qkv, act.attention,
                             act.logsumexp, scratch.dattention, scratch.dqkv);
  operators::prepare_qkv_backward(w.heads, w.head_norms, pass.rope.of(w.rotary), pass.packed,
                                  act.qkv, act.head_norm_rstd, scratch.dqkv, dw.head_norms);
  const at::Tensor own = branch_input(w.input_norm, input, scratch.forward, {});
  column_parallel_backward(w.qkv, dw.qkv, parallel, own, scratch.dqkv, scratch.dnormed);
  add_branch_gradient(w.input_norm, input, act.input_rstd, scratch, gradient, dw.input_norm);
}

/// Columns of the matrices whose width depends on the model.
int64_t up_columns(const Architecture& a) { return a.has_dense_layers() ? a.up_size() : 0; }
int64_t gated_columns(const Architecture& a) {
  return a.has_dense_layers() ? a.intermediate_size : 0;
}
int64_t head_norm_columns(const Architecture& a) {
  return a.qk_norm_whole ? 2 : a.n_heads + a.n_kv_heads;
}

}  // namespace

int64_t LayerActivations::size_of(const Architecture& a, const PassRows& rows,
                                  at::ScalarType dtype) {
  const int64_t n_tokens = rows.n_tokens;
  const auto of_sums = [&](int64_t n_rows, int64_t columns) {
    return Arena::size_of_sums(n_rows, columns, dtype);
  };
  int64_t total = Arena::size_of(n_tokens, a.qkv_size()) +
                  Arena::size_of(n_tokens, a.query_size()) + of_sums(n_tokens, a.n_heads) +
                  Arena::size_of(rows.n_own, a.hidden_size) +
                  Arena::size_of(n_tokens, up_columns(a));
  if (a.qk_norm) {
    total += Arena::size_of(n_tokens, a.query_size() + a.kv_size()) +
             of_sums(n_tokens, head_norm_columns(a));
  }
  if (a.has_norms_before()) total += 2 * of_sums(rows.n_own, 1);
  if (a.has_norms_after()) {
    total += 2 * (Arena::size_of(rows.n_own, a.hidden_size) + of_sums(rows.n_own, 1));
  }
  return total;
}

LayerActivations LayerActivations::from(Arena& slab, const Architecture& a, const PassRows& rows) {
  const int64_t n_tokens = rows.n_tokens;
  LayerActivations act = unkept(slab, a, rows);
  act.logsumexp = slab.sums(n_tokens, a.n_heads);
  if (a.qk_norm) {
    act.rotated = slab.matrix(n_tokens, a.query_size() + a.kv_size());
    act.head_norm_rstd = slab.sums(n_tokens, head_norm_columns(a));
  }
  if (a.has_norms_before()) {
    act.input_rstd = slab.sums(rows.n_own, 1);
    act.middle_rstd = slab.sums(rows.n_own, 1);
  }
  if (a.has_norms_after()) {
    act.attention_rstd = slab.sums(rows.n_own, 1);
    act.mlp_rstd = slab.sums(rows.n_own, 1);
  }
  return act;
}

LayerActivations LayerActivations::unkept(Arena& slab, const Architecture& a,
                                          const PassRows& rows) {
  LayerActivations act;
  act.qkv = slab.matrix(rows.n_tokens, a.qkv_size());
  act.attention = slab.matrix(rows.n_tokens, a.query_size());
  act.middle = slab.matrix(rows.n_own, a.hidden_size);
  act.up = slab.matrix(rows.n_tokens, up_columns(a));
  if (a.has_norms_after()) {
    act.attention_out = slab.matrix(rows.n_own, a.hidden_size);
    act.mlp_out = slab.matrix(rows.n_own, a.hidden_size);
  }
  return act;
}

int64_t LayerScratch::size_of(const Architecture& a, const PassRows& rows) {
  return Arena::size_of(rows.n_own, a.hidden_size) +
         Arena::size_of(rows.n_tokens, gated_columns(a)) +
         Arena::size_of(rows.n_gathered, a.hidden_size);
}

LayerScratch LayerScratch::from(Arena& slab, const Architecture& a, const PassRows& rows) {
  LayerScratch scratch;
  scratch.normed = slab.matrix(rows.n_own, a.hidden_size);
  scratch.gated = slab.matrix(rows.n_tokens, gated_columns(a));
  scratch.full = slab.matrix(rows.n_gathered, a.hidden_size);
  return scratch;
}

int64_t BackwardScratch::size_of(const Architecture& a, const PassRows& rows) {
  return LayerScratch::size_of(a, rows) + Arena::size_of(rows.n_tokens, a.qkv_size()) +
         Arena::size_of(rows.n_tokens, a.query_size()) +
         (a.has_norms_after() ? 2 : 1) * Arena::size_of(rows.n_own, a.hidden_size);
}

BackwardScratch BackwardScratch::from(Arena& slab, const Architecture& a, const PassRows& rows) {
  BackwardScratch scratch;
  scratch.forward = LayerScratch::from(slab, a, rows);
  scratch.dqkv = slab.matrix(rows.n_tokens, a.qkv_size());
  scratch.dattention = slab.matrix(rows.n_tokens, a.query_size());
  scratch.dnormed = slab.matrix(rows.n_own, a.hidden_size);
  if (a.has_norms_after()) scratch.dbranch = slab.matrix(rows.n_own, a.hidden_size);
  return scratch;
}

void forward_layer(const PassInput& pass, const LayerWeights& weights, const at::Tensor& input,
                   LayerActivations& activations, LayerScratch& scratch, at::Tensor output,
                   PagedCache* cache) {
  forward_attention(pass, weights, input, activations, scratch, cache);
  forward_mlp(pass, weights, activations, scratch, output);
}

void backward_layer(const PassInput& pass, const LayerWeights& weights, LayerWeights& dweights,
                    const at::Tensor& input, LayerActivations& activations,
                    BackwardScratch& scratch, at::Tensor& gradient) {
  backward_mlp(pass, weights, dweights, activations, scratch, gradient);
  backward_attention(pass, weights, dweights, input, activations, scratch, gradient);
}

}  // namespace orrery::model
