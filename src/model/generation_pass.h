// The passes of generation over a shard's layers (layer.h): whole prompts, then one token of each
// sequence after another, with packed weights and a cache, in buffers made once. Private to
// src/model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "columns.h"
#include "generation_weights.h"
#include "layer.h"
#include "orrery/model/decoder.h"
#include "orrery/model/matmul_rows.h"
#include "page_pool.h"

namespace orrery::model {

enum class Tokens { kOfPrompts, kOfAnswers };

/// The new tokens of some sequences, packed, and where their keys and values go.
struct GenerationInput {
  std::span<const int64_t> tokens;         // [T]
  const std::vector<int32_t>& cu_seqlens;  // [S + 1]
  std::span<const int32_t> n_context;      // [S] tokens of each so far, these included
  const int32_t* page_table = nullptr;     // [S] rows table_stride apart
  int64_t table_stride = 0;
  Tokens kind = Tokens::kOfPrompts;
};

/// One new token of each sequence, from lists that a GPU has.
struct StepInput {
  at::Tensor embedding_rows;   // [R] int64 in the shard's part of the table; -1: in another's
  at::Tensor positions;        // [R] int64
  at::Tensor short_positions;  // [R] the same, int32
  CacheRows cache;
};

class GenerationPass {
 public:
  /// Of the shard that `weights`, which must outlive it, were packed from.
  ///   max_rows       tokens of one pass
  ///   max_sequences  of one pass
  ///   max_context    tokens of the longest sequence
  GenerationPass(const Decoder& decoder, const GenerationWeights& weights, MatmulRows matmul_rows,
                 int64_t max_rows, int64_t max_sequences, int64_t max_context);

  /// Writes keys and values of the tokens. Collective over the shards of a data rank.
  void run(const GenerationInput& input, PagePool& pages);
  /// The same on a GPU, of a shard with all layers: it enqueues and reads nothing of the host.
  void run(const StepInput& input, PagePool& pages);
  /// logits [S, V]: those after the last token of each sequence of the pass that was just run, and
  /// of rows that are nobody's as MatmulRows::filled_up() says. Written on the last stage only,
  /// with the same bits on all tensor ranks. Collective likewise.
  void compute_logits(at::Tensor& logits);

  /// Rows of a decoding step of so many sequences.
  int64_t rows_of_step(int64_t n_sequences) const { return matmul_rows_.filled_up(n_sequences); }
  /// Tokens of the shard's part of the embedding.
  const IndexRange& vocabulary() const { return weights_.embedding.vocabulary; }

 private:
  /// Views of the buffers for a pass of so many rows and sequences.
  struct Rows {
    int64_t n_tokens = -1, n_sequences = -1;
    bool all_are_last = false;  // of their sequences, which are in the same order
    PassRows rows;
    at::Tensor x;  // [T, H]
    LayerActivations activations;
    LayerScratch scratch;
    at::Tensor last, normed;  // [S, H]
    at::Tensor own_logits;    // [S, own V]; with several tensor ranks
  };
  void make_attention_scratch(int64_t max_rows, int64_t max_context);
  void lay_out(int64_t n_tokens, int64_t n_sequences, int64_t at_once);
  void begin_stage(const GenerationInput& input);
  void run_layers(const PackedRows& packed, PagedCache& cache, PagePool& pages);
  void end_stage();

  const Shard shard_;
  const Architecture local_;  // of the shard: its heads, blocks, vocabulary
  int64_t first_layer_;       // of the shard, as the model counts them
  const ShardWeights& weights_;
  const MatmulRows matmul_rows_;
  RopeTables rope_;
  ColumnGather columns_;
  at::Tensor memory_;
  Rows rows_;
  at::Tensor attention_scratch_, attention_n_done_;  // of PagedCache
  std::vector<int32_t> positions_;                   // [T]
  std::vector<int64_t> last_rows_;                   // [S]
};

}  // namespace orrery::model
