// What the options of a call tell others than its interface, as typed values: an options struct
// that has a member of one of these names gives it. tests/algorithm/option_facts_test.cpp holds
// that those of the interfaces here do.
#pragma once

#include <cstdint>
#include <optional>

#include "orrery/algorithm/rule_match.h"

namespace orrery::algorithm {

struct OptionFacts {
  /// Rewards of a right and of a wrong answer.
  struct Outcomes {
    double correct = 1;
    double wrong = 0;
  };

  int64_t n_minibatches = 1;  ///< optimizer steps for each time that a batch is gone through
  int64_t ppo_epochs = 1;     ///< times that it is gone through
  int64_t group_size = 1;     ///< answers for each prompt
  std::optional<int64_t> max_new_tokens = {};  ///< nothing: no text is generated
  bool greedy = false;
  int64_t top_k = 0;                      ///< 0: all tokens
  std::optional<MatchRule> match = {};    ///< nothing: answers are not compared
  std::optional<Outcomes> outcomes = {};  ///< nothing: not of two rewards
  bool shows_answer = false;              ///< a text that is made has the record's answer in it

  int64_t optimizer_steps_per_call() const { return n_minibatches * ppo_epochs; }
};

template <class Options>
OptionFacts facts_of(const Options& options) {
  OptionFacts facts;
  if constexpr (requires { options.n_minibatches; }) facts.n_minibatches = options.n_minibatches;
  if constexpr (requires { options.ppo_epochs; }) facts.ppo_epochs = options.ppo_epochs;
  if constexpr (requires { options.group_size; }) facts.group_size = options.group_size;
  if constexpr (requires { options.max_new_tokens; }) facts.max_new_tokens = options.max_new_tokens;
  if constexpr (requires { options.greedy; }) facts.greedy = options.greedy;
  if constexpr (requires { options.top_k; }) facts.top_k = options.top_k;
  if constexpr (requires { options.match; }) facts.match = match_rule_named(options.match);
  if constexpr (requires { options.shows_answer(); }) facts.shows_answer = options.shows_answer();
  if constexpr (requires { options.correct, options.wrong; }) {
    facts.outcomes = {.correct = options.correct, .wrong = options.wrong};
  }
  return facts;
}

}  // namespace orrery::algorithm
