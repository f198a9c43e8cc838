#include "orrery/master/row_metadata.h"

#include <functional>
#include <numeric>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::master {

namespace {

int64_t element_bytes(const data::KeyMetadata& metadata) {
  return std::accumulate(metadata.trailing_shape.begin(), metadata.trailing_shape.end(),
                         data::size_bytes(metadata.dtype), std::multiplies<>());
}

}  // namespace

const RowMetadata::Cell& RowMetadata::cell(int row, int key) const {
  if (base::index(key) >= columns_.size() || columns_[base::index(key)].empty() ||
      columns_[base::index(key)][base::index(row)].chunk < 0) {
    throw CallError("metadata of a sample",
                    {.expected = base::concat("key ", key, " for the sample in row ", row),
                     .got = "nothing under this key",
                     .advice = "the call that writes this key must come before"});
  }
  return columns_[base::index(key)][base::index(row)];
}

void RowMetadata::drop(Cell& cell) {
  if (cell.chunk < 0) return;
  Chunk& chunk = chunks_[base::index(cell.chunk)];
  if (--chunk.references == 0) {
    chunk = {};
    free_chunks_.push_back(cell.chunk);
  }
  cell.chunk = -1;
}

void RowMetadata::record(std::span<const int> rows, int key, const data::KeyMetadata& metadata) {
  if (rows.size() != metadata.lengths.size()) {
    throw CallError(base::concat("metadata of key ", metadata.key),
                    {.expected = base::concat("lengths of ", base::counted(rows.size(), "sample")),
                     .got = base::concat(metadata.lengths.size()),
                     .advice = {}});
  }
  if (rows.empty()) return;
  if (base::index(key) >= columns_.size()) columns_.resize(base::index(key) + 1);
  if (columns_[base::index(key)].empty()) columns_[base::index(key)].resize(base::index(n_rows_));
  int number = static_cast<int>(chunks_.size());
  if (free_chunks_.empty()) {
    chunks_.emplace_back();
  } else {
    number = free_chunks_.back();
    free_chunks_.pop_back();
  }
  chunks_[base::index(number)] = {metadata, element_bytes(metadata), static_cast<int>(rows.size())};
  for (size_t i = 0; i < rows.size(); ++i) {
    Cell& cell = columns_[base::index(key)][base::index(rows[i])];
    drop(cell);
    cell = {number, static_cast<int>(i)};
  }
}

void RowMetadata::record_extra(std::span<const int> rows,
                               const std::map<std::string, std::vector<std::string>>& extra) {
  for (const auto& [name, texts] : extra) {
    if (texts.size() != rows.size()) {
      throw CallError(base::concat("metadata ", name),
                      {.expected = base::concat("texts of ", base::counted(rows.size(), "sample")),
                       .got = base::concat(texts.size()),
                       .advice = {}});
    }
    std::vector<std::string>& column = extra_[name];
    column.resize(base::index(n_rows_));
    for (size_t i = 0; i < rows.size(); ++i) column[base::index(rows[i])] = texts[i];
  }
}

data::KeyMetadata RowMetadata::assemble(std::span<const int> rows, int key) const {
  const data::KeyMetadata* first = nullptr;
  int last_chunk = -1;
  std::vector<int32_t> lengths, offsets;
  lengths.reserve(rows.size());
  offsets.reserve(rows.size() + 1);
  offsets.push_back(0);
  for (const int row : rows) {
    const Cell& from = cell(row, key);
    const data::KeyMetadata& source = chunks_[base::index(from.chunk)].metadata;
    if (first == nullptr) first = &source;
    if (from.chunk != last_chunk &&
        (source.dtype != first->dtype || source.trailing_shape != first->trailing_shape)) {
      throw CallError(base::concat("key ", source.key, ": samples disagree"),
                      {.expected = base::concat("type ", data::name(first->dtype),
                                                " and equal trailing shapes in a batch"),
                       .got = base::concat("type ", data::name(source.dtype)),
                       .advice = "all workers must produce a key in the same type and shape"});
    }
    last_chunk = from.chunk;
    const std::span<const int32_t> own = source.lengths.of(base::index(from.index));
    lengths.insert(lengths.end(), own.begin(), own.end());
    offsets.push_back(static_cast<int32_t>(lengths.size()));
  }
  if (first == nullptr) return {};
  // Made in one piece: a default-constructed NestedLengths would allocate, and a large job makes
  // tens of thousands of these a step.
  return {.key = first->key,
          .dtype = first->dtype,
          .trailing_shape = first->trailing_shape,
          .lengths = data::NestedLengths::from_flat(std::move(lengths), std::move(offsets))};
}

std::map<std::string, std::vector<std::string>> RowMetadata::assemble_extra(
    std::span<const int> rows) const {
  std::map<std::string, std::vector<std::string>> result;
  for (const auto& [name, column] : extra_) {
    std::vector<std::string> texts;
    bool has_any = false;
    for (const int row : rows) {
      const std::string& text = column[base::index(row)];
      has_any = has_any || !text.empty();
      texts.push_back(text.empty() ? "null" : text);
    }
    if (has_any) result.emplace(name, std::move(texts));
  }
  return result;
}

int64_t RowMetadata::elements(int row, int key) const {
  const Cell& from = cell(row, key);
  return chunks_[base::index(from.chunk)].metadata.lengths.total(base::index(from.index));
}

int64_t RowMetadata::bytes(int row, int key) const {
  const Cell& from = cell(row, key);
  const Chunk& chunk = chunks_[base::index(from.chunk)];
  return chunk.metadata.lengths.total(base::index(from.index)) * chunk.element_bytes;
}

void RowMetadata::forget(std::span<const int> rows) {
  for (std::vector<Cell>& column : columns_) {
    if (column.empty()) continue;
    for (const int row : rows) drop(column[base::index(row)]);
  }
  for (auto& [name, column] : extra_) {
    for (const int row : rows) column[base::index(row)].clear();
  }
}

}  // namespace orrery::master
