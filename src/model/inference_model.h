// The decoder as generation runs it: packed weights, buffers made once, own kernels throughout, no
// tensor and no allocation per token. matmul() in the .cpp is the one place where matmuls
// happen: another kernel for them goes there.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "inference_weights.h"
#include "orrery/model/decoder.h"
#include "page_pool.h"

namespace orrery::model {

/// One sequence's part in a prefill: tokens of a prompt and the pages for them.
struct PrefillItem {
  std::span<const int64_t> tokens;
  const int32_t* pages;  // in token order
};

template <class T>
class InferenceModel {
 public:
  /// Of the shard that `weights`, which must outlive it, were packed from.
  ///   max_rows     tokens of one prefill, sequences of one decoding step
  ///   max_context  tokens of the longest sequence
  InferenceModel(const Decoder& decoder, const InferenceWeights<T>& weights, int64_t max_rows,
                 int64_t max_context);

  /// Runs whole prompts, packed, and writes their keys and values.
  ///   logits  [prompts, V], contiguous: those after the last token of each; written on the last
  ///           stage only, with the same bits on all tensor ranks
  /// Collective over the shards of a data rank.
  void prefill(std::span<const PrefillItem> prompts, PagePool<T>& pages, T* logits);

  /// One token of each sequence.
  struct DecodeInput {
    std::span<const int64_t> tokens;      // [N] the last one of each
    std::span<const int32_t> n_context;   // [N] tokens so far, this one included
    const int32_t* page_table = nullptr;  // [N] rows table_stride apart
    int64_t table_stride = 0;
  };
  ///   logits  [N, V], contiguous, as in prefill
  /// Collective over the shards of a data rank.
  void decode(const DecodeInput& input, PagePool<T>& pages, T* logits);

 private:
  using Matrix = PackedMatrix<T>;
  using Layer = typename InferenceWeights<T>::Layer;
  using Mlp = typename InferenceWeights<T>::Mlp;

  void matmul(const Matrix& weight, const T* x, int64_t n_rows, T* y, const T* residual = nullptr);
  void add_matmul(const Matrix& weight, const T* x, int64_t n_rows);
  void sum_over_tensor_ranks(T* rows, int64_t n_rows);
  void begin_stage(int64_t n_rows);
  void end_stage(int64_t n_rows);
  void compute_logits(int64_t n_rows, T* logits);
  void norm(const T* x, const NormWeights<T>& weights, int64_t n_rows, T* y);
  void look_up(std::span<const int64_t> tokens, T* rows);
  void project_and_rotate(const Layer& layer, int64_t n_rows);
  void write_row(const PagePool<T>& pages, int64_t layer, int64_t row, int32_t page, int64_t slot);
  void finish_layer(const Layer& layer, int64_t n_rows);
  void run_mlp(const Mlp& mlp, const T* x, int64_t n_rows, T* up);
  void add_experts(const Layer& layer, int64_t n_rows);

  const Shard shard_;
  const Architecture architecture_;  // of the shard: its heads, blocks, vocabulary
  const int64_t vocab_size_;         // of the model
  const IndexRange vocabulary_;
  const InferenceWeights<T>& weights_;
  std::vector<T> cosines_, sines_;  // [max_context, D / 2]

  // Rows of the running pass; n_rows of them are in use. Not initialised: a call that decodes few
  // tokens would spend its time on that.
  std::vector<int32_t> positions_;
  std::vector<int32_t> cu_seqlens_;
  std::unique_ptr<T[]> x_, normed_, qkv_, attention_, up_, hidden_, attention_scratch_;
  std::unique_ptr<T[]> partial_;  // [max_rows, H] sums of this tensor rank
  // Of experts: rows that one gets, what it makes of them, router and chosen weights.
  std::unique_ptr<T[]> expert_in_, expert_out_, router_, route_weight_;
  std::vector<int64_t> route_index_, expert_rows_, expert_places_;
  std::vector<T> parts_;  // logits of all tensor ranks, before they are put together
};

}  // namespace orrery::model
