#include "orrery/checkpoint/reader.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"

namespace orrery::checkpoint {

CheckpointReader::CheckpointReader(std::filesystem::path directory)
    : directory_(std::move(directory)), manifest_(read_manifest(directory_)) {}

void CheckpointReader::open_all() {
  if (std::exchange(is_open_, true)) return;
  for (const FileRecord& record : manifest_.files) {
    if (!record.name.ends_with(".h5")) continue;
    if (const uint64_t size = base::file_size(directory_ / record.name); size != record.size) {
      throw CheckpointError(
          base::concat((directory_ / record.name).string(), ": the file is not whole"),
          {.expected = base::counted(record.size, "byte"),
           .got = base::counted(size, "byte"),
           .advice = "use another checkpoint"});
    }
    const ShardReader& file = files_.emplace_back(directory_ / record.name);
    for (size_t i = 0; i < file.slabs().size(); ++i) {
      places_[file.slabs()[i].name].push_back({.file = files_.size() - 1, .slab = i});
    }
  }
}

bool CheckpointReader::has(const std::string& name) {
  open_all();
  return places_.contains(name);
}

std::vector<std::string> CheckpointReader::names() {
  open_all();
  std::vector<std::string> names;
  for (const auto& [name, places] : places_) names.push_back(name);
  return names;
}

const Slab& CheckpointReader::description(const std::string& name) {
  open_all();
  const auto found = places_.find(name);
  if (found == places_.end()) {
    throw CheckpointError(base::concat(directory_.string(), ": ", name, " is not there"));
  }
  const Place& place = found->second.front();
  return files_[place.file].slabs()[place.slab];
}

void CheckpointReader::read(const Slab& wanted, void* out) {
  const Slab& whole = description(wanted.name);
  if (whole.rows != wanted.rows || whole.columns != wanted.columns || whole.dtype != wanted.dtype) {
    throw CheckpointError(
        base::concat(directory_.string(), ": ", wanted.name, " is another matrix"),
        {.expected =
             base::concat("[", wanted.rows, ", ", wanted.columns, "] ", data::name(wanted.dtype)),
         .got = base::concat("[", whole.rows, ", ", whole.columns, "] ", data::name(whole.dtype)),
         .advice = "resume with the model that was trained"});
  }
  const int64_t element = data::size_bytes(wanted.dtype);
  int64_t n_read = 0;  // slabs of different ranks are disjoint: each element is counted once
  for (const Place& place : places_.at(wanted.name)) {
    const Slab& slab = files_[place.file].slabs()[place.slab];
    const int64_t row = std::max(wanted.first_row, slab.first_row);
    const int64_t column = std::max(wanted.first_column, slab.first_column);
    const int64_t n_rows =
        std::min(wanted.first_row + wanted.n_rows, slab.first_row + slab.n_rows) - row;
    const int64_t n_columns =
        std::min(wanted.first_column + wanted.n_columns, slab.first_column + slab.n_columns) -
        column;
    if (n_rows <= 0 || n_columns <= 0) continue;
    const int64_t offset =
        (row - wanted.first_row) * wanted.n_columns + (column - wanted.first_column);
    files_[place.file].read(
        place.slab,
        {.first_row = row, .first_column = column, .n_rows = n_rows, .n_columns = n_columns},
        static_cast<std::byte*>(out) + offset * element, wanted.n_columns);
    n_read += n_rows * n_columns;
  }
  if (n_read != wanted.numel()) {
    throw CheckpointError(
        base::concat(directory_.string(), ": parts of ", wanted.name, " are in no file"),
        {.expected = base::counted(wanted.numel(), "number"),
         .got = base::concat(n_read),
         .advice = "orrery verify tells what else is wrong with it"});
  }
}

void CheckpointReader::read_rows(const Slab& wanted, int64_t max_rows,
                                 const ShardReader::TakeRows& take) {
  description(wanted.name);  // throws where there is none
  for (const Place& place : places_.at(wanted.name)) {
    // As it was written: each byte of the file is read once.
    if (files_[place.file].slabs()[place.slab] == wanted) {
      return files_[place.file].read_rows(place.slab, max_rows, take);
    }
  }
  for (int64_t row = 0; row < wanted.n_rows; row += max_rows) {
    Slab rows = wanted;
    rows.first_row += row;
    rows.n_rows = std::min(max_rows, wanted.n_rows - row);
    take(row, rows.n_rows, [&](void* out) { read(rows, out); });
  }
}

std::optional<std::string> CheckpointReader::blob(const std::string& name) {
  open_all();
  for (const ShardReader& file : files_) {
    const std::vector<std::string> names = file.blobs();
    if (std::find(names.begin(), names.end(), name) != names.end()) return file.blob(name);
  }
  return std::nullopt;
}

}  // namespace orrery::checkpoint
