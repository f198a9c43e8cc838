#include "decode_ahead.h"

#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <type_traits>
#include <utility>

#include "dispatch.h"
#include "orrery/base/error.h"
#include "orrery/model/cuda_stream.h"
#include "orrery/model/uploaded.h"

namespace orrery::model {
namespace {

static_assert(std::is_trivially_copyable_v<kernels::JoinedSequence> &&
              std::is_trivially_copyable_v<kernels::GivenPage>);

kernels::DrawKey* keys_of(const at::Tensor& bytes) {
  return static_cast<kernels::DrawKey*>(bytes.mutable_data_ptr());
}

}  // namespace

DecodeAhead::DecodeAhead(GenerationPass& pass, PagePool& pages, const Drawing& drawing,
                         int64_t table_stride, StepGraphs graphs)
    : pass_(pass),
      pages_(pages),
      drawing_(drawing),
      tables_(operators::cuda::draw_tables(drawing.logits, drawing.rule, drawing.measure_entropy,
                                           drawing.scratch)),
      nobodys_page_(pages.take()),
      graphs_(std::move(graphs)) {
  const int64_t most = drawing.logits.size(0), n_slots = most + 1;
  const at::TensorOptions device = drawing.logits.device();
  const auto of_each = [&](int64_t n, at::ScalarType type) {
    return at::empty({n}, device.dtype(type));
  };
  const auto key_bytes = static_cast<int64_t>(sizeof(kernels::DrawKey));
  tokens_ = of_each(n_slots, at::kLong);
  n_context_ = of_each(n_slots, at::kInt);
  keys_ = of_each(n_slots * key_bytes, at::kByte);
  page_table_ = at::empty({n_slots, table_stride}, device.dtype(at::kInt));
  row_slots_ = of_each(most, at::kInt);
  row_embedding_rows_ = of_each(most, at::kLong);
  row_positions_ = of_each(most, at::kLong);
  row_short_positions_ = of_each(most, at::kInt);
  row_n_context_ = of_each(most, at::kInt);
  row_keys_ = of_each(most * key_bytes, at::kByte);
  drawn_ = of_each(4 * most, at::kDouble);
  for (Arrival& arrival : arrivals_) {
    arrival.numbers = at::empty({4 * most}, at::TensorOptions(at::kDouble).pinned_memory(true));
  }
  joined_.push_back({.slot = nobodys(), .token = 0, .n_context = 1});
  give_page(nobodys(), 0, nobodys_page_);
  for (int32_t slot = nobodys(); slot-- > 0;) free_slots_.push_back(slot);
}

DecodeAhead::~DecodeAhead() { pages_.release(nobodys_page_); }

int32_t DecodeAhead::join(int64_t token, int64_t n_context, const kernels::DrawKey& key,
                          std::span<const int32_t> pages) {
  const int32_t slot = free_slots_.back();
  free_slots_.pop_back();
  joined_.push_back({.slot = slot, .token = token, .n_context = n_context, .key = key});
  for (size_t i = 0; i < pages.size(); ++i) give_page(slot, static_cast<int64_t>(i), pages[i]);
  return slot;
}

void DecodeAhead::give_page(int32_t slot, int64_t place, int32_t page) {
  given_.push_back({.slot = slot, .place = static_cast<int32_t>(place), .page = page});
}

/// What was said of it since the last step goes with it: who has the slot next says the same.
void DecodeAhead::leave(int32_t slot) {
  const auto is_of_slot = [slot](const auto& change) { return change.slot == slot; };
  std::erase_if(joined_, is_of_slot);
  std::erase_if(given_, is_of_slot);
  free_slots_.push_back(slot);
}

kernels::DecodeSlots DecodeAhead::slots() const {
  return {.tokens = mutable_values<int64_t>(tokens_),
          .n_context = mutable_values<int32_t>(n_context_),
          .keys = keys_of(keys_),
          .page_table = mutable_values<int32_t>(page_table_),
          .table_stride = page_table_.size(1),
          .n_slots = tokens_.numel()};
}

void DecodeAhead::upload_changes() {
  if (joined_.empty() && given_.empty()) return;
  const at::Tensor joined = uploaded_bytes<kernels::JoinedSequence>(joined_, tokens_);
  const at::Tensor given = uploaded_bytes<kernels::GivenPage>(given_, tokens_);
  kernels::change_slots_cuda(
      {.slots = slots(),
       .joined = static_cast<const kernels::JoinedSequence*>(joined.const_data_ptr()),
       .pages = static_cast<const kernels::GivenPage*>(given.const_data_ptr()),
       .n_joined = static_cast<int64_t>(joined_.size()),
       .n_pages = static_cast<int64_t>(given_.size())},
      stream_of(tokens_));
  joined_.clear();
  given_.clear();
}

void DecodeAhead::upload_rows(std::span<const int32_t> slots, int64_t n_rows) {
  wanted_rows_.assign(slots.begin(), slots.end());
  wanted_rows_.resize(static_cast<size_t>(n_rows), nobodys());
  if (wanted_rows_ == rows_) return;
  rows_.swap(wanted_rows_);
  row_slots_.narrow(0, 0, n_rows).copy_(pinned<int32_t>(rows_), /*non_blocking=*/true);
}

/// The same at each call with as many rows: it is recorded.
void DecodeAhead::enqueue(int64_t n_rows) {
  const auto rows_of = [&](const at::Tensor& all) { return all.narrow(0, 0, n_rows); };
  const auto* const row_slots = values<int32_t>(row_slots_);
  const cudaStream_t stream = stream_of(tokens_);
  kernels::begin_step_cuda(
      {.slots = slots(),
       .rows = {.slots = row_slots,
                .embedding_rows = mutable_values<int64_t>(row_embedding_rows_),
                .positions = mutable_values<int64_t>(row_positions_),
                .short_positions = mutable_values<int32_t>(row_short_positions_),
                .n_context = mutable_values<int32_t>(row_n_context_),
                .keys = keys_of(row_keys_)},
       .n_rows = n_rows,
       .first_token = pass_.vocabulary().first,
       .n_tokens = pass_.vocabulary().count},
      stream);
  pass_.run({.embedding_rows = rows_of(row_embedding_rows_),
             .positions = rows_of(row_positions_),
             .short_positions = rows_of(row_short_positions_),
             .cache = {.page_table = page_table_,
                       .sequence = rows_of(row_slots_),
                       .n_context = rows_of(row_n_context_)}},
            pages_);
  at::Tensor logits = rows_of(drawing_.logits);
  pass_.compute_logits(logits);
  at::Tensor drawn = drawn_.narrow(0, 0, 4 * n_rows).view({4, n_rows});
  operators::cuda::enqueue_draws(logits, drawing_.rule, tables_, row_keys_, drawn);
  kernels::end_step_cuda({.slots = slots(),
                          .row_slots = row_slots,
                          .drawn = static_cast<const int64_t*>(drawn.const_data_ptr()),
                          .n_rows = n_rows},
                         stream);
}

void DecodeAhead::step(std::span<const int32_t> slots) {
  ORRERY_ASSERT(n_steps_ - n_read_ < 2, "a third decoding step before the first one was read");
  const int64_t n_rows = pass_.rows_of_step(static_cast<int64_t>(slots.size()));
  upload_changes();
  upload_rows(slots, n_rows);
  graphs_.run(n_rows, [&] { enqueue(n_rows); });
  Arrival& arrival = arrival_of(n_steps_++);
  arrival.n_rows = n_rows;
  arrival.n_sequences = slots.size();
  arrival.numbers.narrow(0, 0, 4 * n_rows)
      .copy_(drawn_.narrow(0, 0, 4 * n_rows), /*non_blocking=*/true);
  const c10::impl::VirtualGuardImpl device(c10::kCUDA);
  arrival.is_there.record(device.getStream(drawn_.device()));
}

void DecodeAhead::read(std::vector<Draw>& draws) {
  ORRERY_ASSERT(n_read_ < n_steps_, "draws of a decoding step that was not enqueued");
  Arrival& arrival = arrival_of(n_read_++);
  arrival.is_there.synchronize();
  draws.resize(arrival.n_sequences);
  operators::cuda::read_draws(arrival.numbers.narrow(0, 0, 4 * arrival.n_rows).view({4, -1}),
                              drawing_.measure_entropy, draws);
}

}  // namespace orrery::model
