// The sequences that a GPU decodes, as it keeps them from one step to the next: each has a slot,
// the host says what changes, and what a step reads of its sequences is made of the slots. All
// pointers are the GPU's. C++17: .cu files include it. Shape letters: S slots, R rows of a step.
#pragma once

#include <cstdint>

#include "orrery/kernels/gpu.h"          // cudaStream_t
#include "orrery/kernels/sample_rows.h"  // DrawKey

namespace orrery::kernels {

/// The last slot is nobody's: rows beyond the sequences of a step have it, and nothing changes it.
struct DecodeSlots {
  int64_t* tokens = nullptr;      // [S] the last of each sequence, which its next step reads
  int32_t* n_context = nullptr;   // [S] its tokens whose keys and values are in pages
  DrawKey* keys = nullptr;        // [S] of its next draw
  int32_t* page_table = nullptr;  // [S, table_stride] its pages in token order
  int64_t table_stride = 0;
  int64_t n_slots = 0;
};

/// A sequence that takes a slot.
struct JoinedSequence {
  int64_t slot = 0;
  int64_t token = 0;
  int64_t n_context = 0;
  DrawKey key = {};
};

/// Page number `place` of a slot's sequence.
struct GivenPage {
  int32_t slot = 0;
  int32_t place = 0;
  int32_t page = 0;
};

struct ChangeSlotsArgs {
  DecodeSlots slots = {};                  // written
  const JoinedSequence* joined = nullptr;  // [n_joined] of slots that differ
  const GivenPage* pages = nullptr;        // [n_pages] of places that differ
  int64_t n_joined = 0;
  int64_t n_pages = 0;
};
void change_slots_cuda(const ChangeSlotsArgs& args, cudaStream_t stream);

/// What the kernels of a step read of its rows: the new token of each, its place, and how it draws.
struct DecodeRows {
  const int32_t* slots = nullptr;      // [R]; but for nobody's they differ
  int64_t* embedding_rows = nullptr;   // [R], written, as all below: where the shard's part of the
                                       // embedding has the token; -1: another's part does
  int64_t* positions = nullptr;        // [R]
  int32_t* short_positions = nullptr;  // [R] the same
  int32_t* n_context = nullptr;        // [R] the new token included
  DrawKey* keys = nullptr;             // [R]
};

/// Slots -> rows; the slots go on by one token.
struct BeginStepArgs {
  DecodeSlots slots = {};
  DecodeRows rows = {};
  int64_t n_rows = 0;
  int64_t first_token = 0;  // of the shard's part of the embedding
  int64_t n_tokens = 0;     // in it
};
void begin_step_cuda(const BeginStepArgs& args, cudaStream_t stream);

/// The tokens that the rows have drawn -> slots.
struct EndStepArgs {
  DecodeSlots slots = {};
  const int32_t* row_slots = nullptr;  // [R] as in DecodeRows
  const int64_t* drawn = nullptr;      // [R]
  int64_t n_rows = 0;
};
void end_step_cuda(const EndStepArgs& args, cudaStream_t stream);

}  // namespace orrery::kernels
