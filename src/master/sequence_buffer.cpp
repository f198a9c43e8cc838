#include "orrery/master/sequence_buffer.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::master {

namespace {

constexpr size_t kWordBits = 64;

uint64_t bit(int index) { return uint64_t{1} << (static_cast<size_t>(index) % kWordBits); }

}  // namespace

SequenceBuffer::SequenceBuffer(int capacity, int n_keys, std::vector<Reader> readers)
    : n_calls_(static_cast<int>(readers.size())),
      words_per_row_(static_cast<int>((base::index(n_keys) + kWordBits - 1) / kWordBits)),
      readers_(std::move(readers)),
      readers_of_key_(base::index(n_keys)),
      ids_(base::index(capacity)),
      births_(base::index(capacity)),
      empty_bits_((base::index(capacity) + kWordBits - 1) / kWordBits),
      key_bits_(base::index(capacity) * base::index(words_per_row_)),
      missing_(base::index(capacity) * base::index(n_calls_)),
      reads_(base::index(capacity)),
      ready_(base::index(n_calls_)) {
  for (int row = 0; row < capacity; ++row) empty_bits_[base::index(row) / kWordBits] |= bit(row);
  for (int call = 0; call < n_calls_; ++call) {
    std::vector<int>& keys = readers_[base::index(call)].keys;
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    for (const int key : keys) readers_of_key_.at(base::index(key)).push_back(call);
  }
  row_of_.reserve(base::index(capacity));
}

bool SequenceBuffer::is_used(int row) const {
  return (empty_bits_[base::index(row) / kWordBits] & bit(row)) == 0;
}

bool SequenceBuffer::has_key(int row, int key) const {
  return (key_bits_[base::index(row) * base::index(words_per_row_) + base::index(key) / kWordBits] &
          bit(key)) != 0;
}

int SequenceBuffer::lowest_empty_row() {
  while (empty_bits_[first_word_with_empty_] == 0) ++first_word_with_empty_;
  return static_cast<int>(first_word_with_empty_ * kWordBits) +
         std::countr_zero(empty_bits_[first_word_with_empty_]);
}

void SequenceBuffer::push_ready(int call, int row) {
  ReadyList& list = ready_[base::index(call)];
  const int64_t birth = births_[base::index(row)];
  if (list.entries.size() > list.head && list.entries.back().birth > birth) list.sorted = false;
  list.entries.push_back({birth, row});
}

void SequenceBuffer::sort_ready(ReadyList& list) {
  if (list.sorted) return;
  std::sort(list.entries.begin() + static_cast<std::ptrdiff_t>(list.head), list.entries.end(),
            [](const Entry& a, const Entry& b) { return a.birth < b.birth; });
  list.sorted = true;
}

std::vector<int> SequenceBuffer::put(std::span<const data::SampleId> ids, std::span<const int> keys,
                                     std::span<const int64_t> births) {
  if (births.size() != ids.size()) {
    throw CallError(
        "sequence buffer: put",
        {.expected = base::concat("one birth for each of ", base::counted(ids.size(), "sample")),
         .got = base::concat(births.size(), " births"),
         .advice = {}});
  }
  if (ids.size() > ids_.size() - base::index(n_used_)) {
    throw CallError(
        "sequence buffer: no room",
        {.expected = base::concat(
             "at most ", base::counted(ids_.size() - base::index(n_used_), "new sample"), ", ",
             n_used_, " of ", base::counted(ids_.size(), "row"), " are in use"),
         .got = base::counted(ids.size(), "sample"),
         .advice = "some call does not read its samples, or loading runs ahead"});
  }
  std::vector<uint64_t> bits(base::index(words_per_row_));
  std::vector<uint16_t> missing;
  for (const Reader& reader : readers_)
    missing.push_back(static_cast<uint16_t>(reader.keys.size()));
  for (const int key : keys) {
    uint64_t& word = bits.at(base::index(key) / kWordBits);
    if ((word & bit(key)) != 0) continue;
    word |= bit(key);
    for (const int call : readers_of_key_.at(base::index(key))) --missing[base::index(call)];
  }

  std::vector<int> rows;
  rows.reserve(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const int row = lowest_empty_row();
    if (!row_of_.try_emplace(ids[i].value, row).second) {
      throw CallError("sequence buffer: put",
                      {.expected = "samples that are not in the buffer",
                       .got = base::concat("sample ", ids[i].value, " a second time"),
                       .advice = {}});
    }
    empty_bits_[base::index(row) / kWordBits] &= ~bit(row);
    ++n_used_;
    ids_[base::index(row)] = ids[i];
    births_[base::index(row)] = births[i];
    reads_[base::index(row)] = 0;
    std::copy(bits.begin(), bits.end(), key_bits_.begin() + row * words_per_row_);
    std::copy(missing.begin(), missing.end(), missing_.begin() + row * n_calls_);
    for (int call = 0; call < n_calls_; ++call) {
      if (missing[base::index(call)] == 0) push_ready(call, row);
    }
    rows.push_back(row);
  }
  return rows;
}

