// Signs of a run that learns nothing, from the numbers of its steps: what a step may well show, and
// a run that goes on like that hardly means. Rank 0; plain values.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace orrery::cli {

class LearningWatch {
 public:
  /// Steps in a row that a sign must last to be worth a warning; then again after as many.
  static constexpr int64_t kLasting = 20;

  /// Takes in the numbers of one call of one step, by names such as `actor_train/grad_norm`.
  /// Returns a warning for each sign that has lasted.
  std::vector<std::string> on_call(const std::string& call,
                                   const std::map<std::string, double>& numbers);

  /// Why the run trained nothing: a call of which every update had numbers that are not finite or,
  /// in a run that was seen whole, not one update was made for whatever reason. Empty when there is
  /// none.
  std::string reason_of_no_update(bool is_whole_run) const;

  /// For how long each sign has lasted, as JSON, for a checkpoint; and back. Throws
  /// CheckpointError.
  std::string lasting_text() const;
  void set_lasting(const std::string& text);

 private:
  struct Updates {
    double done = 0;
    double not_finite = 0;
    double without_weight = 0;
    double stopped_early = 0;
  };
  std::map<std::string, int64_t> lasting_;  // sign of a call -> steps in a row
  std::map<std::string, Updates> updates_;  // by call
};

}  // namespace orrery::cli
