#include "reference_decoder.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "orrery/base/philox.h"
#include "orrery/base/text.h"

namespace orrery::model {
namespace {

/// One thread in all tests of this folder: the machine runs several of them at a time.
class OneThread : public testing::Environment {
 public:
  void SetUp() override { at::set_num_threads(1); }
};
[[maybe_unused]] const auto* const one_thread = testing::AddGlobalTestEnvironment(new OneThread);

}  // namespace

ReferenceDecoder::ReferenceDecoder(const Decoder& decoder) : architecture_(decoder.architecture()) {
  const ParameterTable& table = decoder.parameters().table();
  for (size_t i = 0; i < table.parameters.size(); ++i) {
    at::Tensor copy = decoder.parameters().leaf(i).detach().clone();
    copy.set_requires_grad(true);
    weights_[table.parameters[i].name] = copy;
  }
}

at::Tensor ReferenceDecoder::norm(const at::Tensor& x, const std::string& name) const {
  const at::Tensor mean = (x * x).mean(-1, true);
  const at::Tensor& w = weights_.at(name);
  return x * at::rsqrt(mean + architecture_.norm_eps) *
         (architecture_.norm == NormKind::kRmsPlusOne ? w + 1 : w);
}

at::Tensor ReferenceDecoder::linear(const at::Tensor& x, const std::string& name) const {
  at::Tensor y = at::matmul(x, weights_.at(name + ".weight").t());
  const auto bias = weights_.find(name + ".bias");
  return bias == weights_.end() ? y : y + bias->second;
}

/// [n, heads * D] -> [heads, n, D], normed by head or all together where the model does that,
/// rotated as the layer does it.
at::Tensor ReferenceDecoder::heads(const at::Tensor& x, const std::string& norm_name,
                                   int64_t n_heads, int64_t layer) const {
  const Architecture& a = architecture_;
  const int64_t n = x.size(0), d = a.head_dim;
  at::Tensor h = (a.qk_norm_whole ? norm(x, norm_name) : x).view({n, n_heads, d});
  if (a.qk_norm && !a.qk_norm_whole) h = norm(h, norm_name);
  const Rotary rotary = a.rotary_of(layer);
  if (rotary == Rotary::kNone) return h.transpose(0, 1);
  const double base = rotary == Rotary::kLocal ? a.local_rope_theta : a.rope_theta;
  const at::Tensor frequency = at::pow(base, at::arange(0, d, 2, at::kDouble) * (-1.0 / double(d)));
  const at::Tensor angle = at::outer(at::arange(0, n, at::kDouble), frequency).unsqueeze(1);
  const at::Tensor c = angle.cos().to(x.scalar_type()), s = angle.sin().to(x.scalar_type());
  const at::Tensor first = h.narrow(2, 0, d / 2), second = h.narrow(2, d / 2, d / 2);
  return at::cat({first * c - second * s, second * c + first * s}, 2).transpose(0, 1);
}

at::Tensor ReferenceDecoder::attention(const at::Tensor& x, const std::string& prefix,
                                       int64_t layer) const {
  const Architecture& a = architecture_;
  const int64_t n = x.size(0), group = a.n_heads / a.n_kv_heads, window = a.window_of(layer);
  const at::Tensor q =
      heads(linear(x, prefix + "q_proj"), prefix + "q_norm.weight", a.n_heads, layer);
  const at::Tensor k =
      heads(linear(x, prefix + "k_proj"), prefix + "k_norm.weight", a.n_kv_heads, layer)
          .repeat_interleave(group, 0);
  const at::Tensor v = linear(x, prefix + "v_proj")
                           .view({n, a.n_kv_heads, a.head_dim})
                           .transpose(0, 1)
                           .repeat_interleave(group, 0);
  const double divisor = std::sqrt(a.query_scale > 0 ? a.query_scale : double(a.head_dim));
  at::Tensor scores = at::matmul(q, k.transpose(1, 2)) / divisor;
  const at::Tensor i = at::arange(n).unsqueeze(1), j = at::arange(n).unsqueeze(0);
  at::Tensor hidden = j > i;
  if (window > 0) hidden = hidden.logical_or(i - j >= window);
  scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
  const at::Tensor out = at::matmul(at::softmax(scores, -1), v);
  return linear(out.transpose(0, 1).reshape({n, a.query_size()}), prefix + "o_proj");
}

at::Tensor ReferenceDecoder::mlp(const at::Tensor& x, const std::string& prefix) const {
  const at::Tensor gate = linear(x, prefix + "gate_proj");
  const bool is_gelu = architecture_.activation_function == ActivationFunction::kGeluTanh;
  return linear((is_gelu ? at::gelu(gate, "tanh") : at::silu(gate)) * linear(x, prefix + "up_proj"),
                prefix + "down_proj");
}

at::Tensor ReferenceDecoder::hidden(const std::vector<int64_t>& ids) const {
  const Architecture& a = architecture_;
  at::Tensor x =
      weights_.at("model.embed_tokens.weight").index_select(0, at::tensor(ids)) * a.embedding_scale;
  for (int64_t layer = 0; layer < a.n_layers; ++layer) {
    const std::string prefix = base::concat("model.layers.", layer, ".");
    const auto normed = [&](bool is_there, const at::Tensor& of, const char* name) {
      return is_there ? norm(of, base::concat(prefix, name, ".weight")) : of;
    };
    const char* before_mlp =
        a.has_norms_after() ? "pre_feedforward_layernorm" : "post_attention_layernorm";
    const at::Tensor attended =
        attention(normed(a.has_norms_before(), x, "input_layernorm"), prefix + "self_attn.", layer);
    x = x + normed(a.has_norms_after(), attended, "post_attention_layernorm");
    const at::Tensor out = mlp(normed(a.has_norms_before(), x, before_mlp), prefix + "mlp.");
    x = x + normed(a.has_norms_after(), out, "post_feedforward_layernorm");
  }
  return norm(x, "model.norm.weight");
}

at::Tensor ReferenceDecoder::logits(const std::vector<int64_t>& ids) const {
  const char* head = architecture_.tie_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  return at::matmul(hidden(ids), weights_.at(head).t());
}

at::Tensor ReferenceDecoder::log_probs(const Sequences& sequences, double temperature) const {
  std::vector<at::Tensor> parts;
  for (const auto& ids : sequences) {
    const int64_t n = static_cast<int64_t>(ids.size());
    const at::Tensor rows = at::log_softmax(logits(ids) / temperature, -1).narrow(0, 0, n - 1);
    parts.push_back(rows.gather(1, at::tensor(ids).narrow(0, 1, n - 1).unsqueeze(1)).squeeze(1));
  }
  return at::cat(parts);
}

at::Tensor ReferenceDecoder::entropy(const Sequences& sequences, double temperature) const {
  std::vector<at::Tensor> parts;
  for (const auto& ids : sequences) {
    const at::Tensor rows = at::log_softmax(logits(ids) / temperature, -1)
                                .narrow(0, 0, static_cast<int64_t>(ids.size()) - 1);
    parts.push_back(-(rows.exp() * rows).sum(-1));
  }
  return at::cat(parts);
}

Architecture small_architecture(const std::string& kind) {
  Architecture a;
  a.vocab_size = 37;
  a.hidden_size = 24;
  a.intermediate_size = 40;
  a.n_layers = 3;
  a.n_heads = 4;
  a.n_kv_heads = 2;
  a.head_dim = 8;
  a.max_positions = 256;
  if (kind == "llama-tied") a.tie_embeddings = true;
  if (kind == "qwen2") {
    a.family = Family::kQwen2;
    a.qkv_bias = true;
  }
  if (kind == "qwen3") {
    a.family = Family::kQwen3;
    a.qk_norm = true;
    a.head_dim = 16;
  }
  if (kind == "mistral-window") {
    a.family = Family::kMistral;
    a.sliding_window = 5;
  }
  if (kind == "gemma3") {
    a.family = Family::kGemma3;
    a.norm = NormKind::kRmsPlusOne;
    a.norm_placement = NormPlacement::kAround;
    a.activation_function = ActivationFunction::kGeluTanh;
    a.embedding_scale = std::sqrt(24.0);
    a.qk_norm = true;
    a.query_scale = 6;
    a.local_rope_theta = 50;
    a.sliding_window = 5;
    a.sliding_layers = {true, false, true};
    a.tie_embeddings = true;
  }
  if (kind == "olmo2") {
    a.family = Family::kOlmo2;
    a.norm_placement = NormPlacement::kAfter;
    a.qk_norm = a.qk_norm_whole = true;
  }
  if (kind == "smollm3") {
    a.family = Family::kSmolLm3;
    a.unrotated_layers = {false, true, false};
  }
  if (kind == "odd") {
    a.vocab_size = 19;
    a.hidden_size = 14;
    a.intermediate_size = 11;
    a.n_heads = 3;
    a.n_kv_heads = 1;
    a.head_dim = 6;
  }
  return a;
}

Decoder small_decoder(const std::string& kind, at::ScalarType dtype) {
  Decoder decoder(small_architecture(kind), dtype);
  decoder.parameters().initialise(3);
  at::Tensor values = decoder.parameters().values();
  // Large enough that the logits are far from uniform.
  values.mul_(2);
  for (const ParameterSpec& spec : decoder.parameters().table().parameters) {
    if (spec.init == InitRule::kNormal) continue;
    at::Tensor part = values.narrow(0, spec.offset, spec.numel);
    part.add_(at::arange(spec.numel, part.options()).mul(0.37).sin().mul(0.4));
  }
  return decoder;
}

Sequences random_sequences(const std::vector<int64_t>& lengths, int64_t vocab_size) {
  Sequences sequences;
  uint64_t draw = 0;
  for (const int64_t n : lengths) {
    sequences.emplace_back();
    for (int64_t t = 0; t < n; ++t) {
      sequences.back().push_back(static_cast<int64_t>(
          base::philox_below(5, 6, draw++, static_cast<uint64_t>(vocab_size))));
    }
  }
  return sequences;
}

PackedTokens pack(const Sequences& sequences) {
  std::vector<int64_t> tokens;
  std::vector<int32_t> lengths;
  for (const auto& ids : sequences) {
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    lengths.push_back(static_cast<int32_t>(ids.size()));
  }
  return pack_tokens(at::tensor(tokens, at::kLong), lengths);
}

std::string test_name(const testing::TestParamInfo<const char*>& parameter) {
  std::string name = parameter.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

double max_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  if (a.numel() == 0) return 0;
  return (a.detach().to(at::kDouble) - b.detach().to(at::kDouble)).abs().max().item<double>();
}

}  // namespace orrery::model
