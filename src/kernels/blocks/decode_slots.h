// A thread for each change, or for each row: a slot is one row's, so none meets another.
#pragma once

#include "blocks/block.h"
#include "orrery/kernels/decode_slots.h"

namespace orrery::kernels::blocks {

ORRERY_BLOCK bool is_nobodys(const DecodeSlots& slots, int64_t slot) {
  return slot == slots.n_slots - 1;
}

struct ChangeSlotsProgram {
  using Args = ChangeSlotsArgs;
  static constexpr int kThreads = 128;
  struct Shared {};

  static int64_t n_blocks(const Args& args) {
    return ceil_div(larger_of(args.n_joined, args.n_pages), kThreads);
  }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const DecodeSlots& slots = args.slots;
    block.each([&](int thread) {
      const int64_t i = block.index() * kThreads + thread;
      if (i < args.n_joined) {
        const JoinedSequence& joined = args.joined[i];
        slots.tokens[joined.slot] = joined.token;
        slots.n_context[joined.slot] = static_cast<int32_t>(joined.n_context);
        slots.keys[joined.slot] = joined.key;
      }
      if (i < args.n_pages) {
        const GivenPage& given = args.pages[i];
        slots.page_table[given.slot * slots.table_stride + given.place] = given.page;
      }
    });
  }
};

struct BeginStepProgram {
  using Args = BeginStepArgs;
  static constexpr int kThreads = 128;
  struct Shared {};

  static int64_t n_blocks(const Args& args) { return ceil_div(args.n_rows, kThreads); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const DecodeSlots& slots = args.slots;
    const DecodeRows& rows = args.rows;
    block.each([&](int thread) {
      const int64_t row = block.index() * kThreads + thread;
      if (row >= args.n_rows) return;
      const int64_t slot = rows.slots[row];
      const int32_t grown = is_nobodys(slots, slot) ? 0 : 1;
      const int32_t n_context = slots.n_context[slot] + grown;
      const int64_t place = slots.tokens[slot] - args.first_token;
      rows.embedding_rows[row] = place >= 0 && place < args.n_tokens ? place : -1;
      rows.positions[row] = n_context - 1;
      rows.short_positions[row] = n_context - 1;
      rows.n_context[row] = n_context;
      rows.keys[row] = slots.keys[slot];
      if (grown == 0) return;  // many rows have that slot
      slots.n_context[slot] = n_context;
      ++slots.keys[slot].position;
    });
  }
};

struct EndStepProgram {
  using Args = EndStepArgs;
  static constexpr int kThreads = 128;
  struct Shared {};

  static int64_t n_blocks(const Args& args) { return ceil_div(args.n_rows, kThreads); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    block.each([&](int thread) {
      const int64_t row = block.index() * kThreads + thread;
      if (row >= args.n_rows || is_nobodys(args.slots, args.row_slots[row])) return;
      args.slots.tokens[args.row_slots[row]] = args.drawn[row];
    });
  }
};

}  // namespace orrery::kernels::blocks
