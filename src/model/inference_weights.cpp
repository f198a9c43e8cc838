#include "inference_weights.h"

#include <utility>  // move

#include "orrery/base/hash.h"
#include "orrery/base/text.h"
#include "orrery/kernels/packed_gemm.h"

namespace orrery::model {
namespace {

template <class T>
const T* parameter(const Decoder& decoder, const std::string& name) {
  const FlatParameters& parameters = decoder.parameters();
  return parameters.values().const_data_ptr<T>() + parameters.table().find(name)->offset;
}

template <class T>
std::vector<T> copy_of(const Decoder& decoder, const std::string& name, int64_t size) {
  const T* from = parameter<T>(decoder, name);
  return {from, from + size};
}

template <class T>
NormWeights<T> norm_of(const Decoder& decoder, const std::string& name) {
  const Architecture& a = decoder.architecture();
  NormWeights<T> norm{copy_of<T>(decoder, name + ".weight", a.hidden_size), {}};
  if (a.norm == NormKind::kRmsPlusOne) {
    for (T& w : norm.weight) w += T(1);
  }
  if (a.norm == NormKind::kLayer) norm.bias = copy_of<T>(decoder, name + ".bias", a.hidden_size);
  return norm;
}

std::string layer_prefix(int64_t block) { return base::concat("model.layers.", block, "."); }

/// Numbers that the matrices of a shard take when they are packed.
template <class T>
int64_t packed_numbers(const Decoder& decoder, const Architecture& a, const IndexRange& blocks) {
  const int64_t h = a.hidden_size;
  const auto mlp = [&](int64_t width) {
    return kernels::packed_size<T>((a.gated_mlp ? 2 : 1) * width, h) +
           kernels::packed_size<T>(h, width);
  };
  int64_t total = 0;
  for (int64_t block = blocks.first; block < blocks.end(); ++block) {
    total += kernels::packed_size<T>(a.qkv_size(), h) + kernels::packed_size<T>(h, a.query_size());
    if (!a.has_experts(block)) {
      total += mlp(a.intermediate_size);
      continue;
    }
    total += kernels::packed_size<T>(a.experts.count, h) + kernels::packed_size<T>(1, h);
    if (a.experts.shared_intermediate_size > 0) total += mlp(a.experts.shared_intermediate_size);
    const IndexRange own = experts_of(a.experts.count, decoder.shard().place);
    total += own.count * mlp(a.experts.intermediate_size);
  }
  if (decoder.shard().place.is_last_stage() && !a.value_head) {
    total += kernels::packed_size<T>(a.vocab_size, h);
  }
  return total;
}

}  // namespace

template <class T>
PackedMatrix<T> InferenceWeights<T>::pack(const Decoder& decoder, const std::string& first_name,
                                          int64_t n_out, int64_t n_in,
                                          const std::string& first_bias) {
  PackedMatrix<T> matrix;
  matrix.n_out = n_out;
  matrix.n_in = n_in;
  kernels::pack_weight(parameter<T>(decoder, first_name), n_out, n_in, next_);
  matrix.packed = next_;
  next_ += kernels::packed_size<T>(n_out, n_in);
  if (!first_bias.empty()) matrix.bias = copy_of<T>(decoder, first_bias, n_out);
  return matrix;
}

template <class T>
typename InferenceWeights<T>::Mlp InferenceWeights<T>::pack_mlp(const Decoder& decoder,
                                                                const Architecture& a,
                                                                const std::string& prefix,
                                                                int64_t width, bool has_bias) {
  const std::string first = prefix + (a.gated_mlp ? "gate_proj" : "up_proj");
  // A sum over tensor ranks: the first one adds the bias.
  const bool adds = has_bias && decoder.shard().place.tensor == 0;
  Mlp mlp;
  mlp.up = pack(decoder, first + ".weight", (a.gated_mlp ? 2 : 1) * width, a.hidden_size,
                has_bias ? first + ".bias" : std::string());
  mlp.down = pack(decoder, prefix + "down_proj.weight", a.hidden_size, width,
                  adds ? prefix + "down_proj.bias" : std::string());
  return mlp;
}

template <class T>
void InferenceWeights<T>::pack_experts(const Decoder& decoder, const Architecture& a,
                                       const std::string& prefix, Layer& layer) {
  layer.router = pack(decoder, prefix + "gate.weight", a.experts.count, a.hidden_size);
  const IndexRange own = experts_of(a.experts.count, decoder.shard().place);
  layer.first_expert = own.first;
  for (int64_t e = own.first; e < own.end(); ++e) {
    layer.experts.push_back(pack_mlp(decoder, a, base::concat(prefix, "experts.", e, "."),
                                     a.experts.intermediate_size, false));
  }
  if (a.experts.shared_intermediate_size == 0) return;
  layer.shared =
      pack_mlp(decoder, a, prefix + "shared_expert.", a.experts.shared_intermediate_size, false);
  layer.shared_gate = pack(decoder, prefix + "shared_expert_gate.weight", 1, a.hidden_size);
}

template <class T>
InferenceWeights<T>::InferenceWeights(const Decoder& decoder) {
  const Shard& shard = decoder.shard();
  const Architecture a = shard_architecture(decoder.architecture(), shard.place);
  const IndexRange blocks = blocks_of(decoder.architecture().n_layers, shard.place);
  memory_ =
      base::LargeMemory(static_cast<size_t>(packed_numbers<T>(decoder, a, blocks)) * sizeof(T));
  next_ = static_cast<T*>(memory_.data());
  for (int64_t block = blocks.first; block < blocks.end(); ++block) {
    const std::string p = layer_prefix(block);
    Layer layer;
    layer.window = a.window_of(block);
    layer.input_norm = norm_of<T>(decoder, p + "input_layernorm");
    layer.post_attention_norm = norm_of<T>(decoder, p + "post_attention_layernorm");
    if (a.qk_norm) {
      layer.q_norm = copy_of<T>(decoder, p + "self_attn.q_norm.weight", a.head_dim);
      layer.k_norm = copy_of<T>(decoder, p + "self_attn.k_norm.weight", a.head_dim);
    }
    layer.qkv = pack(decoder, p + "self_attn.q_proj.weight", a.qkv_size(), a.hidden_size,
                     a.qkv_bias ? p + "self_attn.q_proj.bias" : std::string());
    const bool adds = a.output_bias && shard.place.tensor == 0;
    layer.output = pack(decoder, p + "self_attn.o_proj.weight", a.hidden_size, a.query_size(),
                        adds ? p + "self_attn.o_proj.bias" : std::string());
    if (a.has_experts(block)) {
      pack_experts(decoder, a, p + "mlp.", layer);
    } else {
      layer.mlp = pack_mlp(decoder, a, p + "mlp.", a.intermediate_size, a.mlp_bias);
    }
    layers.push_back(std::move(layer));
  }
  const std::string table = "model.embed_tokens.weight";
  if (shard.place.is_first_stage()) {
    embedding = parameter<T>(decoder, table);
    if (a.learned_positions) positions = parameter<T>(decoder, "model.embed_positions.weight");
  }
  if (shard.place.is_last_stage()) {
    final_norm = norm_of<T>(decoder, "model.norm");
    if (!a.value_head) {
      head =
          pack(decoder, a.tie_embeddings ? table : "lm_head.weight", a.vocab_size, a.hidden_size);
    }
  }
}

std::string fingerprint(const Decoder& decoder) {
  const at::Tensor& values = decoder.parameters().values();
  return base::hash128_text({static_cast<const char*>(values.const_data_ptr()),
                             static_cast<size_t>(values.numel() * values.element_size())});
}

template class InferenceWeights<float>;
template class InferenceWeights<double>;

}  // namespace orrery::model
