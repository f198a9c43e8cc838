#include "generation_weights.h"

#include <ATen/ops/from_blob.h>

#include "dispatch.h"
#include "orrery/base/hash.h"
#include "orrery/kernels/packed_gemm.h"

namespace orrery::model {
namespace {

/// Calls work(matrix) in the order in which a token meets them.
template <class Work>
void for_each_linear(ShardWeights& weights, Work&& work) {
  const auto mlp = [&](MlpWeights& w) {
    work(w.up);
    work(w.down);
  };
  for (LayerWeights& layer : weights.layers) {
    work(layer.qkv);
    work(layer.output);
    if (!layer.has_experts()) {
      mlp(layer.mlp);
      continue;
    }
    work(layer.experts.router);
    for (MlpWeights& expert : layer.experts.own) mlp(expert);
    if (!layer.experts.shared_gate.defined()) continue;
    mlp(layer.experts.shared);
    work(layer.experts.shared_gate);
  }
  if (weights.head.defined()) work(weights.head);
}

/// With the weight as it multiplies, made once rather than for each token.
void settle(NormKind& kind, at::Tensor& weight, at::Tensor* other = nullptr) {
  if (kind != NormKind::kRmsPlusOne || !weight.defined()) return;
  kind = NormKind::kRms;
  weight = weight + 1;
  if (other != nullptr) *other = *other + 1;
}

void settle_norms(ShardWeights& weights) {
  for (LayerWeights& layer : weights.layers) {
    for (Norm* norm : {&layer.input_norm, &layer.attention_after_norm, &layer.post_attention_norm,
                       &layer.mlp_after_norm}) {
      settle(norm->kind, norm->weight);
    }
    settle(layer.head_norms.kind, layer.head_norms.q, &layer.head_norms.k);
  }
  settle(weights.final_norm.kind, weights.final_norm.weight);
}

}  // namespace

GenerationWeights::GenerationWeights(const Decoder& decoder)
    : shard_(shard_weights(decoder.architecture(), decoder.shard(), decoder.parameters().table(),
                           decoder.parameters().values(), kernels::Amx::kOff)) {  // panels
  if (!decoder.parameters().values().is_cpu()) return;  // whose kernels add it as they read
  settle_norms(shard_);
  with_type(decoder.dtype(), [&]<class T>() {
    int64_t total = 0;
    for_each_linear(shard_, [&](const Linear& linear) {
      total += kernels::packed_size<T>(linear.n_out(), linear.n_in());
    });
    memory_ = base::LargeMemory(static_cast<size_t>(total) * sizeof(T));
    T* next = static_cast<T*>(memory_.data());
    for_each_linear(shard_, [&](Linear& linear) {
      const int64_t size = kernels::packed_size<T>(linear.n_out(), linear.n_in());
      kernels::pack_weight(linear.weight.const_data_ptr<T>(), linear.n_out(), linear.n_in(), next);
      linear.panels = at::from_blob(next, {size}, linear.weight.options());
      next += size;
    });
  });
}

std::string fingerprint(const Decoder& decoder) {
  const at::Tensor values = decoder.parameters().values().cpu();
  return base::hash128_text({static_cast<const char*>(values.const_data_ptr()),
                             static_cast<size_t>(values.numel() * values.element_size())});
}

}  // namespace orrery::model