void SequenceBuffer::amend(std::span<const int> rows, std::span<const int> keys) {
  for (const int row : rows) {
    if (row < 0 || row >= capacity() || !is_used(row)) {
      throw CallError("sequence buffer: amend",
                      {.expected = "rows that hold a sample",
                       .got = base::concat("row ", row, ", which is empty"),
                       .advice = "two calls may have answered for the same samples"});
    }
    for (const int key : keys) {
      uint64_t& word =
          key_bits_[base::index(row) * base::index(words_per_row_) + base::index(key) / kWordBits];
      if ((word & bit(key)) != 0) continue;
      word |= bit(key);
      for (const int call : readers_of_key_.at(base::index(key))) {
        if (--missing_[base::index(row) * base::index(n_calls_) + base::index(call)] == 0)
          push_ready(call, row);
      }
    }
  }
}

std::optional<int64_t> SequenceBuffer::youngest_of_next(int call, int64_t n) {
  if (n < 1 || n_ready(call) < n) return std::nullopt;
  ReadyList& list = ready_[base::index(call)];
  sort_ready(list);
  return list.entries[list.head + static_cast<size_t>(n) - 1].birth;
}

void SequenceBuffer::empty_row(int row) {
  row_of_.erase(ids_[base::index(row)].value);
  empty_bits_[base::index(row) / kWordBits] |= bit(row);
  first_word_with_empty_ = std::min(first_word_with_empty_, base::index(row) / kWordBits);
  --n_used_;
}

void SequenceBuffer::forget_ready(int call, int row) {
  ReadyList& list = ready_[base::index(call)];
  const auto begin = list.entries.begin() + static_cast<std::ptrdiff_t>(list.head);
  const auto found = std::find_if(begin, list.entries.end(),
                                  [row](const Entry& entry) { return entry.row == row; });
  if (found != list.entries.end()) list.entries.erase(found);
}

void SequenceBuffer::pass_over(int row, std::span<const int> calls) {
  ORRERY_ASSERT(is_used(row) && reads_[base::index(row)] + calls.size() < base::index(n_calls_));
  for (const int call : calls) forget_ready(call, row);
  reads_[base::index(row)] = static_cast<uint16_t>(reads_[base::index(row)] + calls.size());
}

void SequenceBuffer::remove(std::span<const int> rows) {
  for (const int row : rows) {
    if (row < 0 || row >= capacity() || !is_used(row)) {
      throw CallError("sequence buffer: remove",
                      {.expected = "rows that hold a sample",
                       .got = base::concat("row ", row, ", which is empty"),
                       .advice = {}});
    }
    empty_row(row);
  }
}

SequenceBuffer::Taken SequenceBuffer::take(int call, int64_t n_wanted) {
  const auto n = static_cast<size_t>(n_wanted);
  if (n_ready(call) < n_wanted) {
    throw CallError(base::concat("sequence buffer: call ", call, " is not ready"),
                    {.expected = base::concat(base::counted(n, "sample"), " with all its keys"),
                     .got = base::concat(n_ready(call)),
                     .advice = {}});
  }
  ReadyList& list = ready_[base::index(call)];
  sort_ready(list);
  Taken taken;
  taken.rows.reserve(n);
  for (size_t i = 0; i < n; ++i) {
    const int row = list.entries[list.head + i].row;
    taken.rows.push_back(row);
    if (++reads_[base::index(row)] != n_calls_) continue;
    taken.freed.push_back(row);
    empty_row(row);
  }
  list.head += n;
  if (list.head == list.entries.size()) {
    list.entries.clear();
    list.head = 0;
    list.sorted = true;
  } else if (list.head > list.entries.size() / 2) {
    list.entries.erase(list.entries.begin(),
                       list.entries.begin() + static_cast<std::ptrdiff_t>(list.head));
    list.head = 0;
  }
  return taken;
}

}  // namespace orrery::master
