// Verdicts on answers while others are still being generated. Each travels with its sample as JSON,
// with the hash of what was asked; the reward call takes it where it would ask the same, and asks
// about all other answers itself. What breaks here is left to that call, which meets it again and
// says so. Local; one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "orrery/algorithm/answer_judge.h"
#include "orrery/algorithm/answer_watcher.h"
#include "orrery/algorithm/responses.h"
#include "orrery/data/batch_metadata.h"

namespace orrery::algorithm {

struct EarlyVerdict {
  uint64_t question = 0;  // hash of what was asked
  /// It was in a list that failed as a whole: no verdict, and to be asked about alone.
  bool is_suspect = false;
  Verdict verdict = {};
};

/// By sample and member.
using EarlyVerdicts = std::map<std::pair<uint64_t, int>, EarlyVerdict>;

/// Those that samples bring along for a call.
EarlyVerdicts early_verdicts_of(const data::BatchMetadata& samples, const std::string& call);

class EarlyJudge final : public AnswerWatcher {
 public:
  /// Whether an answer is decided already and must not be asked about.
  using IsDecided = std::function<bool(const Response& response, const std::string& question)>;

  /// `judge` must outlive it and is asked by nobody else before finish().
  EarlyJudge(AnswerJudge& judge, ResponseReader reader, size_t n_samples, IsDecided is_decided);

  void finished(size_t sample, int member, std::span<const int32_t> tokens,
                size_t n_prompt) override;
  void advance() override;
  Findings finish() override;

 private:
  struct Asked {
    size_t sample = 0;
    int member = 0;
    bool is_decided = false;
    EarlyVerdict verdict = {};
  };

  /// Does `work` with the stream, and goes without one when it fails.
  template <class Work>
  void attempt(const Work& work);

  AnswerJudge& judge_;
  ResponseReader reader_;
  size_t n_samples_;
  IsDecided is_decided_;
  std::vector<Asked> asked_;  // in the order in which they were finished
  Findings findings_;
  std::unique_ptr<AnswerJudge::Stream> stream_;
};

}  // namespace orrery::algorithm
