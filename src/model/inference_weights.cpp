#include "inference_weights.h"

#include <utility>  // move

#include "orrery/base/hash.h"
#include "orrery/base/text.h"
#include "orrery/kernels/packed_product.h"

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

/// Numbers that the matrices of a shard take when they are packed.
template <class T>
int64_t packed_numbers(const Architecture& a, const Shard& shard) {
  const int64_t layer = kernels::packed_size<T>(a.qkv_size(), a.hidden_size) +
                        kernels::packed_size<T>(a.hidden_size, a.query_size()) +
                        kernels::packed_size<T>(2 * a.intermediate_size, a.hidden_size) +
                        kernels::packed_size<T>(a.hidden_size, a.intermediate_size);
  const int64_t head =
      shard.place.is_last_stage() ? kernels::packed_size<T>(a.vocab_size, a.hidden_size) : 0;
  return a.n_layers * layer + head;
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
InferenceWeights<T>::InferenceWeights(const Decoder& decoder) {
  const Shard& shard = decoder.shard();
  const Architecture a = shard_architecture(decoder.architecture(), shard.place);
  memory_ = base::LargeMemory(static_cast<size_t>(packed_numbers<T>(a, shard)) * sizeof(T));
  next_ = static_cast<T*>(memory_.data());
  const Span blocks = blocks_of(decoder.architecture().n_layers, shard.place);
  for (int64_t block = blocks.first; block < blocks.end(); ++block) {
    const std::string p = base::concat("model.layers.", block, ".");
    Layer layer;
    layer.input_norm = copy_of<T>(decoder, p + "input_layernorm.weight", a.hidden_size);
    layer.middle_norm = copy_of<T>(decoder, p + "post_attention_layernorm.weight", a.hidden_size);
    if (a.qk_norm) {
      layer.q_norm = copy_of<T>(decoder, p + "self_attn.q_norm.weight", a.head_dim);
      layer.k_norm = copy_of<T>(decoder, p + "self_attn.k_norm.weight", a.head_dim);
    }
    layer.qkv = pack(decoder, p + "self_attn.q_proj.weight", a.qkv_size(), a.hidden_size,
                     a.qkv_bias ? p + "self_attn.q_proj.bias" : std::string());
    layer.output = pack(decoder, p + "self_attn.o_proj.weight", a.hidden_size, a.query_size());
    layer.gate_up =
        pack(decoder, p + "mlp.gate_proj.weight", 2 * a.intermediate_size, a.hidden_size);
    layer.down = pack(decoder, p + "mlp.down_proj.weight", a.hidden_size, a.intermediate_size);
    layers.push_back(std::move(layer));
  }
  const std::string table = "model.embed_tokens.weight";
  if (shard.place.is_first_stage()) embedding = parameter<T>(decoder, table);
  if (shard.place.is_last_stage()) {
    final_norm = copy_of<T>(decoder, "model.norm.weight", a.hidden_size);
    head = pack(decoder, a.tie_embeddings ? table : "lm_head.weight", a.vocab_size, a.hidden_size);
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
