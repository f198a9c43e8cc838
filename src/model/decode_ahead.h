// Decoding steps of a GPU that the host enqueues before it knows what the step before has drawn:
// the tokens go from step to step on the device, and what the host says between two steps (who
// joins, which page is given) goes up only where it changes. Private to src/model.
//
//   host    step n          step n + 1        read n   step n + 2       read n + 1
//   GPU     [ changes | graph n | copy ][ changes | graph n + 1 | copy ] ...
//
// The rows of a step are filled up to those of whole matmuls (matmul_rows.h). A row beyond the
// sequences is nobody's: it decodes a token on a page of its own, and nobody reads what it draws.
// One thread; collective over the tensor ranks, which all draw the same.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "cuda_operators.h"
#include "generation_pass.h"
#include "orrery/kernels/decode_slots.h"
#include "page_pool.h"
#include "step_graphs.h"

namespace orrery::model {

class DecodeAhead {
 public:
  /// Where steps draw from: the logits of `most` rows [most, V], overwritten by each step.
  struct Drawing {
    at::Tensor logits;
    const kernels::SamplingRule& rule;
    bool measure_entropy = false;
    at::Tensor scratch;  // operators::draw_scratch()
  };

  /// Takes a page of the pool while it lives. All that it is given must outlive it.
  ///   table_stride  pages of the longest sequence
  DecodeAhead(GenerationPass& pass, PagePool& pages, const Drawing& drawing, int64_t table_stride,
              StepGraphs graphs);
  ~DecodeAhead();
  DecodeAhead(const DecodeAhead&) = delete;
  DecodeAhead& operator=(const DecodeAhead&) = delete;

  /// A sequence that has drawn `token`: from the next step on it has the slot that is returned.
  /// key: of the draw of that step. n_context: tokens on its pages, without this one.
  int32_t join(int64_t token, int64_t n_context, const kernels::DrawKey& key,
               std::span<const int32_t> pages);
  /// Page number `place` of the slot's sequence, from the next step on.
  void give_page(int32_t slot, int64_t place, int32_t page);
  /// The slot is another's from now on. A step that was enqueued with it may still write to the
  /// sequence's pages, before whatever is enqueued from now on.
  void leave(int32_t slot);

  /// Enqueues the next token of the sequences in these slots, one or more. One step at most may be
  /// enqueued whose draws were not read.
  void step(std::span<const int32_t> slots);
  /// Waits for the oldest step whose draws were not read: one for each of its slots.
  void read(std::vector<Draw>& draws);

 private:
  /// The draws of a step on their way to the host.
  struct Arrival {
    at::Tensor numbers;  // [4 most] double, pinned
    c10::Event is_there{c10::kCUDA};
    int64_t n_rows = 0;
    size_t n_sequences = 0;
  };

  void upload_changes();
  void upload_rows(std::span<const int32_t> slots, int64_t n_rows);
  void enqueue(int64_t n_rows);
  Arrival& arrival_of(int64_t step) { return arrivals_[static_cast<size_t>(step % 2)]; }
  kernels::DecodeSlots slots() const;
  int32_t nobodys() const { return static_cast<int32_t>(tokens_.numel() - 1); }

  GenerationPass& pass_;
  PagePool& pages_;
  Drawing drawing_;
  operators::cuda::DrawTables tables_;
  int32_t nobodys_page_;
  // On the GPU, of each slot (kernels/decode_slots.h):
  at::Tensor tokens_, n_context_, keys_, page_table_;
  // of each row of a step:
  at::Tensor row_slots_, row_embedding_rows_, row_positions_, row_short_positions_, row_n_context_,
      row_keys_;
  at::Tensor drawn_;  // [4 most] double
  StepGraphs graphs_;

  std::vector<int32_t> free_slots_;  // the last one goes first
  std::vector<kernels::JoinedSequence> joined_;
  std::vector<kernels::GivenPage> given_;
  std::vector<int32_t> rows_, wanted_rows_;  // what row_slots_ has; what a step wants there
  std::array<Arrival, 2> arrivals_;
  int64_t n_steps_ = 0, n_read_ = 0;
};

}  // namespace orrery::model
