#include "orrery/master/prompt_statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "orrery/base/counted.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/master/dynamic_sampling.h"  // share_above

namespace orrery::master {

double PromptFilter::lower_bound(int64_t steps_done) const {
  if (steps_done >= easy_first_steps) return min_pass_rate;
  const double left = 1 - static_cast<double>(steps_done) / static_cast<double>(easy_first_steps);
  return min_pass_rate + (easy_first_from - min_pass_rate) * left;
}

void PromptStatistics::note(const data::RowRef& prompt, std::span<const double> rewards,
                            double correct_above, bool is_accepted) {
  PromptRecord& record = records_[{prompt.dataset, prompt.row}];
  const double share = share_above(rewards, correct_above);
  ++record.groups;
  record.accepted += is_accepted ? 1 : 0;
  record.answers += std::ssize(rewards);
  record.right += std::llround(share * static_cast<double>(rewards.size()));
  if (!rewards.empty()) record.last_pass_rate = share;
}

bool PromptStatistics::draws(const data::RowRef& prompt, const PromptFilter& filter,
                             int64_t steps_done) {
  const auto found = records_.find({prompt.dataset, prompt.row});
  if (!filter.is_on() || found == records_.end()) return true;
  PromptRecord& record = found->second;
  const bool is_wanted = record.answers < filter.after_answers ||
                         (record.last_pass_rate >= filter.lower_bound(steps_done) &&
                          record.last_pass_rate <= filter.max_pass_rate);
  const bool is_tried_again = filter.retry_after > 0 && record.passed_over >= filter.retry_after;
  if (!is_wanted && !is_tried_again) {
    ++record.passed_over;
    return false;
  }
  record.passed_over = 0;
  return true;
}

std::string text_of(const PromptStatistics& statistics) {
  constexpr int kBins = 10;  // between never and always
  std::array<int64_t, kBins + 2> counts{};
  int64_t groups = 0, accepted = 0, answers = 0, right = 0;
  for (const auto& [prompt, record] : statistics.records()) {
    const double rate = record.pass_rate();
    const int bin = rate <= 0   ? 0
                    : rate >= 1 ? kBins + 1
                                : 1 + std::min(kBins - 1, static_cast<int>(rate * kBins));
    ++counts[base::index(bin)];
    groups += record.groups;
    accepted += record.accepted;
    answers += record.answers;
    right += record.right;
  }
  std::string text =
      base::concat(base::counted(statistics.records().size(), "prompt"), " tried, ",
                   base::counted(groups, "group"), " judged, ", accepted, " accepted, ", right,
                   " of ", base::counted(answers, "answer"), " right\n");
  for (int bin = 0; bin < kBins + 2; ++bin) {
    if (counts[base::index(bin)] == 0) continue;
    std::array<char, 48> range{};
    if (bin == 0 || bin == kBins + 1) {
      std::snprintf(range.data(), range.size(), "pass rate %d", bin == 0 ? 0 : 1);
    } else {
      std::snprintf(range.data(), range.size(), "pass rate %.1f to %.1f", (bin - 1) / 10.0,
                    bin / 10.0);
    }
    text += base::concat("  ", range.data(), ": ",
                         base::counted(counts[base::index(bin)], "prompt"), "\n");
  }
  return text;
}

}  // namespace orrery::master
