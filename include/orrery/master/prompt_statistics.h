// What a run has learned about its prompts: how often each was tried and how often it was solved.
// By it prompts that are too easy or too hard by now are passed over, and training can begin with
// those that are solved most often. Kept in checkpoints. Pure; main thread of the master.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>

#include "orrery/data/row_ref.h"

namespace orrery::master {

struct PromptRecord {
  int64_t groups = 0;    ///< judged
  int64_t accepted = 0;  ///< of these
  int64_t answers = 0;   ///< with a reward, of all groups
  int64_t right = 0;     ///< of these
  double last_pass_rate = 0;
  int64_t passed_over = 0;  ///< since it was drawn last

  double pass_rate() const {
    return answers > 0 ? static_cast<double>(right) / static_cast<double>(answers) : 0;
  }
  bool operator==(const PromptRecord&) const = default;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(groups, accepted, answers, right, last_pass_rate, passed_over);
  }
};

/// Which prompts are passed over when their turn comes. Those that were never tried are not.
struct PromptFilter {
  int64_t after_answers = 0;  ///< judged by their pass rate once they have so many; 0: never
  double min_pass_rate = 0;   ///< drawn while their last pass rate is from here ...
  double max_pass_rate = 1;   ///< ... to here
  int64_t retry_after = 4;    ///< drawn once more after being passed over so often; 0: never
  int64_t easy_first_steps =
      0;  ///< so long the lower bound falls from easy_first_from to its value
  double easy_first_from = 0.5;

  bool is_on() const { return after_answers > 0; }
  /// The lower bound of the pass rate for what is drawn after `steps_done` steps. Local.
  double lower_bound(int64_t steps_done) const;
};

class PromptStatistics {
 public:
  /// Records in order of data set and row.
  using Records = std::map<std::pair<int32_t, int64_t>, PromptRecord>;

  /// Takes in a judged group.
  ///   rewards  of its answers, without those that have none
  void note(const data::RowRef& prompt, std::span<const double> rewards, double correct_above,
            bool is_accepted);

  /// Whether the prompt is drawn now; counts it when it is not.
  bool draws(const data::RowRef& prompt, const PromptFilter& filter, int64_t steps_done);

  const Records& records() const { return records_; }
  bool operator==(const PromptStatistics&) const = default;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(records_);
  }

 private:
  Records records_;
};

/// `120 prompts tried, ...` and how many prompts have which pass rate, for people. Local.
std::string text_of(const PromptStatistics& statistics);

}  // namespace orrery::master
