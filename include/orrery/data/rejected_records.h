// The records of a data file that cannot be used, as its author wants to hear of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace orrery::data {

/// A record that cannot be used.
struct RejectedRecord {
  int64_t line = 0;  ///< from 1: of a file of JSON lines, else the number of the record
  std::string problem;

  bool operator==(const RejectedRecord&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(line, problem);
  }
};

/// All are counted; the first kMaxNamed are kept in words.
class RejectedRecords {
 public:
  static constexpr std::size_t kMaxNamed = 1000;

  void add(int64_t line, std::string problem);

  int64_t count() const { return count_; }
  const std::vector<RejectedRecord>& named() const { return named_; }

  /// `data/x.jsonl: 3 of 120 records rejected`, then `file:line: problem` lines, at most
  /// `max_lines` of them. Empty when there is nothing to report.
  std::string report(const std::string& path, int64_t n_used, std::size_t max_lines) const;

  bool operator==(const RejectedRecords&) const = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(named_, count_);
  }

 private:
  std::vector<RejectedRecord> named_;
  int64_t count_ = 0;
};

/// Ends the reading of a data file of `n_used` good records if it cannot be used: with
/// `on_bad_record = fail` when any record is bad, always when none is good.
/// Throws DataError that names the first twenty in full.
struct UsableCheck {
  const std::string& path;
  const std::string& on_bad_record;
  int64_t n_used = 0;
  std::string expected;  ///< of a file with records
  std::string got;       ///< of one without
};
void check_usable(const RejectedRecords& rejected, const UsableCheck& check);

}  // namespace orrery::data
