// What rank 0 finds out about a data file at start, whatever its format, and sends to the workers,
// which then read only the rows they are told to.
#pragma once

#include <cstdint>
#include <string>
#include <utility>  // move
#include <variant>

#include "orrery/config/experiment.h"  // DatasetConfig
#include "orrery/data/jsonl.h"
#include "orrery/data/token_index.h"
#include "orrery/data/tokenizer.h"

namespace orrery::data {

class DatasetIndex {
 public:
  /// No row.
  DatasetIndex() = default;
  DatasetIndex(JsonlIndex index) : index_(std::move(index)) {}
  DatasetIndex(TokenIndex index) : index_(std::move(index)) {}

  /// Of a file of JSON lines or of tokens (is_token_file). Reads and checks all of it.
  /// Throws DataError or ConfigError: JsonlIndex::build, TokenIndex::build. Rank 0 only.
  static DatasetIndex build(const config::DatasetConfig& dataset, const Tokenizer& tokenizer,
                            const RecordNeeds& needs = {});

  const std::string& path() const {
    return std::visit([](const auto& index) -> const std::string& { return index.path(); }, index_);
  }
  int64_t n_rows() const {
    return std::visit([](const auto& index) { return index.n_rows(); }, index_);
  }
  /// A hash of the usable records in their order: equal for equal data, wherever the file is.
  uint64_t fingerprint() const {
    return std::visit([](const auto& index) { return index.fingerprint(); }, index_);
  }
  const RecordSummary& summary() const {
    return std::visit([](const auto& index) -> const RecordSummary& { return index.summary(); },
                      index_);
  }
  int64_t n_rejected() const {
    return std::visit([](const auto& index) { return index.n_rejected(); }, index_);
  }
  /// RejectedRecords::report.
  std::string report(std::size_t max_lines) const {
    return std::visit([&](const auto& index) { return index.report(max_lines); }, index_);
  }

  /// Null where it is one of JSON lines.
  const TokenIndex* tokens() const { return std::get_if<TokenIndex>(&index_); }
  /// What it holds; of the right format.
  JsonlIndex take_jsonl() && { return std::get<JsonlIndex>(std::move(index_)); }
  TokenIndex take_tokens() && { return std::get<TokenIndex>(std::move(index_)); }

  bool operator==(const DatasetIndex&) const = default;
  template <class Archive>
  void save(Archive& archive) const {
    archive(tokens() != nullptr);
    std::visit([&](const auto& index) { archive(index); }, index_);
  }
  template <class Archive>
  void load(Archive& archive) {
    bool has_tokens = false;
    archive(has_tokens);
    if (has_tokens) index_.emplace<TokenIndex>();
    std::visit([&](auto& index) { archive(index); }, index_);
  }

 private:
  std::variant<JsonlIndex, TokenIndex> index_;
};

}  // namespace orrery::data
