#include "orrery/model/parameter_table.h"

#include <ATen/ops/zeros.h>

#include <array>
#include <cmath>    // sqrt
#include <utility>  // move

#include "orrery/base/error.h"
#include "orrery/base/hash.h"    // a parameter's name as a key
#include "orrery/base/philox.h"  // normal draws
#include "orrery/base/text.h"    // concat

namespace orrery::model {
namespace {

/// Appends parameters and gives each its place in the buffer.
class TableBuilder {
 public:
  void add(std::string name, std::vector<int64_t> shape, int64_t layer, TensorSplit split,
           InitRule init, double init_std = 0) {
    ParameterSpec spec;
    spec.name = std::move(name);
    spec.shape = std::move(shape);
    spec.layer = layer;
    spec.split = split;
    spec.init = init;
    spec.init_std = init_std;
    spec.weight_decay = init == InitRule::kNormal;
    spec.offset = table_.numel;
    spec.numel = 1;
    for (const int64_t n : spec.shape) spec.numel *= n;
    table_.numel += spec.numel;
    table_.parameters.push_back(std::move(spec));
  }

  ParameterTable take() { return std::move(table_); }

 private:
  ParameterTable table_;
};

void add_block(TableBuilder& table, const Architecture& a, int64_t block, double std_in,
               double std_out) {
  const std::string prefix = base::concat("model.layers.", block, ".");
  const int64_t layer = block + 1;
  const auto norm = [&](const char* name, int64_t width) {
    table.add(prefix + name, {width}, layer, TensorSplit::kWhole, InitRule::kOnes);
  };
  const auto rows = [&](const char* name, int64_t out, int64_t in) {
    table.add(prefix + name, {out, in}, layer, TensorSplit::kRows, InitRule::kNormal, std_in);
  };
  const auto columns = [&](const char* name, int64_t out, int64_t in) {
    table.add(prefix + name, {out, in}, layer, TensorSplit::kColumns, InitRule::kNormal, std_out);
  };
  const auto bias = [&](const char* name, int64_t out) {
    table.add(prefix + name, {out}, layer, TensorSplit::kRows, InitRule::kZeros);
  };

  norm("input_layernorm.weight", a.hidden_size);
  rows("self_attn.q_proj.weight", a.query_size(), a.hidden_size);
  rows("self_attn.k_proj.weight", a.kv_size(), a.hidden_size);
  rows("self_attn.v_proj.weight", a.kv_size(), a.hidden_size);
  if (a.qkv_bias) {
    bias("self_attn.q_proj.bias", a.query_size());
    bias("self_attn.k_proj.bias", a.kv_size());
    bias("self_attn.v_proj.bias", a.kv_size());
  }
  if (a.qk_norm) {
    norm("self_attn.q_norm.weight", a.head_dim);
    norm("self_attn.k_norm.weight", a.head_dim);
  }
  columns("self_attn.o_proj.weight", a.hidden_size, a.query_size());
  norm("post_attention_layernorm.weight", a.hidden_size);
  rows("mlp.gate_proj.weight", a.intermediate_size, a.hidden_size);
  rows("mlp.up_proj.weight", a.intermediate_size, a.hidden_size);
  columns("mlp.down_proj.weight", a.hidden_size, a.intermediate_size);
}

/// Normal draws four at a time by the Box-Muller transform: element e comes from block e / 4.
template <class T>
void fill_normal(T* out, int64_t n, double std, uint64_t seed, uint64_t name_key) {
  for (int64_t first = 0; first < n; first += 4) {
    const std::array<double, 4> draws =
        base::philox_normal4(seed, name_key, static_cast<uint64_t>(first / 4));
    for (int64_t i = first; i < std::min(n, first + 4); ++i) {
      out[i] = static_cast<T>(std * draws[static_cast<size_t>(i - first)]);
    }
  }
}

}  // namespace

const ParameterSpec* ParameterTable::find(std::string_view name) const {
  for (const ParameterSpec& spec : parameters) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

ParameterTable parameter_table(const Architecture& a) {
  // Deviation sqrt(2 / (5 hidden)): 0.02 at 1,000 hidden units, more for the small models that are
  // trained from nothing here; what adds to the residual stream is scaled by 1 / sqrt(2 layers).
  const double std_in = std::sqrt(2.0 / (5.0 * static_cast<double>(a.hidden_size)));
  const double std_out = std_in / std::sqrt(2.0 * static_cast<double>(a.n_layers));
  TableBuilder table;
  table.add("model.embed_tokens.weight", {a.vocab_size, a.hidden_size}, 0, TensorSplit::kRows,
            InitRule::kNormal, std_in);
  for (int64_t block = 0; block < a.n_layers; ++block) add_block(table, a, block, std_in, std_out);
  table.add("model.norm.weight", {a.hidden_size}, a.n_layers, TensorSplit::kWhole, InitRule::kOnes);
  if (!a.tie_embeddings) {
    table.add("lm_head.weight", {a.vocab_size, a.hidden_size}, a.n_layers + 1, TensorSplit::kRows,
              InitRule::kNormal, std_in);
  }
  return table.take();
}

FlatParameters::FlatParameters(ParameterTable table, at::ScalarType dtype)
    : table_(std::move(table)) {
  if (dtype != at::kFloat && dtype != at::kDouble) {
    throw ConfigError(base::concat("parameters of type ", c10::toString(dtype)),
                      {.expected = "fp32 or fp64",
                       .got = c10::toString(dtype),
                       .advice = "set the model's dtype to fp32"});
  }
  values_ = at::zeros({table_.numel}, at::TensorOptions().dtype(dtype));
  leaves_.reserve(table_.parameters.size());
  for (const ParameterSpec& spec : table_.parameters) {
    at::Tensor leaf = values_.narrow(0, spec.offset, spec.numel).view(spec.shape).detach();
    leaf.set_requires_grad(true);
    leaves_.push_back(std::move(leaf));
  }
}

const at::Tensor& FlatParameters::gradients() {
  if (gradients_.defined()) return gradients_;
  gradients_ = at::zeros_like(values_);
  for (size_t i = 0; i < leaves_.size(); ++i) {
    const ParameterSpec& spec = table_.parameters[i];
    leaves_[i].mutable_grad() =
        gradients_.narrow(0, spec.offset, spec.numel).view(spec.shape).detach();
  }
  return gradients_;
}

void FlatParameters::zero_gradients() {
  if (gradients_.defined()) gradients_.zero_();
}

const at::Tensor& FlatParameters::leaf(std::string_view name) const {
  const ParameterSpec* spec = table_.find(name);
  if (spec == nullptr) {
    throw ShapeError(base::concat("no parameter ", name),
                     {.expected = base::concat("one of ", table_.parameters.size(), " names"),
                      .got = std::string(name),
                      .advice = "compare with the parameter table of the architecture"});
  }
  return leaves_[static_cast<size_t>(spec - table_.parameters.data())];
}

at::Tensor FlatParameters::gradient(std::string_view name) {
  gradients();
  return leaf(name).grad();
}

void FlatParameters::initialise(uint64_t seed) {
  for (const ParameterSpec& spec : table_.parameters) {
    at::Tensor values = values_.narrow(0, spec.offset, spec.numel);
    if (spec.init == InitRule::kOnes) {
      values.fill_(1);
    } else if (spec.init == InitRule::kZeros) {
      values.zero_();
    } else if (values.scalar_type() == at::kFloat) {
      fill_normal(values.data_ptr<float>(), spec.numel, spec.init_std, seed,
                  base::hash64(spec.name));
    } else {
      fill_normal(values.data_ptr<double>(), spec.numel, spec.init_std, seed,
                  base::hash64(spec.name));
    }
  }
}

}  // namespace orrery::model
