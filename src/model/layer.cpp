#include "layer.h"

#include <ATen/ops/add.h>

#include <cmath>  // sqrt
#include <string>

#include "activation_function.h"
#include "dispatch.h"
#include "matmul.h"
#include "orrery/base/text.h"
#include "orrery/kernels/rms_norm.h"
#include "orrery/kernels/rope.h"
#include "orrery/kernels/varlen_attention.h"
#include "row_norm.h"

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
          .scale = 1.0 / std::sqrt(static_cast<double>(a.head_dim))};
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

/// Adds the gradient that flows back through a norm of `x` to `dx`.
template <class T>
void norm_backward(const PassInput& pass, const at::Tensor& x, const at::Tensor& weight,
                   const at::Tensor& rstd, const at::Tensor& dy, at::Tensor& dx,
                   at::Tensor& dweight, const at::Tensor& dbias) {
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
                         .dx_output = kernels::Output::kAdd});
}

template <class T>
void rotate(const PassInput& pass, T* x, int64_t stride, kernels::Rotation rotation) {
  const Architecture& a = pass.architecture;
  if (a.learned_positions) return;
  kernels::rope<T>({.x = x,
                    .positions = pass.positions.data(),
                    .cosines = pass.cosines.const_data_ptr<T>(),
                    .sines = pass.sines.const_data_ptr<T>(),
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
  kernels::rms_norm<T>({.x = activations.qkv.const_data_ptr<T>() + first_head * a.head_dim,
                        .weight = weight.const_data_ptr<T>(),
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
  kernels::rms_norm_backward<T>({.x = activations.qkv.const_data_ptr<T>() + first_head * a.head_dim,
                                 .weight = weight.const_data_ptr<T>(),
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

/// The MLP or the experts, from the normed rows onto the residual stream.
template <class T>
void forward_mlp(const PassInput& pass, const LayerWeights& w, LayerActivations& act,
                 LayerScratch& scratch, at::Tensor& output) {
  norm<T>(pass, act.middle, w.post_attention_norm, w.post_attention_norm_bias, scratch.normed,
          act.middle_rstd.data_ptr<T>());
  const at::Tensor rows = gather_rows(pass.rows, scratch.normed, scratch.full);
  if (w.has_experts()) {
    act.routing = route_rows(pass.architecture, w.experts, rows);
    if (!output.defined()) return;
    add_partial(pass, output, act.middle,
                forward_experts(pass.architecture, w.experts, act.routing, rows), scratch);
    return;
  }
  multiply_into(act.up, rows, w.mlp.up.t());
  if (w.mlp.up_bias.defined()) add_bias<T>(act.up, w.mlp.up_bias);
  if (!output.defined()) return;
  apply_activation<T>(activation_shape(pass), act.up.const_data_ptr<T>(),
                      scratch.gated.data_ptr<T>());
  add_matmul(pass, output, act.middle, scratch.gated, w.mlp.down, scratch);
  if (w.mlp.down_bias.defined()) add_bias<T>(output, w.mlp.down_bias);
}

/// From the gradient by the output to that by the normed rows, in scratch.dnormed.
template <class T>
void backward_mlp(const PassInput& pass, const LayerWeights& w, LayerWeights& dw,
                  LayerActivations& act, LayerScratch& scratch, const at::Tensor& gradient) {
  at::Tensor dy = gather_rows(pass.rows, gradient, scratch.full);
  if (w.has_experts()) {
    if (pass.rows.tensor != nullptr) dy = dy.clone();  // the rows are gathered to the same place
    norm<T>(pass, act.middle, w.post_attention_norm, w.post_attention_norm_bias, scratch.normed,
            nullptr);
    const at::Tensor rows = gather_rows(pass.rows, scratch.normed, scratch.full);
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
  norm<T>(pass, act.middle, w.post_attention_norm, w.post_attention_norm_bias, scratch.normed,
          nullptr);
  multiply_onto(dw.mlp.up, dup.t(), gather_rows(pass.rows, scratch.normed, scratch.full));
  input_gradient(pass, dup, w.mlp.up, scratch);
}

template <class T>
void forward(const PassInput& pass, const LayerWeights& w, const at::Tensor& input,
             LayerActivations& act, LayerScratch& scratch, at::Tensor& output) {
  const Architecture& a = pass.architecture;
  norm<T>(pass, input, w.input_norm, w.input_norm_bias, scratch.normed,
          act.input_rstd.data_ptr<T>());
  multiply_into(act.qkv, gather_rows(pass.rows, scratch.normed, scratch.full), w.qkv.t());
  if (a.qkv_bias) add_bias<T>(act.qkv, w.qkv_bias);
  if (a.qk_norm) {
    norm_heads<T>(pass, w.q_norm, 0, a.n_heads, act);
    norm_heads<T>(pass, w.k_norm, a.n_heads, a.n_kv_heads, act);
  }
  const QueriesAndKeys<T> qk = queries_and_keys<T>(a, act);
  rotate<T>(pass, qk.q, qk.stride, kernels::Rotation::kForward);
  attend<T>(pass, w.window, act);
  add_matmul(pass, act.middle, input, act.attention, w.output, scratch);
  // On own rows, after the sum over the tensor ranks: counted once.
  if (a.output_bias) add_bias<T>(act.middle, w.output_bias);
  forward_mlp<T>(pass, w, act, scratch, output);
}

template <class T>
void backward(const PassInput& pass, const LayerWeights& w, LayerWeights& dw,
              const at::Tensor& input, LayerActivations& act, LayerScratch& scratch,
              at::Tensor& gradient) {
  const Architecture& a = pass.architecture;
  backward_mlp<T>(pass, w, dw, act, scratch, gradient);
  norm_backward<T>(pass, act.middle, w.post_attention_norm, act.middle_rstd, scratch.dnormed,
                   gradient, dw.post_attention_norm, dw.post_attention_norm_bias);

  if (a.output_bias) add_column_sums<T>(gradient, dw.output_bias);
  const at::Tensor dmiddle = gather_rows(pass.rows, gradient, scratch.full);
  multiply_into(scratch.dattention, dmiddle, w.output);
  multiply_onto(dw.output, dmiddle.t(), act.attention);
  attend_backward<T>(pass, w.window, act, scratch);
  rotate<T>(pass, scratch.dqkv.data_ptr<T>(), a.qkv_size(), kernels::Rotation::kBackward);
  if (a.qk_norm) {
    norm_heads_backward<T>(pass, w.q_norm, dw.q_norm, 0, a.n_heads, act, scratch.dqkv);
    norm_heads_backward<T>(pass, w.k_norm, dw.k_norm, a.n_heads, a.n_kv_heads, act, scratch.dqkv);
  }
  if (a.qkv_bias) add_column_sums<T>(scratch.dqkv, dw.qkv_bias);
  norm<T>(pass, input, w.input_norm, w.input_norm_bias, scratch.normed, nullptr);
  multiply_onto(dw.qkv, scratch.dqkv.t(), gather_rows(pass.rows, scratch.normed, scratch.full));
  input_gradient(pass, scratch.dqkv, w.qkv, scratch);
  norm_backward<T>(pass, input, w.input_norm, act.input_rstd, scratch.dnormed, gradient,
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
  w.input_norm = vector_view(table, flat, prefix + "input_layernorm.weight", h);
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
    w.q_norm = vector_view(table, flat, prefix + "self_attn.q_norm.weight", a.head_dim);
    w.k_norm = vector_view(table, flat, prefix + "self_attn.k_norm.weight", a.head_dim);
  }
  w.output = fused_view(table, flat, prefix + "self_attn.o_proj.weight", h, a.query_size());
  w.post_attention_norm = vector_view(table, flat, prefix + "post_attention_layernorm.weight", h);
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
  int64_t total = 2 * Arena::size_of(rows.n_own, 1) + Arena::size_of(n_tokens, a.qkv_size()) +
                  Arena::size_of(n_tokens, a.query_size()) + Arena::size_of(n_tokens, a.n_heads) +
                  Arena::size_of(rows.n_own, a.hidden_size) +
                  Arena::size_of(n_tokens, a.has_dense_layers() ? a.up_size() : 0);
  if (a.qk_norm) {
    total += Arena::size_of(n_tokens, a.query_size() + a.kv_size()) +
             Arena::size_of(n_tokens, a.n_heads + a.n_kv_heads);
  }
  return total;
}

LayerActivations LayerActivations::from(Arena& slab, const Architecture& a, const PassRows& rows) {
  const int64_t n_tokens = rows.n_tokens;
  LayerActivations act;
  act.input_rstd = slab.matrix(rows.n_own, 1);
  act.qkv = slab.matrix(n_tokens, a.qkv_size());
  if (a.qk_norm) {
    act.rotated = slab.matrix(n_tokens, a.query_size() + a.kv_size());
    act.qk_rstd = slab.matrix(n_tokens, a.n_heads + a.n_kv_heads);
  }
  act.attention = slab.matrix(n_tokens, a.query_size());
  act.logsumexp = slab.matrix(n_tokens, a.n_heads);
  act.middle = slab.matrix(rows.n_own, a.hidden_size);
  act.middle_rstd = slab.matrix(rows.n_own, 1);
  act.up = slab.matrix(n_tokens, a.has_dense_layers() ? a.up_size() : 0);
  return act;
}

int64_t LayerScratch::size_of(const Architecture& a, const PassRows& rows) {
  return 2 * Arena::size_of(rows.n_own, a.hidden_size) +
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
