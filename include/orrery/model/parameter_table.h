// The parameters of an architecture, or of one shard of it, as a table, and the one flat buffer
// that holds them. Layer order is buffer order, and q, k, v (and gate, up) of a layer are
// neighbours, so that one matmul computes all three: fused weights are views, not copies. An
// expert belongs to one tensor rank, whole. Local: no communication.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/model/architecture.h"  // Architecture: what the table is made from
#include "orrery/model/offloadable_buffer.h"

namespace orrery::model {

/// Which part of a model a shard is: its pipeline stage and its tensor rank.
struct ShardPlace {
  int pipe = 0;
  int n_pipe = 1;
  int tensor = 0;
  int n_tensor = 1;

  bool is_first_stage() const { return pipe == 0; }
  bool is_last_stage() const { return pipe == n_pipe - 1; }
  bool is_whole() const { return n_pipe == 1 && n_tensor == 1; }
  bool operator==(const ShardPlace&) const = default;
};

/// Consecutive things of a row: blocks of a stage, rows of a vocabulary.
struct IndexRange {
  int64_t first = 0;
  int64_t count = 0;
  int64_t end() const { return first + count; }
  bool operator==(const IndexRange&) const = default;
};

/// Blocks of a pipeline stage; the first n_layers % n_pipe stages have one more.
IndexRange blocks_of(int64_t n_layers, const ShardPlace& place);

/// Vocabulary entries of a tensor rank; the first vocab_size % n_tensor ranks have one more. No
/// padding: shards differ in size.
IndexRange vocabulary_of(int64_t vocab_size, const ShardPlace& place);

/// Key and value heads of a tensor rank. With fewer heads than ranks neighbouring ranks have the
/// same one, and the sum of their gradients is its gradient.
IndexRange kv_heads_of(int64_t n_kv_heads, const ShardPlace& place);

/// Experts of a tensor rank; the first n_experts % n_tensor ranks have one more.
IndexRange experts_of(int64_t n_experts, const ShardPlace& place);

/// The numbers that the layers of a shard compute with: its heads, its part of the MLP, its blocks,
/// its vocabulary.
Architecture shard_architecture(const Architecture& whole, const ShardPlace& place);

/// How tensor ranks share a parameter.
enum class TensorSplit {
  kWhole,    // every rank has all of it
  kRows,     // dim 0 is cut
  kColumns,  // dim 1 is cut
};

enum class InitRule {
  kOnes,
  kZeros,
  kNormal,  // mean 0, standard deviation ParameterSpec::init_std
};

struct ParameterSpec {
  std::string name;                       // as Llama names it; hf_names.h: in files of the family
  std::vector<int64_t> full_shape;        // of the whole model
  std::vector<int64_t> shape;             // of the shard; equal where nothing is cut
  std::array<int64_t, 2> first = {0, 0};  // row and column of the full parameter it begins with
  int64_t layer = 0;  // 0 embedding, 1..n blocks (the last with the final norm), n + 1 head
  TensorSplit split = TensorSplit::kWhole;
  InitRule init = InitRule::kNormal;
  double init_std = 0;
  bool weight_decay = true;  // false for norms and biases
  bool is_copy = false;      // another shard of the replica has the same numbers and counts them
  bool is_kv = false;        // of key and value heads, which tensor ranks may have in common
  int64_t offset = 0;        // in elements, from the start of the flat buffer
  int64_t numel = 0;         // of the shard
};

/// Ordered by offset, without gaps.
struct ParameterTable {
  std::vector<ParameterSpec> parameters;
  int64_t numel = 0;

