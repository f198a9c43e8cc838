// Who looks at answers while others are still being generated, so that judging them does not have
// to wait for the last one. It works in pieces, between two tokens, on the thread that generates;
// what it finds travels with the samples and changes no number: the call that judges would find the
// same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace orrery::algorithm {

class AnswerWatcher {
 public:
  virtual ~AnswerWatcher() = default;

  /// A member of the sample in this place of the batch has its answer.
  ///   tokens  prompt and answer, the end token included
  virtual void finished(size_t sample, int member, std::span<const int32_t> tokens,
                        size_t n_prompt) = 0;
  /// Does what can be done without waiting.
  virtual void advance() = 0;

  /// What was found.
  struct Findings {
    std::vector<std::string> of_samples = {};  ///< JSON texts; empty: nothing
    int64_t n_answers = 0;                     ///< that were judged
    int64_t began_us = 0, ended_us = 0;        ///< since 1970; 0: nothing was judged
  };
  /// All answers are there. Waits for what is under way, and begins nothing new.
  virtual Findings finish() = 0;
};

/// Name under which samples carry the findings for a call (BatchMetadata::extra).
inline std::string findings_for(const std::string& call) { return "findings/" + call; }

}  // namespace orrery::algorithm
