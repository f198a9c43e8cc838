// Which evaluation found the best model so far, and for how many it has been the best. A function
// of what was evaluated alone, so that a resumed run decides as the one that was killed would have.
// Pure; main thread of the master.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace orrery::master {

class BestModel {
 public:
  struct State {
    std::string metric = {};  ///< of metrics.jsonl; empty: nothing is kept
    int64_t step = -1;        ///< after which it was best; -1: not evaluated yet
    double value = 0;
    int64_t n_without_rise = 0;  ///< evaluations since

    bool operator==(const State&) const = default;
  };

  /// Nothing is kept.
  BestModel() = default;
  ///   metric  its name in metrics.jsonl: `eval/math500/pass@8`
  ///   falls   smaller is better
  BestModel(std::string metric, bool falls) : falls_(falls) { state_.metric = std::move(metric); }

  bool is_kept() const { return !state_.metric.empty(); }
  const State& state() const { return state_; }
  /// One of another metric says nothing about this one's and is passed over.
  void restore(const State& state) {
    if (state.metric == state_.metric) state_ = state;
  }

  /// An evaluation after `step`. Whether the model is better than every one before it; a value that
  /// is equal is not, and neither is one that is not finite.
  bool note(int64_t step, std::optional<double> value);

 private:
  bool falls_ = false;
  State state_;
};

}  // namespace orrery::master