  /// Null when there is no such parameter.
  const ParameterSpec* find(std::string_view name) const;
};

/// Of a shard. A tied head has no entry of its own: the embedding is both; the last of several
/// stages has a copy of it under its name. The layout must fit (model::check_layout).
ParameterTable parameter_table(const Architecture& architecture, const ShardPlace& place = {});

/// One contiguous buffer of all parameters, leaves that are detached views of it, and, from the
/// first use on, one flat gradient buffer of the same length whose views are the leaves' `.grad`.
///
/// Parameters of bf16 are stored in a buffer of that type, which is what moves between workers. On
/// a CPU they are computed with in fp32 from a widened copy, which is what values() and the leaves
/// are there (decision 0505). On GPUs, and of the other types, both are one buffer. Whoever writes
/// one of the two says so:
///   values, leaves -> store()      stored -> widen()
/// Used by one thread at a time.
class FlatParameters {
 public:
  /// Zeros. dtype: kFloat, kDouble or kBFloat16. Throws ConfigError for any other.
  FlatParameters(ParameterTable table, at::ScalarType dtype, c10::Device device = at::kCPU);

  /// What parameters are stored as.
  at::ScalarType dtype() const { return stored_.scalar_type(); }
  /// [numel], contiguous, of dtype(). values() itself unless that is bf16 on a CPU.
  const at::Tensor& stored() const { return stored_; }
  /// After writing values: rounds them to what is stored. Nothing to do where both are one.
  void store();
  /// After writing what is stored: makes the values equal to it. Likewise.
  void widen();

  const ParameterTable& table() const { return table_; }
  int64_t numel() const { return table_.numel; }

  /// [numel], contiguous, kFloat or kDouble, on GPUs also kBFloat16: what is computed with. Writing
  /// to it changes the leaves.
  const at::Tensor& values() const { return values_; }

  /// [numel], contiguous, of the type of sums beside the values or of bf16. Backward adds to it.
  /// The first call allocates it, with zeros: a role that is never trained has none.
  const at::Tensor& gradients();
  /// Before the first gradients(): they are stored in bf16. Not beside fp64.
  void store_gradients_in_bf16();
  bool has_gradients() const { return gradients_.defined(); }
  /// Does nothing while there are no gradients.
  void zero_gradients();
  /// Gives their memory back until zero_gradients(), on a GPU; on the host it is kept, where fresh
  /// pages cost more than they are worth.
  void release_gradients();

  /// Views with the shard's shape of the parameter. Throws ShapeError when the name is not in the
  /// table.
  const at::Tensor& leaf(std::string_view name) const;
  const at::Tensor& leaf(size_t index) const { return leaves_[index]; }
  at::Tensor gradient(std::string_view name);

  /// Gives the memory of the values back, to the system or to the GPU's allocator. All views stay
  /// good: those of the host are zeros until they are written again; those of a GPU may not be used
  /// before acquire().
  void release();
  /// After release(): there is memory again, with zeros. Does nothing where there is.
  void acquire();

  /// Of a GPU, where nothing writes to them any more: what is stored waits in pinned memory of the
  /// host until fetch() (OffloadableBuffer says how and what is thrown). All views stay good, but
  /// may not be used meanwhile. On the host both do nothing.
  void offload();
  void fetch();
  bool is_offloaded() const { return offloadable_.is_offloaded(); }
  /// What is stored, to read: stored(), or while that is offloaded the host's copy of it.
  at::Tensor stored_where_it_is() const;

  /// Fills every parameter by its rule. Normal draws are Philox keyed by (seed, parameter name,
  /// element of the full parameter), so they depend neither on the layout nor on other parameters.
  void initialise(uint64_t seed);
  /// One of them, of the table.
  void initialise(const ParameterSpec& spec, uint64_t seed);

 private:
  void fill(const ParameterSpec& spec, uint64_t seed);
  bool is_widened() const { return !stored_.is_same(values_); }

  ParameterTable table_;
  at::Tensor values_;
  at::Tensor stored_;
  OffloadableBuffer offloadable_;  // stored_
  at::ScalarType gradient_type_;
  at::Tensor gradients_;
  std::vector<at::Tensor> leaves_;
};

}  // namespace orrery::model
