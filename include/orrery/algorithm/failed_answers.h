// Answers that have no reward: why, what is remembered of them and when they are too many.
//
// Whether an answer fails can depend on time (a verifier that hangs), so a resumed run must not
// decide it anew: every decision is on disk before anything is trained with it, and the steps that
// are done again find it there. The record is never cut back to a checkpoint; a decision counts for
// the same question only, so that a run that has become another one asks anew.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/comm/communicator.h"

namespace orrery::algorithm {

enum class FailureReason : uint8_t {
  kTimeout,    ///< the command did not answer in time
  kDied,       ///< it ended at this answer
  kMalformed,  ///< it wrote something else than a reward
  kNotFinite,  ///< the reward is NaN or infinite, as fp32 if not before
  kAbstained,  ///< it said that it gives none: null
  kRaised,     ///< the Python function raised an exception
  kTooLong,    ///< a judge has no room for it
};
inline constexpr std::array kFailureReasons = {FailureReason::kTimeout,   FailureReason::kDied,
                                               FailureReason::kMalformed, FailureReason::kNotFinite,
                                               FailureReason::kAbstained, FailureReason::kRaised,
                                               FailureReason::kTooLong};
/// `timeout`, `died`, `malformed`, `not_finite`, `abstained`, `raised`, `too_long`.
std::string_view name_of(FailureReason reason);
std::optional<FailureReason> failure_reason_named(std::string_view name);

/// One answer without a reward.
struct FailedAnswer {
  uint64_t sample = 0;
  int64_t member = 0;  ///< of the sample's group
  FailureReason reason = FailureReason::kTimeout;
  std::string what = {};  ///< what was seen; empty on ranks that did not see it
  int64_t restarts = 0;   ///< processes that were ended for it
  uint64_t question = 0;  ///< hash of what was asked
};

/// `timeout 2, died 1: 12/0 (no answer for 60 s), 12/3, and 5 more`; with what was seen of the
/// first.
std::string text_of(const std::vector<FailedAnswer>& failed);

/// Those of all ranks in rank order, without `what`. Collective.
std::vector<FailedAnswer> gather_failed(const std::vector<FailedAnswer>& own,
                                        comm::Communicator& group);

/// The decisions of a call on disk: a line for each in FOLDER/CALL-rank-R.jsonl of whoever decided.
/// Main thread of a worker.
class FailedAnswerRecord {
 public:
  /// Reads those of `call` of steps from `first_step` on, whichever data rank decided them.
  FailedAnswerRecord(std::filesystem::path folder, std::string call, int data_rank,
                     int64_t first_step);

  /// What was decided before this run was resumed, or null.
  const FailedAnswer* find(int64_t step, uint64_t sample, int64_t member, uint64_t question) const;
  /// Writes decisions, before anything is done with them. Throws OutputError.
  void add(int64_t step, const std::vector<FailedAnswer>& failed);

 private:
  struct Key {
    int64_t step;
    uint64_t sample;
    int64_t member;
    uint64_t question;
    auto operator<=>(const Key&) const = default;
  };

  std::filesystem::path file_;
  std::string call_;
  std::map<Key, FailedAnswer> known_;
  std::unique_ptr<base::AppendFile> out_;  // from the first decision on
};

/// Shares above which a job stops: the options max_failed_share and max_failed_share_20_steps.
struct FailureCeilings {
  double of_step = 0.5;
  double of_20_steps = 0.2;
};

/// How many of the answers of a call failed lately, over all its data ranks. Goes into checkpoints.
class FailedShare {
 public:
  static constexpr size_t kSteps = 20;

  /// Of this step, to what it has already; of the steps before it up to kSteps - 1 are kept, of
  /// later ones (a run that goes on from an earlier step) none.
  ///   answers   that were asked for
  ///   expected  of the whole step, if the call runs again in it
  void add(int64_t step, int64_t answers, int64_t expected,
           const std::vector<FailedAnswer>& failed);

  struct Share {
    int64_t failed = 0;
    int64_t answers = 0;
    bool is_above(double ceiling) const {
      return static_cast<double>(failed) > ceiling * static_cast<double>(answers);
    }
  };
  Share of_step() const;                   ///< of the last one
  std::optional<Share> of_window() const;  ///< of the last kSteps; nothing before so many were done
  const std::vector<FailedAnswer>& failed_in_step() const { return steps_.back().failed; }

  struct Excess {
    Share share;
    bool is_of_step = true;  ///< else of the last kSteps
    double ceiling = 0;

    /// The option that sets the ceiling.
    const char* key() const {
      return is_of_step ? "max_failed_share" : "max_failed_share_20_steps";
    }
    /// With the failed answers that it names and what is to be mended.
    CallError error(const std::vector<FailedAnswer>& failed, const std::string& call,
                    const std::string& advice) const;
  };
  /// Nothing: they are not too many.
  std::optional<Excess> excess(const FailureCeilings& ceilings) const;

  /// For checkpoints: steps with their decisions (sample, member, reason); empty: none yet.
  std::string state() const;
  /// Throws CheckpointError for another text.
  void restore(const std::string& state);

 private:
  struct Step {
    int64_t step = 0;
    int64_t answers = 0;
    int64_t expected = 0;
    std::vector<FailedAnswer> failed = {};
  };
  std::deque<Step> steps_;
};

}  // namespace orrery::algorithm
