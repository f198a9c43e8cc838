#include "layer.h"

#include <ATen/ops/add.h>

#include <string>

#include "activation_function.h"
#include "dispatch.h"
#include "matmul.h"
#include "orrery/base/text.h"
#include "orrery/kernels/rms_norm.h"
#include "orrery/kernels/rope.h"
#include "orrery/kernels/varlen_attention.h"
#include "row_norm.h"
#include "whole_norm.h"

namespace orrery::model {
namespace {

/// `rows` x `columns` of the flat buffer, from the parameter `name` on.
at::Tensor fused_view(const ParameterTable& table, const at::Tensor& flat, const std::string& name,
                      int64_t rows, int64_t columns) {
  return flat.narrow(0, table.find(name)->offset, rows * columns).view({rows, columns});
}

at::Tensor vector_view(const ParameterTable& table, const at::Tensor& flat, const std::string& name,
                       int64_t size) {
  return flat.narrow(0, table.find(name)->offset, size);
}

kernels::AttentionShape attention_shape(const PassInput& pass, int64_t window) {
  const Architecture& a = pass.architecture;
  return {.cu_seqlens = pass.cu_seqlens.data(),
          .n_sequences = static_cast<int64_t>(pass.cu_seqlens.size()) - 1,
          .n_heads = a.n_heads,
          .n_kv_heads = a.n_kv_heads,
          .head_dim = a.head_dim,
          .window = window,
          .scale = a.score_scale()};
}

/// Null for an undefined tensor.
template <class T>
const T* values_of(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}

template <class T>
T* mutable_values_of(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.data_ptr<T>() : nullptr;
}

template <class T>
void norm(const PassInput& pass, const at::Tensor& x, const at::Tensor& weight,
          const at::Tensor& bias, at::Tensor& y, T* rstd) {
  norm_rows<T>({.kind = pass.architecture.norm,
                .x = x.const_data_ptr<T>(),
                .weight = weight.const_data_ptr<T>(),
                .bias = values_of<T>(bias),
                .y = y.data_ptr<T>(),
                .rstd = rstd,
                .n_rows = pass.rows.n_own,
                .width = pass.architecture.hidden_size,
                .eps = pass.architecture.norm_eps});
}

/// The gradient that flows back through a norm of `x`, added to `dx` or written there.
template <class T>
void norm_backward(const PassInput& pass, const at::Tensor& x, const at::Tensor& weight,
                   const at::Tensor& rstd, const at::Tensor& dy, at::Tensor& dx,
                   at::Tensor& dweight, const at::Tensor& dbias,
                   kernels::Output output = kernels::Output::kAdd) {
  norm_rows_backward<T>({.kind = pass.architecture.norm,
                         .x = x.const_data_ptr<T>(),
                         .weight = weight.const_data_ptr<T>(),
                         .rstd = rstd.const_data_ptr<T>(),
                         .dy = dy.const_data_ptr<T>(),
                         .dx = dx.data_ptr<T>(),
                         .dweight = dweight.data_ptr<T>(),
                         .dbias = mutable_values_of<T>(dbias),
                         .n_rows = pass.rows.n_own,
                         .width = pass.architecture.hidden_size,
                         .dx_output = output});
}

template <class T>
void rotate(const PassInput& pass, Rotary rotary, T* x, int64_t stride,
            kernels::Rotation rotation) {
  const Architecture& a = pass.architecture;
  if (rotary == Rotary::kNone) return;
  const bool is_local = rotary == Rotary::kLocal;
  const at::Tensor& cosines = is_local ? pass.rope.local_cosines : pass.rope.cosines;
  const at::Tensor& sines = is_local ? pass.rope.local_sines : pass.rope.sines;
  kernels::rope<T>({.x = x,
                    .positions = pass.positions.data(),
                    .cosines = cosines.const_data_ptr<T>(),
                    .sines = sines.const_data_ptr<T>(),
                    .n_tokens = pass.n_tokens(),
                    .n_heads = a.n_heads + a.n_kv_heads,
                    .head_dim = a.head_dim,
                    .x_stride = stride,
                    .rotation = rotation});
}

/// Where q and k are read from: the fused matmul, or the normed copy.
template <class T>
struct QueriesAndKeys {
  T* q;
  T* k;
  int64_t stride;
};

template <class T>
QueriesAndKeys<T> queries_and_keys(const Architecture& a, const LayerActivations& activations) {
  const bool copied = a.qk_norm;
  T* q = (copied ? activations.rotated : activations.qkv).template data_ptr<T>();
  return {q, q + a.query_size(), copied ? a.query_size() + a.kv_size() : a.qkv_size()};
}

/// One norm over the heads of q or of k.
template <class T>
void norm_heads(const PassInput& pass, const at::Tensor& weight, int64_t first_head,
                int64_t n_heads, LayerActivations& activations) {
  const Architecture& a = pass.architecture;
  const int64_t all_heads = a.n_heads + a.n_kv_heads;
  // The kernel writes rstd rows of n_groups; q and k have rows of their own in qk_rstd.
  T* rstd = activations.qk_rstd.data_ptr<T>() + first_head * pass.n_tokens();
  const NormScale<T> scale(a.norm, weight.const_data_ptr<T>(), a.head_dim);
  kernels::rms_norm<T>({.x = activations.qkv.const_data_ptr<T>() + first_head * a.head_dim,
                        .weight = scale.data(),
                        .y = activations.rotated.data_ptr<T>() + first_head * a.head_dim,
                        .rstd = rstd,
                        .n_tokens = pass.n_tokens(),
                        .n_groups = n_heads,
                        .width = a.head_dim,
                        .x_stride = a.qkv_size(),
                        .y_stride = all_heads * a.head_dim,
                        .eps = a.norm_eps});
}

template <class T>
void norm_heads_backward(const PassInput& pass, const at::Tensor& weight, at::Tensor& dweight,
                         int64_t first_head, int64_t n_heads, const LayerActivations& activations,
                         at::Tensor& dqkv) {
  const Architecture& a = pass.architecture;
  T* gradient = dqkv.data_ptr<T>() + first_head * a.head_dim;
  const T* rstd = activations.qk_rstd.const_data_ptr<T>() + first_head * pass.n_tokens();
  const NormScale<T> scale(a.norm, weight.const_data_ptr<T>(), a.head_dim);
  kernels::rms_norm_backward<T>({.x = activations.qkv.const_data_ptr<T>() + first_head * a.head_dim,
                                 .weight = scale.data(),
                                 .rstd = rstd,
                                 .dy = gradient,
                                 .dx = gradient,
                                 .dweight = dweight.data_ptr<T>(),
                                 .n_tokens = pass.n_tokens(),
                                 .n_groups = n_heads,
                                 .width = a.head_dim,
                                 .x_stride = a.qkv_size(),
                                 .dy_stride = a.qkv_size(),
                                 .dx_stride = a.qkv_size(),
                                 .dx_output = kernels::Output::kOverwrite});
}

/// The norms of q and k, from the fused matmul to the copy.
template <class T>
void norm_queries_and_keys(const PassInput& pass, const LayerWeights& w, LayerActivations& act) {
  const Architecture& a = pass.architecture;
  if (!a.qk_norm_whole) {
    norm_heads<T>(pass, w.q_norm, 0, a.n_heads, act);
    norm_heads<T>(pass, w.k_norm, a.n_heads, a.n_kv_heads, act);
    return;
  }
  norm_whole<T>({.kind = a.norm,
                 .x = act.qkv.const_data_ptr<T>(),
                 .x_stride = a.qkv_size(),
                 .q_weight = w.q_norm.const_data_ptr<T>(),
                 .k_weight = w.k_norm.const_data_ptr<T>(),
                 .y = act.rotated.data_ptr<T>(),
                 .y_stride = a.query_size() + a.kv_size(),
                 .rstd = act.qk_rstd.data_ptr<T>(),
                 .n_tokens = pass.n_tokens(),
                 .q_width = a.query_size(),
                 .k_width = a.kv_size(),
                 .eps = a.norm_eps,
                 .ranks = {pass.rows.tensor, pass.kv_copies}});
}

template <class T>
void norm_queries_and_keys_backward(const PassInput& pass, const LayerWeights& w, LayerWeights& dw,
                                    const LayerActivations& act, at::Tensor& dqkv) {
  const Architecture& a = pass.architecture;
  if (!a.qk_norm_whole) {
    norm_heads_backward<T>(pass, w.q_norm, dw.q_norm, 0, a.n_heads, act, dqkv);
    norm_heads_backward<T>(pass, w.k_norm, dw.k_norm, a.n_heads, a.n_kv_heads, act, dqkv);
    return;
  }
  norm_whole_backward<T>({.kind = a.norm,
                          .x = act.qkv.const_data_ptr<T>(),
                          .x_stride = a.qkv_size(),
                          .q_weight = w.q_norm.const_data_ptr<T>(),
                          .k_weight = w.k_norm.const_data_ptr<T>(),
                          .rstd = act.qk_rstd.const_data_ptr<T>(),
                          .gradient = dqkv.data_ptr<T>(),
                          .gradient_stride = a.qkv_size(),
                          .dq_weight = dw.q_norm.data_ptr<T>(),
                          .dk_weight = dw.k_norm.data_ptr<T>(),
                          .n_tokens = pass.n_tokens(),
                          .q_width = a.query_size(),
                          .k_width = a.kv_size(),
                          .ranks = {pass.rows.tensor, pass.kv_copies}});
}

/// rows [T, n] += bias [n].
template <class T>
void add_bias(at::Tensor& rows, const at::Tensor& bias) {
  const int64_t n = rows.size(1);
  const T* b = bias.const_data_ptr<T>();
  T* row = rows.data_ptr<T>();
  for (int64_t t = 0; t < rows.size(0); ++t, row += n) {
    for (int64_t i = 0; i < n; ++i) row[i] += b[i];
  }
}

/// dbias [n] += column sums of rows [T, n].
template <class T>
void add_column_sums(const at::Tensor& rows, at::Tensor& dbias) {
  const int64_t n = rows.size(1);
  const T* row = rows.const_data_ptr<T>();
  T* sums = dbias.data_ptr<T>();
  for (int64_t t = 0; t < rows.size(0); ++t, row += n) {
    for (int64_t i = 0; i < n; ++i) sums[i] += row[i];
  }
}

template <class T>
void attend(const PassInput& pass, int64_t window, LayerActivations& activations) {
  const Architecture& a = pass.architecture;
  const QueriesAndKeys<T> qk = queries_and_keys<T>(a, activations);
  kernels::varlen_attention<T>(
      {.shape = attention_shape(pass, window),
       .q = qk.q,
       .k = qk.k,
       .v = activations.qkv.const_data_ptr<T>() + a.query_size() + a.kv_size(),
       .q_stride = qk.stride,
       .k_stride = qk.stride,
       .v_stride = a.qkv_size(),
       .out = activations.attention.data_ptr<T>(),
       .out_stride = a.query_size(),
       .logsumexp = activations.logsumexp.data_ptr<T>()});
}

template <class T>
void attend_backward(const PassInput& pass, int64_t window, const LayerActivations& activations,
                     LayerScratch& scratch) {
  const Architecture& a = pass.architecture;
  const QueriesAndKeys<T> qk = queries_and_keys<T>(a, activations);
  T* dq = scratch.dqkv.data_ptr<T>();
  kernels::varlen_attention_backward<T>(
      {.shape = attention_shape(pass, window),
       .q = qk.q,
       .k = qk.k,
       .v = activations.qkv.const_data_ptr<T>() + a.query_size() + a.kv_size(),
       .q_stride = qk.stride,
       .k_stride = qk.stride,
       .v_stride = a.qkv_size(),
       .out = activations.attention.const_data_ptr<T>(),
       .dout = scratch.dattention.const_data_ptr<T>(),
       .out_stride = a.query_size(),
       .dout_stride = a.query_size(),
       .logsumexp = activations.logsumexp.const_data_ptr<T>(),
       .dq = dq,
       .dk = dq + a.query_size(),
       .dv = dq + a.query_size() + a.kv_size(),
       .dq_stride = a.qkv_size(),
       .dk_stride = a.qkv_size(),
       .dv_stride = a.qkv_size()});
}

/// out [R, H] = residual [R, H] + x [T, n] weight^T [n, H], summed over the tensor ranks.
void add_matmul(const PassInput& pass, at::Tensor out, const at::Tensor& residual,
                const at::Tensor& x, const at::Tensor& weight, LayerScratch& scratch) {
  if (pass.rows.tensor == nullptr) {
    out.copy_(residual);
    multiply_onto(out, x, weight.t());
    return;
  }
  at::Tensor partial = scratch.full.narrow(0, 0, pass.n_tokens());
  multiply_into(partial, x, weight.t());
  reduce_rows(pass.rows, scratch.full, out);
  out.add_(residual);
}

/// out [R, H] = x [T, n] weight^T [n, H], summed over the tensor ranks.
void branch_matmul(const PassInput& pass, at::Tensor out, const at::Tensor& x,
                   const at::Tensor& weight, LayerScratch& scratch) {
  if (pass.rows.tensor == nullptr) {
    multiply_into(out, x, weight.t());
    return;
  }
  at::Tensor partial = scratch.full.narrow(0, 0, pass.n_tokens());
  multiply_into(partial, x, weight.t());
  reduce_rows(pass.rows, scratch.full, out);
}

/// What goes into the matmuls of a branch: own rows of the residual stream, normed where the model
/// does that. rstd null: not wanted.
template <class T>
at::Tensor branch_input(const PassInput& pass, const at::Tensor& x, const at::Tensor& weight,
                        const at::Tensor& bias, LayerScratch& scratch, const at::Tensor& rstd) {
  if (!weight.defined()) return x;
  norm<T>(pass, x, weight, bias, scratch.normed, mutable_values_of<T>(rstd));
  return scratch.normed;
}

/// The gradient by what a branch adds: that by the sum, back through a norm of the branch if there
/// is one.
template <class T>
at::Tensor branch_gradient(const PassInput& pass, const at::Tensor& out, const at::Tensor& weight,
                           const at::Tensor& rstd, const at::Tensor& gradient, at::Tensor& dweight,
                           LayerScratch& scratch) {
  if (!weight.defined()) return gradient;
  norm_backward<T>(pass, out, weight, rstd, gradient, scratch.dbranch, dweight, {},
                   kernels::Output::kOverwrite);
  return scratch.dbranch;
}

/// Gradient [R, H] by the input of a matmul: dy [T, n] weight [n, H], summed over the tensor
/// ranks.
void input_gradient(const PassInput& pass, const at::Tensor& dy, const at::Tensor& weight,
                    LayerScratch& scratch) {
  at::Tensor partial =
      pass.rows.tensor == nullptr ? scratch.dnormed : scratch.full.narrow(0, 0, pass.n_tokens());
  multiply_into(partial, dy, weight);
  if (pass.rows.tensor != nullptr) reduce_rows(pass.rows, scratch.full, scratch.dnormed);
}

/// out [R, H] = residual [R, H] + `partial` [T, H] summed over the tensor ranks.
void add_partial(const PassInput& pass, at::Tensor out, const at::Tensor& residual,
                 const at::Tensor& partial, LayerScratch& scratch) {
  if (pass.rows.tensor == nullptr) {
    at::add_out(out, residual, partial);
    return;
  }
  scratch.full.narrow(0, 0, pass.n_tokens()).copy_(partial);
  reduce_rows(pass.rows, scratch.full, out);
  out.add_(residual);
}

ActivationShape activation_shape(const PassInput& pass) {
  const Architecture& a = pass.architecture;
  return {.function = a.activation_function,
          .is_gated = a.gated_mlp,
          .n_rows = pass.n_tokens(),
          .width = a.intermediate_size};
}

/// The MLP or the experts, from the residual stream onto it.
template <class T>
void forward_mlp(const PassInput& pass, const LayerWeights& w, LayerActivations& act,
                 LayerScratch& scratch, at::Tensor& output) {
  const at::Tensor own = branch_input<T>(pass, act.middle, w.post_attention_norm,
                                         w.post_attention_norm_bias, scratch, act.middle_rstd);
  const at::Tensor rows = gather_rows(pass.rows, own, scratch.full);
  if (w.has_experts()) {
    act.routing = route_rows(pass.architecture, w.experts, rows);
    if (!output.defined()) return;
    add_partial(pass, output, act.middle,
                forward_experts(pass.architecture, w.experts, act.routing, rows), scratch);
    return;
  }
  multiply_into(act.up, rows, w.mlp.up.t());
  if (w.mlp.up_bias.defined()) add_bias<T>(act.up, w.mlp.up_bias);
  const bool has_norm_after = w.mlp_after_norm.defined();
  if (!output.defined() && !has_norm_after) return;
  apply_activation<T>(activation_shape(pass), act.up.const_data_ptr<T>(),
                      scratch.gated.data_ptr<T>());
  if (!has_norm_after) {
    add_matmul(pass, output, act.middle, scratch.gated, w.mlp.down, scratch);
    if (w.mlp.down_bias.defined()) add_bias<T>(output, w.mlp.down_bias);
    return;
  }
  branch_matmul(pass, act.mlp_out, scratch.gated, w.mlp.down, scratch);
  if (w.mlp.down_bias.defined()) add_bias<T>(act.mlp_out, w.mlp.down_bias);
  norm<T>(pass, act.mlp_out, w.mlp_after_norm, {}, scratch.normed, act.mlp_rstd.data_ptr<T>());
  if (output.defined()) at::add_out(output, act.middle, scratch.normed);
}

/// From the gradient by what the MLP or the experts give to that by what goes into them, in
/// scratch.dnormed.
template <class T>
void backward_mlp(const PassInput& pass, const LayerWeights& w, LayerWeights& dw,
                  LayerActivations& act, LayerScratch& scratch, const at::Tensor& gradient) {
  at::Tensor dy = gather_rows(pass.rows, gradient, scratch.full);
  const auto own = [&] {
    return branch_input<T>(pass, act.middle, w.post_attention_norm, w.post_attention_norm_bias,
                           scratch, {});
  };
  if (w.has_experts()) {
    if (pass.rows.tensor != nullptr) dy = dy.clone();  // the rows are gathered to the same place
    const at::Tensor rows = gather_rows(pass.rows, own(), scratch.full);
    // The balance loss is one number of all tensor ranks: the first one counts it.
    const bool counts = pass.rows.tensor == nullptr || pass.rows.tensor->rank() == 0;
    const Balance balance{counts ? pass.balance : 0, pass.cu_seqlens};
    const at::Tensor drows =
        backward_experts(pass.architecture, w.experts, dw.experts, act.routing, balance, rows, dy);
    if (pass.rows.tensor == nullptr) {
      scratch.dnormed.copy_(drows);
    } else {
      scratch.full.narrow(0, 0, pass.n_tokens()).copy_(drows);
      reduce_rows(pass.rows, scratch.full, scratch.dnormed);
    }
    return;
  }
  if (w.mlp.down_bias.defined()) add_column_sums<T>(gradient, dw.mlp.down_bias);
  multiply_into(scratch.gated, dy, w.mlp.down);
  apply_hidden_backward<T>(activation_shape(pass), act.up.const_data_ptr<T>(),
                           scratch.gated.const_data_ptr<T>(), act.up.data_ptr<T>(),
                           scratch.gated.data_ptr<T>());
  const at::Tensor& dup = act.up;
  multiply_onto(dw.mlp.down, dy.t(), scratch.gated);
  if (w.mlp.up_bias.defined()) add_column_sums<T>(dup, dw.mlp.up_bias);
  multiply_onto(dw.mlp.up, dup.t(), gather_rows(pass.rows, own(), scratch.full));
  input_gradient(pass, dup, w.mlp.up, scratch);
}

/// gradient += that by the residual stream, from scratch.dnormed by what went into the branch.
template <class T>
void add_branch_gradient(const PassInput& pass, const at::Tensor& x, const at::Tensor& weight,
                         const at::Tensor& rstd, LayerScratch& scratch, at::Tensor& gradient,
                         at::Tensor& dweight, const at::Tensor& dbias) {
  if (!weight.defined()) {
    gradient.add_(scratch.dnormed);
    return;
  }
  norm_backward<T>(pass, x, weight, rstd, scratch.dnormed, gradient, dweight, dbias);
}

/// The output matmul of attention onto the residual stream.
template <class T>
void add_attention(const PassInput& pass, const LayerWeights& w, const at::Tensor& input,
                   LayerActivations& act, LayerScratch& scratch) {
  if (!w.attention_after_norm.defined()) {
    add_matmul(pass, act.middle, input, act.attention, w.output, scratch);
    // On own rows, after the sum over the tensor ranks: counted once.
    if (w.output_bias.defined()) add_bias<T>(act.middle, w.output_bias);
    return;
  }
  branch_matmul(pass, act.attention_out, act.attention, w.output, scratch);
  if (w.output_bias.defined()) add_bias<T>(act.attention_out, w.output_bias);
  norm<T>(pass, act.attention_out, w.attention_after_norm, {}, scratch.normed,
          act.attention_rstd.data_ptr<T>());
  at::add_out(act.middle, input, scratch.normed);
}

template <class T>
void forward(const PassInput& pass, const LayerWeights& w, const at::Tensor& input,
             LayerActivations& act, LayerScratch& scratch, at::Tensor& output) {
  const Architecture& a = pass.architecture;
  const at::Tensor own =
      branch_input<T>(pass, input, w.input_norm, w.input_norm_bias, scratch, act.input_rstd);
  multiply_into(act.qkv, gather_rows(pass.rows, own, scratch.full), w.qkv.t());
  if (a.qkv_bias) add_bias<T>(act.qkv, w.qkv_bias);
  if (a.qk_norm) norm_queries_and_keys<T>(pass, w, act);
  const QueriesAndKeys<T> qk = queries_and_keys<T>(a, act);
  rotate<T>(pass, w.rotary, qk.q, qk.stride, kernels::Rotation::kForward);
  attend<T>(pass, w.window, act);
  add_attention<T>(pass, w, input, act, scratch);
  forward_mlp<T>(pass, w, act, scratch, output);
}

template <class T>
void backward(const PassInput& pass, const LayerWeights& w, LayerWeights& dw,
              const at::Tensor& input, LayerActivations& act, LayerScratch& scratch,
              at::Tensor& gradient) {
  const Architecture& a = pass.architecture;
  backward_mlp<T>(pass, w, dw, act, scratch,
                  branch_gradient<T>(pass, act.mlp_out, w.mlp_after_norm, act.mlp_rstd, gradient,
                                     dw.mlp_after_norm, scratch));
  add_branch_gradient<T>(pass, act.middle, w.post_attention_norm, act.middle_rstd, scratch,
                         gradient, dw.post_attention_norm, dw.post_attention_norm_bias);

  const at::Tensor dattention =
      branch_gradient<T>(pass, act.attention_out, w.attention_after_norm, act.attention_rstd,
                         gradient, dw.attention_after_norm, scratch);
  if (a.output_bias) add_column_sums<T>(dattention, dw.output_bias);
  const at::Tensor dmiddle = gather_rows(pass.rows, dattention, scratch.full);
  multiply_into(scratch.dattention, dmiddle, w.output);
  multiply_onto(dw.output, dmiddle.t(), act.attention);
  attend_backward<T>(pass, w.window, act, scratch);
  rotate<T>(pass, w.rotary, scratch.dqkv.data_ptr<T>(), a.qkv_size(), kernels::Rotation::kBackward);
  if (a.qk_norm) norm_queries_and_keys_backward<T>(pass, w, dw, act, scratch.dqkv);
  if (a.qkv_bias) add_column_sums<T>(scratch.dqkv, dw.qkv_bias);
  const at::Tensor own = branch_input<T>(pass, input, w.input_norm, w.input_norm_bias, scratch, {});
  multiply_onto(dw.qkv, scratch.dqkv.t(), gather_rows(pass.rows, own, scratch.full));
  input_gradient(pass, scratch.dqkv, w.qkv, scratch);
  add_branch_gradient<T>(pass, input, w.input_norm, act.input_rstd, scratch, gradient,
                         dw.input_norm, dw.input_norm_bias);
}

/// The MLP under `prefix`, with `up_rows` rows in its first matmul.
MlpWeights mlp_weights(const Architecture& a, const ParameterTable& table, const at::Tensor& flat,
                       const std::string& prefix, int64_t width, bool has_bias) {
  const int64_t up_rows = (a.gated_mlp ? 2 : 1) * width;
  const std::string first = prefix + (a.gated_mlp ? "gate_proj" : "up_proj");
  MlpWeights w;
  w.up = fused_view(table, flat, first + ".weight", up_rows, a.hidden_size);
  w.down = fused_view(table, flat, prefix + "down_proj.weight", a.hidden_size, width);
  if (has_bias) {
    w.up_bias = vector_view(table, flat, first + ".bias", up_rows);
    w.down_bias = vector_view(table, flat, prefix + "down_proj.bias", a.hidden_size);
  }
  return w;
}

ExpertWeights expert_weights(const Architecture& a, const ParameterTable& table,
                             const at::Tensor& flat, const std::string& prefix) {
  ExpertWeights w;
  const int64_t h = a.hidden_size;
  w.router = fused_view(table, flat, prefix + "gate.weight", a.experts.count, h);
  for (int64_t e = 0; e < a.experts.count; ++e) {
    const std::string expert = base::concat(prefix, "experts.", e, ".");
    if (table.find(expert + "up_proj.weight") == nullptr) continue;  // another tensor rank's
    if (w.own.empty()) w.first = e;
    w.own.push_back(mlp_weights(a, table, flat, expert, a.experts.intermediate_size, false));
  }
  if (a.experts.shared_intermediate_size > 0) {
    w.shared = mlp_weights(a, table, flat, prefix + "shared_expert.",
                           a.experts.shared_intermediate_size, false);
    w.shared_gate = fused_view(table, flat, prefix + "shared_expert_gate.weight", 1, h);
  }
  return w;
}

}  // namespace

LayerWeights layer_weights(const Architecture& a, const ParameterTable& table,
                           const at::Tensor& flat, int64_t block) {
  const std::string prefix = base::concat("model.layers.", block, ".");
  const int64_t h = a.hidden_size;
  LayerWeights w;
  w.window = a.window_of(block);
  w.rotary = a.rotary_of(block);
  const auto norm_view = [&](const char* name) {
    return vector_view(table, flat, base::concat(prefix, name, ".weight"), h);
  };
  if (a.has_norms_before()) w.input_norm = norm_view("input_layernorm");
  if (a.has_norms_after()) {
    w.attention_after_norm = norm_view("post_attention_layernorm");
    w.mlp_after_norm = norm_view("post_feedforward_layernorm");
  }
  if (a.has_norms_before()) {
    w.post_attention_norm =
        norm_view(a.has_norms_after() ? "pre_feedforward_layernorm" : "post_attention_layernorm");
  }
  if (a.norm == NormKind::kLayer) {
    w.input_norm_bias = vector_view(table, flat, prefix + "input_layernorm.bias", h);
    w.post_attention_norm_bias =
        vector_view(table, flat, prefix + "post_attention_layernorm.bias", h);
  }
  w.qkv = fused_view(table, flat, prefix + "self_attn.q_proj.weight", a.qkv_size(), h);
  if (a.qkv_bias) {
    w.qkv_bias = vector_view(table, flat, prefix + "self_attn.q_proj.bias", a.qkv_size());
  }
  if (a.qk_norm) {
    const int64_t q_width = a.qk_norm_whole ? a.query_size() : a.head_dim;
    const int64_t k_width = a.qk_norm_whole ? a.kv_size() : a.head_dim;
    w.q_norm = vector_view(table, flat, prefix + "self_attn.q_norm.weight", q_width);
    w.k_norm = vector_view(table, flat, prefix + "self_attn.k_norm.weight", k_width);
  }
  w.output = fused_view(table, flat, prefix + "self_attn.o_proj.weight", h, a.query_size());
  if (a.output_bias) w.output_bias = vector_view(table, flat, prefix + "self_attn.o_proj.bias", h);
  if (a.has_experts(block)) {
    w.experts = expert_weights(a, table, flat, prefix + "mlp.");
  } else {
    w.mlp = mlp_weights(a, table, flat, prefix + "mlp.", a.intermediate_size, a.mlp_bias);
  }
  return w;
}

int64_t LayerActivations::size_of(const Architecture& a, const PassRows& rows) {
  const int64_t n_tokens = rows.n_tokens;
  int64_t total = Arena::size_of(n_tokens, a.qkv_size()) +
                  Arena::size_of(n_tokens, a.query_size()) + Arena::size_of(n_tokens, a.n_heads) +
                  Arena::size_of(rows.n_own, a.hidden_size) +
                  Arena::size_of(n_tokens, a.has_dense_layers() ? a.up_size() : 0);
  if (a.qk_norm) {
    total += Arena::size_of(n_tokens, a.query_size() + a.kv_size()) +
             Arena::size_of(n_tokens, a.qk_norm_whole ? 2 : a.n_heads + a.n_kv_heads);
  }
  if (a.has_norms_before()) total += 2 * Arena::size_of(rows.n_own, 1);
  if (a.has_norms_after()) {
    total += 2 * (Arena::size_of(rows.n_own, a.hidden_size) + Arena::size_of(rows.n_own, 1));
  }
  return total;
}

LayerActivations LayerActivations::from(Arena& slab, const Architecture& a, const PassRows& rows) {
  const int64_t n_tokens = rows.n_tokens;
  LayerActivations act;
  if (a.has_norms_before()) act.input_rstd = slab.matrix(rows.n_own, 1);
  act.qkv = slab.matrix(n_tokens, a.qkv_size());
  if (a.qk_norm) {
    act.rotated = slab.matrix(n_tokens, a.query_size() + a.kv_size());
    act.qk_rstd = slab.matrix(n_tokens, a.qk_norm_whole ? 2 : a.n_heads + a.n_kv_heads);
  }
  act.attention = slab.matrix(n_tokens, a.query_size());
  act.logsumexp = slab.matrix(n_tokens, a.n_heads);
  act.middle = slab.matrix(rows.n_own, a.hidden_size);
  if (a.has_norms_before()) act.middle_rstd = slab.matrix(rows.n_own, 1);
  act.up = slab.matrix(n_tokens, a.has_dense_layers() ? a.up_size() : 0);
  if (a.has_norms_after()) {
    act.attention_out = slab.matrix(rows.n_own, a.hidden_size);
    act.attention_rstd = slab.matrix(rows.n_own, 1);
    act.mlp_out = slab.matrix(rows.n_own, a.hidden_size);
    act.mlp_rstd = slab.matrix(rows.n_own, 1);
  }
  return act;
}

int64_t LayerScratch::size_of(const Architecture& a, const PassRows& rows) {
  return (a.has_norms_after() ? 3 : 2) * Arena::size_of(rows.n_own, a.hidden_size) +
         Arena::size_of(rows.n_tokens, a.has_dense_layers() ? a.intermediate_size : 0) +
         Arena::size_of(rows.n_tokens, a.qkv_size()) +
         Arena::size_of(rows.n_tokens, a.query_size()) +
         Arena::size_of(rows.n_gathered, a.hidden_size);
}

LayerScratch LayerScratch::from(Arena& slab, const Architecture& a, const PassRows& rows) {
  LayerScratch scratch;
  scratch.normed = slab.matrix(rows.n_own, a.hidden_size);
  scratch.gated = slab.matrix(rows.n_tokens, a.has_dense_layers() ? a.intermediate_size : 0);
  scratch.dqkv = slab.matrix(rows.n_tokens, a.qkv_size());
  scratch.dattention = slab.matrix(rows.n_tokens, a.query_size());
  scratch.dnormed = slab.matrix(rows.n_own, a.hidden_size);
  scratch.full = slab.matrix(rows.n_gathered, a.hidden_size);
  if (a.has_norms_after()) scratch.dbranch = slab.matrix(rows.n_own, a.hidden_size);
  return scratch;
}

void forward_layer(const PassInput& pass, const LayerWeights& weights, const at::Tensor& input,
                   LayerActivations& activations, LayerScratch& scratch, at::Tensor output) {
  with_type(input.scalar_type(),
            [&]<class T>() { forward<T>(pass, weights, input, activations, scratch, output); });
}

void backward_layer(const PassInput& pass, const LayerWeights& weights, LayerWeights& dweights,
                    const at::Tensor& input, LayerActivations& activations, LayerScratch& scratch,
                    at::Tensor& gradient) {
  with_type(input.scalar_type(), [&]<class T>() {
    backward<T>(pass, weights, dweights, input, activations, scratch, gradient);
  });
}

}  // namespace orrery::model
