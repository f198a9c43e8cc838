#include "orrery/data/rejected_records.h"

#include <utility>  // move

#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // DataError
#include "orrery/base/text.h"   // concat

namespace orrery::data {

namespace {

using base::concat;

constexpr std::size_t kNamedInError = 20;

}  // namespace

void RejectedRecords::add(int64_t line, std::string problem) {
  ++count_;
  if (named_.size() < kMaxNamed) named_.push_back({line, std::move(problem)});
}

std::string RejectedRecords::report(const std::string& path, int64_t n_used,
                                    std::size_t max_lines) const {
  if (count_ == 0) return {};
  std::string text =
      concat(path, ": ", count_, " of ", base::counted(count_ + n_used, "record"), " rejected");
  std::size_t n_named = 0;
  for (const RejectedRecord& record : named_) {
    if (n_named == max_lines) break;
    text += concat("\n  ", path, ":", record.line, ": ", record.problem);
    ++n_named;
  }
  if (count_ > static_cast<int64_t>(n_named)) {
    text += concat("\n  and ", count_ - static_cast<int64_t>(n_named), " more");
  }
  return text;
}

void check_usable(const RejectedRecords& rejected, const UsableCheck& check) {
  const std::string report = rejected.report(check.path, check.n_used, kNamedInError);
  if (rejected.count() > 0 && check.on_bad_record == "fail") {
    throw DataError(
        concat(report, "\n", "correct the file, or set on_bad_record = skip to leave them out"));
  }
  if (check.n_used > 0) return;
  throw DataError(
      concat("data file ", check.path, " has no usable record", report.empty() ? "" : "\n", report),
      {.expected = check.expected,
       .got = rejected.count() == 0 ? check.got : base::counted(rejected.count(), "bad record"),
       .advice = "check the path and the names of its fields"});
}

}  // namespace orrery::data
