#include "orrery/model/parameter_table.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <sys/mman.h>  // madvise
#include <unistd.h>    // sysconf

#include <algorithm>  // min
#include <array>
#include <cmath>    // sqrt
#include <utility>  // move

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/hash.h"  // a parameter's name as a key
#include "orrery/base/large_memory.h"
#include "orrery/base/philox.h"  // normal draws
#include "orrery/base/text.h"    // concat
#include "orrery/model/arithmetic_type.h"

namespace orrery::model {
namespace {

/// Appends parameters and gives each its place in the buffer.
class TableBuilder {
 public:
  void add(ParameterSpec spec) {
    spec.weight_decay = spec.init == InitRule::kNormal;
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

/// The part of rank t of T of `n` things that are cut evenly.
IndexRange even_part(int64_t n, const ShardPlace& place) {
  const int64_t count = n / place.n_tensor;
  return {place.tensor * count, count};
}

IndexRange scaled(const IndexRange& span, int64_t factor) {
  return {span.first * factor, span.count * factor};
}

/// Adds the parameters of one block.
class BlockBuilder {
 public:
  BlockBuilder(TableBuilder& table, const Architecture& a, const ShardPlace& place, int64_t block,
               double std_in, double std_out)
      : table_(table),
        a_(a),
        place_(place),
        prefix_(base::concat("model.layers.", block, ".")),
        layer_(block + 1),
        std_in_(std_in),
        std_out_(std_out) {}

  void add_all() {
    const int64_t h = a_.hidden_size;
    const IndexRange queries = scaled(even_part(a_.n_heads, place_), a_.head_dim);
    if (a_.has_norms_before()) norm("input_layernorm", h, a_.norm);
    rows("self_attn.q_proj.weight", {a_.query_size(), h}, queries);
    kv_rows("self_attn.k_proj.weight", {a_.kv_size(), h});
    kv_rows("self_attn.v_proj.weight", {a_.kv_size(), h});
    if (a_.qkv_bias) {
      rows("self_attn.q_proj.bias", {a_.query_size()}, queries);
      kv_rows("self_attn.k_proj.bias", {a_.kv_size()});
      kv_rows("self_attn.v_proj.bias", {a_.kv_size()});
    }
    if (a_.qk_norm_whole) {
      table_.add(part_of_norm("self_attn.q_norm.weight", a_.query_size(), queries));
      table_.add(of_kv_heads(part_of_norm("self_attn.k_norm.weight", a_.kv_size(), kv_columns())));
    } else if (a_.qk_norm) {
      norm("self_attn.q_norm", a_.head_dim, a_.norm);
      norm("self_attn.k_norm", a_.head_dim, a_.norm);
    }
    columns("self_attn.o_proj.weight", {h, a_.query_size()}, queries);
    if (a_.output_bias) whole("self_attn.o_proj.bias", {h}, InitRule::kZeros, 0);
    norm("post_attention_layernorm", h, a_.norm);
    if (a_.norm_placement == NormPlacement::kAround) norm("pre_feedforward_layernorm", h, a_.norm);
    if (a_.has_experts(layer_ - 1)) {
      add_experts();
    } else {
      add_mlp("mlp.", a_.intermediate_size, a_.mlp_bias);
    }
    if (a_.has_norms_after()) norm("post_feedforward_layernorm", h, a_.norm);
  }

 private:
  /// The MLP that tensor ranks share: each has some of its hidden units.
  void add_mlp(const std::string& name, int64_t size, bool has_bias) {
    const int64_t h = a_.hidden_size;
    const IndexRange inner = even_part(size, place_);
    if (a_.gated_mlp) rows(name + "gate_proj.weight", {size, h}, inner);
    rows(name + "up_proj.weight", {size, h}, inner);
    if (has_bias) {
      if (a_.gated_mlp) rows(name + "gate_proj.bias", {size}, inner);
      rows(name + "up_proj.bias", {size}, inner);
    }
    columns(name + "down_proj.weight", {h, size}, inner);
    if (has_bias) whole(name + "down_proj.bias", {h}, InitRule::kZeros, 0);
  }

  void add_experts() {
    const Experts& experts = a_.experts;
    const int64_t h = a_.hidden_size, size = experts.intermediate_size;
    whole("mlp.gate.weight", {experts.count, h}, InitRule::kNormal, std_in_);
    const IndexRange own = experts_of(experts.count, place_);
    for (int64_t e = own.first; e < own.end(); ++e) {
      const std::string expert = base::concat("mlp.experts.", e, ".");
      rows(expert + "gate_proj.weight", {size, h}, {0, size});
      rows(expert + "up_proj.weight", {size, h}, {0, size});
      columns(expert + "down_proj.weight", {h, size}, {0, size});
    }
    if (experts.shared_intermediate_size == 0) return;
    add_mlp("mlp.shared_expert.", experts.shared_intermediate_size, false);
    whole("mlp.shared_expert_gate.weight", {1, h}, InitRule::kNormal, std_in_);
  }

  void norm(const std::string& name, int64_t width, NormKind kind) {
    whole(name + ".weight", {width},
          kind == NormKind::kRmsPlusOne ? InitRule::kZeros : InitRule::kOnes, 0);
    if (kind == NormKind::kLayer) whole(name + ".bias", {width}, InitRule::kZeros, 0);
  }

  /// The weights of a norm over all heads: each tensor rank has those of its own.
  ParameterSpec part_of_norm(const std::string& name, int64_t width, const IndexRange& part) {
    return {.name = prefix_ + name,
            .full_shape = {width},
            .shape = {part.count},
            .first = {part.first, 0},
            .layer = layer_,
            .split = TensorSplit::kRows,
            .init = a_.norm == NormKind::kRmsPlusOne ? InitRule::kZeros : InitRule::kOnes};
  }

  /// The same on all tensor ranks.
  void whole(const std::string& name, std::vector<int64_t> shape, InitRule init, double std) {
    table_.add({.name = prefix_ + name,
                .full_shape = shape,
                .shape = shape,
                .layer = layer_,
                .split = TensorSplit::kWhole,
                .init = init,
                .init_std = std,
                .is_copy = place_.tensor > 0});
  }

  void rows(const std::string& name, std::vector<int64_t> full, const IndexRange& part) {
    table_.add(rows_of(name, std::move(full), part));
  }
  void kv_rows(const std::string& name, std::vector<int64_t> full) {
    table_.add(of_kv_heads(rows_of(name, std::move(full), kv_columns())));
  }

  /// Of all columns of keys or values, those of this rank's heads.
  IndexRange kv_columns() const { return scaled(kv_heads_of(a_.n_kv_heads, place_), a_.head_dim); }
  /// Of ranks that have a key and value head in common the first one counts it.
  ParameterSpec of_kv_heads(ParameterSpec spec) const {
    spec.is_kv = true;
    spec.is_copy =
        place_.n_tensor > a_.n_kv_heads && place_.tensor % (place_.n_tensor / a_.n_kv_heads) != 0;
    return spec;
  }

  /// A weight, or (one extent) a bias.
  ParameterSpec rows_of(const std::string& name, std::vector<int64_t> full,
                        const IndexRange& part) const {
    std::vector<int64_t> shape = full;
    shape[0] = part.count;
    const bool is_weight = full.size() == 2;
    return {.name = prefix_ + name,
            .full_shape = std::move(full),
            .shape = std::move(shape),
            .first = {part.first, 0},
            .layer = layer_,
            .split = TensorSplit::kRows,
            .init = is_weight ? InitRule::kNormal : InitRule::kZeros,
            .init_std = is_weight ? std_in_ : 0};
  }

  void columns(const std::string& name, std::vector<int64_t> full, const IndexRange& part) {
    const int64_t n_rows = full[0];
    table_.add({.name = prefix_ + name,
                .full_shape = std::move(full),
                .shape = {n_rows, part.count},
                .first = {0, part.first},
                .layer = layer_,
                .split = TensorSplit::kColumns,
                .init = InitRule::kNormal,
                .init_std = std_out_});
  }

  TableBuilder& table_;
  const Architecture& a_;
  const ShardPlace& place_;
  std::string prefix_;
  int64_t layer_;
  double std_in_, std_out_;
};

/// Normal draws four at a time by the Box-Muller transform: element e comes from block e / 4.
/// Writes elements first .. first + n - 1 of a parameter.
template <class T>
void fill_normal(T* out, int64_t first, int64_t n, double std, uint64_t seed, uint64_t name_key) {
  std::array<double, 4> draws = {};
  int64_t have = -1;  // the block in `draws`
  for (int64_t element = first; element < first + n; ++element) {
    if (element / 4 != have) {
      have = element / 4;
      draws = base::philox_normal4(seed, name_key, static_cast<uint64_t>(have));
    }
    *out++ = static_cast<T>(std * draws[static_cast<size_t>(element % 4)]);
  }
}

/// Row by row: a shard's rows are pieces of those of the full parameter.
template <class T>
void fill_normal(T* out, const ParameterSpec& spec, uint64_t seed) {
  const uint64_t key = base::hash64(spec.name);
  const int64_t columns = spec.shape.size() < 2 ? 1 : spec.shape[1];
  const int64_t full_columns = spec.full_shape.size() < 2 ? 1 : spec.full_shape[1];
  for (int64_t row = 0; row < spec.shape[0]; ++row) {
    fill_normal(out + row * columns, (spec.first[0] + row) * full_columns + spec.first[1], columns,
                spec.init_std, seed, key);
  }
}

}  // namespace

const ParameterSpec* ParameterTable::find(std::string_view name) const {
  for (const ParameterSpec& spec : parameters) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

namespace {

/// Part `i` of `n` things in `n_parts`, the first ones one larger.
IndexRange balanced_part(int64_t n, int64_t i, int64_t n_parts) {
  const int64_t each = n / n_parts, more = n % n_parts;
  return {i * each + std::min(i, more), each + (i < more ? 1 : 0)};
}

}  // namespace

IndexRange blocks_of(int64_t n_layers, const ShardPlace& place) {
  return balanced_part(n_layers, place.pipe, place.n_pipe);
}

IndexRange vocabulary_of(int64_t vocab_size, const ShardPlace& place) {
  return balanced_part(vocab_size, place.tensor, place.n_tensor);
}

IndexRange kv_heads_of(int64_t n_kv_heads, const ShardPlace& place) {
  if (n_kv_heads >= place.n_tensor) return even_part(n_kv_heads, place);
  return {place.tensor * n_kv_heads / place.n_tensor, 1};
}

IndexRange experts_of(int64_t n_experts, const ShardPlace& place) {
  return balanced_part(n_experts, place.tensor, place.n_tensor);
}

Architecture shard_architecture(const Architecture& whole, const ShardPlace& place) {
  Architecture part = whole;
  part.n_heads = whole.n_heads / place.n_tensor;
  part.n_kv_heads = kv_heads_of(whole.n_kv_heads, place).count;
  part.intermediate_size = whole.intermediate_size / place.n_tensor;
  part.experts.shared_intermediate_size = whole.experts.shared_intermediate_size / place.n_tensor;
  part.n_layers = blocks_of(whole.n_layers, place).count;
  part.vocab_size = vocabulary_of(whole.vocab_size, place).count;
  return part;
}

ParameterTable parameter_table(const Architecture& a, const ShardPlace& place) {
  // Deviation sqrt(2 / (5 hidden)): 0.02 at 1,000 hidden units, more for the small models that are
  // trained from nothing here; what adds to the residual stream is scaled by 1 / sqrt(2 layers).
  const double std_in = std::sqrt(2.0 / (5.0 * static_cast<double>(a.hidden_size)));
  const double std_out = std_in / std::sqrt(2.0 * static_cast<double>(a.n_layers));
  const IndexRange vocabulary = vocabulary_of(a.vocab_size, place);
  TableBuilder table;
  const auto add_vocabulary = [&](const char* name, int64_t layer, bool is_copy) {
    table.add({.name = name,
               .full_shape = {a.vocab_size, a.hidden_size},
               .shape = {vocabulary.count, a.hidden_size},
               .first = {vocabulary.first, 0},
               .layer = layer,
               .split = TensorSplit::kRows,
               .init = InitRule::kNormal,
               .init_std = std_in,
               .is_copy = is_copy});
  };

  const auto add_whole = [&](const char* name, std::vector<int64_t> shape, int64_t layer,
                             InitRule init) {
    table.add({.name = name,
               .full_shape = shape,
               .shape = shape,
               .layer = layer,
               .split = TensorSplit::kWhole,
               .init = init,
               .init_std = init == InitRule::kNormal ? std_in : 0,
               .is_copy = place.tensor > 0});
  };

  if (place.is_first_stage()) {
    add_vocabulary("model.embed_tokens.weight", 0, false);
    if (a.learned_positions) {
      add_whole("model.embed_positions.weight", {a.max_positions, a.hidden_size}, 0,
                InitRule::kNormal);
    }
  }
  const IndexRange blocks = blocks_of(a.n_layers, place);
  for (int64_t block = blocks.first; block < blocks.end(); ++block) {
    BlockBuilder(table, a, place, block, std_in, std_out).add_all();
  }
  if (place.is_last_stage()) {
    add_whole("model.norm.weight", {a.hidden_size}, a.n_layers,
              a.norm == NormKind::kRmsPlusOne ? InitRule::kZeros : InitRule::kOnes);
    if (a.norm == NormKind::kLayer) {
      add_whole("model.norm.bias", {a.hidden_size}, a.n_layers, InitRule::kZeros);
    }
    if (a.value_head) {
      add_whole("score.weight", {1, a.hidden_size}, a.n_layers + 1, InitRule::kNormal);
    } else if (!a.tie_embeddings) {
      add_vocabulary("lm_head.weight", a.n_layers + 1, false);
    } else if (!place.is_first_stage()) {
      add_vocabulary("model.embed_tokens.weight", a.n_layers + 1, true);
    }
  }
  return table.take();
}

namespace {

/// [numel] zeros. Whoever writes them first on the host pays for 2 MiB at a time, not for 4 KiB.
at::Tensor zeros_on(c10::Device device, int64_t numel, at::ScalarType dtype) {
  if (!device.is_cpu()) return at::zeros({numel}, at::TensorOptions(device).dtype(dtype));
  auto memory =
      std::make_shared<base::LargeMemory>(static_cast<size_t>(numel) * c10::elementSize(dtype));
  void* const data = memory->data();
  return at::from_blob(
      data, {numel}, [memory = std::move(memory)](void*) mutable { memory.reset(); }, dtype);
}

}  // namespace

FlatParameters::FlatParameters(ParameterTable table, at::ScalarType dtype, c10::Device device)
    : table_(std::move(table)) {
  if (dtype != at::kFloat && dtype != at::kDouble && dtype != at::kBFloat16) {
    throw ConfigError(base::concat("parameters of type ", c10::toString(dtype)),
                      {.expected = "fp32, fp64 or bf16",
                       .got = c10::toString(dtype),
                       .advice = "set the model's dtype to fp32"});
  }
  stored_ = zeros_on(device, table_.numel, dtype);
  const bool is_widened = dtype == at::kBFloat16 && device.is_cpu();
  values_ = is_widened ? zeros_on(device, table_.numel, at::kFloat) : stored_;
  gradient_type_ = arithmetic_type(dtype);
  leaves_.reserve(table_.parameters.size());
  for (const ParameterSpec& spec : table_.parameters) {
    at::Tensor leaf = values_.narrow(0, spec.offset, spec.numel).view(spec.shape).detach();
    leaf.set_requires_grad(true);
    leaves_.push_back(std::move(leaf));
  }
  offloadable_ = OffloadableBuffer(stored_);
}

void FlatParameters::store() {
  if (!is_widened()) return;
  stored_.copy_(values_);
  widen();
}

void FlatParameters::widen() {
  if (is_widened()) values_.copy_(stored_);
}

const at::Tensor& FlatParameters::gradients() {
  if (gradients_.defined()) return gradients_;
  gradients_ = zeros_on(values_.device(), table_.numel, gradient_type_);
  for (size_t i = 0; i < leaves_.size(); ++i) {
    const ParameterSpec& spec = table_.parameters[i];
    leaves_[i].mutable_grad() =
        gradients_.narrow(0, spec.offset, spec.numel).view(spec.shape).detach();
  }
  return gradients_;
}

void FlatParameters::store_gradients_in_bf16() {
  ORRERY_ASSERT(!has_gradients(), "their type is chosen before there are any");
  ORRERY_ASSERT(arithmetic_type(dtype()) == at::kFloat, "gradients of bf16 beside fp32");
  gradient_type_ = at::kBFloat16;
}

const at::Tensor& FlatParameters::leaf(std::string_view name) const {
  const ParameterSpec* spec = table_.find(name);
  if (spec == nullptr) {
    throw ShapeError(
        base::concat("no parameter ", name),
        {.expected = base::concat("one of ", base::counted(table_.parameters.size(), "name")),
         .got = std::string(name),
         .advice = "compare with the parameter table of the architecture"});
  }
  return leaves_[static_cast<size_t>(spec - table_.parameters.data())];
}

at::Tensor FlatParameters::gradient(std::string_view name) {
  gradients();
  return leaf(name).grad();
}

namespace {

void give_back(const at::Tensor& buffer) {
  buffer.zero_();  // the ends, which share their pages with others
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(buffer.mutable_data_ptr());
  const uintptr_t first = (begin + page - 1) / page * page;
  const uintptr_t last = (begin + buffer.nbytes()) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

/// Views share the storage, so they follow its memory.
void give_back_to_allocator(const at::Tensor& buffer) {
  c10::StorageImpl& storage = *buffer.storage().unsafeGetStorageImpl();
  storage.set_data_ptr_noswap(c10::DataPtr(nullptr, buffer.device()));
}

/// False: it had memory. Else it has zeros.
bool take_from_allocator(const at::Tensor& buffer) {
  c10::StorageImpl& storage = *buffer.storage().unsafeGetStorageImpl();
  if (storage.data() != nullptr || storage.nbytes() == 0) return false;
  storage.set_data_ptr_noswap(storage.allocator()->allocate(storage.nbytes()));
  buffer.zero_();
  return true;
}

}  // namespace

void FlatParameters::release() {
  const auto give = values_.is_cpu() ? give_back : give_back_to_allocator;
  give(values_);
  if (is_widened()) give(stored_);
}

void FlatParameters::zero_gradients() {
  if (!gradients_.defined()) return;
  if (!take_from_allocator(gradients_)) gradients_.zero_();
}

void FlatParameters::release_gradients() {
  if (gradients_.defined() && !gradients_.is_cpu()) give_back_to_allocator(gradients_);
}

void FlatParameters::acquire() {
  take_from_allocator(values_);
  if (is_widened()) take_from_allocator(stored_);
}

void FlatParameters::offload() {
  if (offloadable_.is_offloaded()) return;
  offloadable_.offload();
  if (is_widened() && !values_.is_cpu()) give_back_to_allocator(values_);
}

void FlatParameters::fetch() {
  if (!offloadable_.is_offloaded()) return;
  if (is_widened()) take_from_allocator(values_);
  offloadable_.fetch();
  widen();
}

at::Tensor FlatParameters::stored_where_it_is() const { return offloadable_.where_it_is(); }

void FlatParameters::initialise(uint64_t seed) {
  for (const ParameterSpec& spec : table_.parameters) fill(spec, seed);
  store();
}

void FlatParameters::initialise(const ParameterSpec& spec, uint64_t seed) {
  fill(spec, seed);
  store();
}

void FlatParameters::fill(const ParameterSpec& spec, uint64_t seed) {
  at::Tensor values = values_.narrow(0, spec.offset, spec.numel);
  if (spec.init == InitRule::kOnes) {
    values.fill_(1);
  } else if (spec.init == InitRule::kZeros) {
    values.zero_();
  } else {
    const at::ScalarType type = arithmetic_type(values.scalar_type());
    const at::Tensor drawn = values.is_cpu() ? values : at::empty(values.sizes(), type);
    if (type == at::kFloat) {
      fill_normal(drawn.data_ptr<float>(), spec, seed);
    } else {
      fill_normal(drawn.data_ptr<double>(), spec, seed);
    }
    if (!values.is_cpu()) values.copy_(drawn);
  }
}

}  // namespace orrery::model
