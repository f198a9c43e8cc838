// The loop of generation:
//
//   resume: preempted sequences that find a place and pages are prefilled again, the oldest first
//   admit:  the next waiting members take free places; prompts not seen yet are prefilled together,
//           and all their members' first tokens drawn
//   decode: one token for every sequence in a place
//   retire: finished sequences give back their place and pages
//
// until nothing waits and no place is taken. Pages: a prompt holds its pages until its last member
// is admitted; a member shares the full ones and has a copy of the last, partly filled one. A page
// is taken when a sequence reaches it. When none is left the youngest sequence is preempted: it
// gives its pages back and keeps its tokens. Who is admitted, preempted and resumed is a function
// of page counts, never of time; what a sequence draws depends on none of it, since a resumed
// one's rows go through the kernels that made them (operators::attend_cached).
//
// A GPU with all layers decodes ahead (decode_ahead.h): a step is enqueued before the tokens of the
// one before are known. So a sequence that drew a stop id is in one step more, whose token is
// dropped, and gives back its place and pages after that was enqueued. Where a page is wanted and
// none is left the tokens are waited for, and whoever ended gives its pages back, before anyone is
// preempted.
//
// All shards of a data rank run the same loop. Tensor ranks have the same logits and draw the same;
// the last stage of a pipeline tells the others what it drew. Private to src/model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "decode_ahead.h"
#include "generation_pass.h"
#include "orrery/kernels/sampling.h"
#include "orrery/model/generator.h"
#include "page_pool.h"

namespace orrery::model {

class GenerationLoop {
 public:
  GenerationLoop(const Decoder& decoder, const GenerationWeights& weights,
                 const PackedTokens& prompts, std::span<const SamplingKey> keys,
                 const GenerationOptions& options, const GenerationListener& listener);

  GenerationResult run();

 private:
  /// A prompt from its prefill until its last member is admitted.
  struct LivePrompt {
    std::vector<int32_t> pages;
    std::vector<Draw> first;  // [group_size] each member's first token; empty: not yet
  };

  /// A sequence that is being decoded. Row i of page_table_ belongs to places_[i].
  struct Place {
    int64_t sequence;
    int64_t n_context;     // tokens whose keys and values are in the cache
    int64_t n_pages;       // that it holds: the first of its row
    int64_t limit;         // new tokens it may have
    int64_t n_unread = 0;  // tokens that were drawn, or will be, and are not in the result yet
    int32_t slot = 0;      // of ahead_
  };

  int64_t prompt_of(int64_t sequence) const { return sequence / options_.group_size; }
  int64_t prompt_length(int64_t prompt) const;
  const int64_t* prompt_tokens(int64_t prompt) const;
  int64_t new_tokens_of(int64_t prompt) const;
  int64_t n_generated_of(int64_t sequence) const;
  bool goes_on(const Place& place) const;
  int64_t worst_case_pages() const;
  bool has_room(int64_t n_pages) const;
  int32_t* table_row(size_t place);

  void resume();
  void resume_first();
  void admit();
  bool prefill_next();
  void draw_first_tokens(int64_t first_prompt);
  void admit_member(int64_t sequence);
  void add_place(Place place);
  bool take_pages();
  size_t preempt_youngest();
  void leave_place(size_t place);
  void remove_place(size_t place);
  template <class IsOver>
  void remove_places(const IsOver& is_over);
  void decode_step();
  void decode_now();
  void decode_ahead();
  void read_step();

  void run_pass(std::span<const int64_t> tokens, const int32_t* page_table, Tokens kind);
  void compute_logits();
  kernels::DrawKey key_of(int64_t sequence) const;
  void draw(at::Tensor& logits, size_t first);
  void check_groups();
  void share_draws();
  bool append(const Place& place, const Draw& draw);

  const Shard& shard_;
  const Architecture& architecture_;
  const Architecture local_;  // of the shard
  const PackedTokens& prompts_;
  std::span<const SamplingKey> keys_;
  const GenerationOptions& options_;
  const GenerationListener& listener_;
  int64_t n_prompts_, n_sequences_, n_places_, longest_prompt_, max_context_, table_stride_;
  const MatmulRows matmul_rows_;
  int64_t max_rows_;  // of one pass
  kernels::SamplingRule rule_;
  GenerationPass pass_;
  const int64_t worst_case_pages_;
  const bool is_limited_;  // the cache has fewer pages
  PagePool pages_;
  std::vector<LivePrompt> live_;     // [prompts]
  std::vector<int32_t> page_table_;  // [places, table_stride]
  at::Tensor logits_;                // [rows of a step that fills all places, V]
  at::Tensor pass_logits_;           // those of the running pass
  at::Tensor members_;               // [rows, V] members' copies of their prompts' logits
  at::Tensor draw_scratch_;
  std::vector<kernels::DrawKey> draw_keys_;
  std::vector<Draw> draws_;
  int64_t next_ = 0;             // the first sequence not admitted yet
  std::set<int64_t> preempted_;  // sequences
  std::vector<Place> places_;
  std::unique_ptr<DecodeAhead> ahead_;  // null: each step is waited for
  std::vector<int64_t> unread_;         // sequences of the step that was enqueued and not read
  std::vector<int64_t> tokens_;
  std::vector<int32_t> n_context_, cu_seqlens_;
  std::vector<int32_t> prefill_table_;  // [prompts of a prefill, table_stride]
  GenerationResult result_;
};

}  // namespace orrery::model
