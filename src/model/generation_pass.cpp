#include "generation_pass.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "orrery/base/error.h"
#include "orrery/kernels/decode_attention.h"
#include "orrery/metrics/layer_ranges.h"
#include "orrery/model/arithmetic_type.h"  // sums_of

namespace orrery::model {
namespace {

int64_t memory_size(const Architecture& a, const PassRows& rows, int64_t n_sequences,
                    at::ScalarType dtype) {
  return Arena::size_of(rows.n_own, a.hidden_size) + LayerActivations::size_of(a, rows, dtype) +
         LayerScratch::size_of(a, rows) + 2 * Arena::size_of(n_sequences, a.hidden_size) +
         (rows.tensor == nullptr ? 0 : Arena::size_of_sums(n_sequences, a.vocab_size, dtype));
}

}  // namespace

GenerationPass::GenerationPass(const Decoder& decoder, const GenerationWeights& weights,
                               MatmulRows matmul_rows, int64_t max_rows, int64_t max_sequences,
                               int64_t max_context)
    : shard_(decoder.shard()),
      local_(shard_architecture(decoder.architecture(), shard_.place)),
      first_layer_(blocks_of(decoder.architecture().n_layers, shard_.place).first),
      weights_(weights.shard()),
      matmul_rows_(matmul_rows),
      columns_(shard_, decoder.architecture().vocab_size,
               shard_.place.is_last_stage() ? max_sequences : 0,
               decoder.parameters().values().options().dtype(decoder.dtype())) {
  const at::TensorOptions options = decoder.parameters().values().options();
  rope_.extend(local_, max_context, options.dtype(decoder.dtype()));
  // Not initialised: a call that decodes few tokens would spend its time on that.
  const PassRows most = PassRows::whole(max_rows, shard_.tensor);
  memory_ = at::empty(
      {memory_size(local_, most, max_sequences, c10::typeMetaToScalarType(options.dtype()))},
      options);
  make_attention_scratch(max_rows, max_context);
  positions_.reserve(static_cast<size_t>(max_rows));
  last_rows_.reserve(static_cast<size_t>(max_sequences));
}

void GenerationPass::make_attention_scratch(int64_t max_rows, int64_t max_context) {
  const int64_t heads = local_.n_heads, d = local_.head_dim;
  if (memory_.is_cpu()) {
    attention_scratch_ =
        at::empty({kernels::decode_attention_scratch(heads, local_.n_kv_heads, d, max_context)},
                  memory_.options());
    return;
  }
  const int64_t n_rows = kernels::attention_scratch_rows(max_rows, heads, d, max_context);
  const int64_t parts = kernels::most_attention_parts(max_context);
  attention_scratch_ =
      at::empty({n_rows, heads, parts, kernels::partial_size(d)}, sums_of(memory_));
  attention_n_done_ = at::zeros({n_rows, heads}, memory_.options().dtype(at::kInt));
}

/// Decoding steps have as many rows as the step before, but where a sequence has ended.
void GenerationPass::lay_out(int64_t n_tokens, int64_t n_sequences, int64_t at_once) {
  rows_.rows = PassRows::whole(n_tokens, shard_.tensor, at_once);
  if (rows_.n_tokens == n_tokens && rows_.n_sequences == n_sequences) return;
  rows_.n_tokens = n_tokens;
  rows_.n_sequences = n_sequences;
  ORRERY_ASSERT(
      memory_size(local_, rows_.rows, n_sequences, memory_.scalar_type()) <= memory_.numel(),
      "more tokens in one pass of generation than rows");
  Arena arena(memory_);
  rows_.x = arena.matrix(n_tokens, local_.hidden_size);
  rows_.activations = LayerActivations::unkept(arena, local_, rows_.rows);
  // A branch is added where the stream lies, which on a GPU saves the launch of a copy.
  if (!memory_.is_cpu() && shard_.tensor == nullptr) rows_.activations.middle = rows_.x;
  rows_.scratch = LayerScratch::from(arena, local_, rows_.rows);
  rows_.last = arena.matrix(n_sequences, local_.hidden_size);
  rows_.normed = arena.matrix(n_sequences, local_.hidden_size);
  if (shard_.tensor != nullptr) {
    rows_.own_logits = arena.sums(n_sequences, local_.vocab_size);
  }
}

/// Embeds the tokens, or receives what the stage before made of them.
void GenerationPass::begin_stage(const GenerationInput& input) {
  if (shard_.place.is_first_stage()) {
    embed(weights_.embedding, rows_.rows, input.tokens, positions_, rows_.scratch.full, rows_.x);
  } else {
    shard_.pipe->exchange({}, {{shard_.place.pipe - 1, rows_.x}});
  }
}

void GenerationPass::end_stage() {
  if (shard_.place.is_last_stage()) return;
  shard_.pipe->exchange({{shard_.place.pipe + 1, rows_.x}}, {});
}

void GenerationPass::run(const GenerationInput& input, PagePool& pages) {
  const auto n_sequences = static_cast<int64_t>(input.n_context.size());
  lay_out(static_cast<int64_t>(input.tokens.size()), matmul_rows_.filled_up(n_sequences),
          input.kind == Tokens::kOfPrompts ? matmul_rows_.of_prompts : matmul_rows_.of_steps);
  positions_.clear();
  last_rows_.clear();
  for (size_t s = 0; s < input.n_context.size(); ++s) {
    const int32_t n_new = input.cu_seqlens[s + 1] - input.cu_seqlens[s];
    for (int32_t i = 0; i < n_new; ++i) positions_.push_back(input.n_context[s] - n_new + i);
    last_rows_.push_back(input.cu_seqlens[s + 1] - 1);
  }
  rows_.all_are_last = rows_.n_tokens == n_sequences;
  last_rows_.resize(static_cast<size_t>(rows_.n_sequences), 0);  // of nobody's: any
  begin_stage(input);
  PagedCache cache{.pages = {},
                   .page_table = input.page_table,
                   .table_stride = input.table_stride,
                   .n_context = input.n_context,
                   .scratch = attention_scratch_,
                   .n_done = attention_n_done_};
  if (!memory_.is_cpu()) cache.rows = operators::cache_rows(input.cu_seqlens, cache, memory_);
  run_layers(operators::packed_rows(input.cu_seqlens, positions_, memory_), cache, pages);
  end_stage();
}

void GenerationPass::run(const StepInput& input, PagePool& pages) {
  lay_out(input.positions.numel(), input.positions.numel(), matmul_rows_.of_steps);
  rows_.all_are_last = true;
  embed(weights_.embedding, rows_.rows, input.embedding_rows, input.positions, rows_.scratch.full,
        rows_.x);
  const std::vector<int32_t> not_read;
  PagedCache cache{.pages = {},
                   .n_context = {},
                   .scratch = attention_scratch_,
                   .n_done = attention_n_done_,
                   .rows = input.cache};
  run_layers({.cu_seqlens = not_read, .positions = {}, .gpu_positions = input.short_positions},
             cache, pages);
}

void GenerationPass::run_layers(const PackedRows& packed, PagedCache& cache, PagePool& pages) {
  const PassInput pass{local_, packed, rope_, rows_.rows};
  metrics::LayerRanges ranges(rows_.all_are_last ? "decode" : "prefill", first_layer_,
                              static_cast<int64_t>(weights_.layers.size()));
  for (size_t layer = 0; layer < weights_.layers.size(); ++layer) {
    ranges.enter(static_cast<int64_t>(layer));
    cache.pages = pages.layer(layer);
    forward_layer(pass, weights_.layers[layer], rows_.x, rows_.activations, rows_.scratch, rows_.x,
                  &cache);
  }
}

void GenerationPass::compute_logits(at::Tensor& logits) {
  if (!shard_.place.is_last_stage()) return;
  const bool are_taken = !rows_.all_are_last || rows_.n_tokens != rows_.n_sequences;
  if (are_taken) operators::take_rows(rows_.x, last_rows_, rows_.last);
  operators::norm(weights_.final_norm, are_taken ? rows_.last : rows_.x, rows_.normed, {});
  const int64_t at_once = matmul_rows_.of_steps;
  if (shard_.tensor == nullptr) return apply(weights_.head, rows_.normed, logits, {}, at_once);
  apply(weights_.head, rows_.normed, rows_.own_logits, {}, at_once);
  columns_.gather(rows_.own_logits, logits);
}

}  // namespace orrery::model
