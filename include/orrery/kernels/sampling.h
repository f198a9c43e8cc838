// From logits to a token: masked tokens, temperature, top-k, top-p, and a draw by inverse
// cumulative sum from one uniform number that the caller keys. A removed logit becomes the lowest
// finite number, not -inf: it can be told from a logit that overflowed.
//
// Two distributions: the policy's, softmax(logits / temperature) over all V, which is what training
// computes; and the one drawn from, which barring and filters make of it.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>

namespace orrery::kernels {

template <class T>
constexpr T removed_logit() {
  return std::numeric_limits<T>::lowest();
}

/// What top-p looks at when both filters are on.
enum class FilterOrder {
  kUnion,      // each filter on the untouched logits; removed is what either removes (generation)
  kTopKFirst,  // top-p on what top-k left
};

struct LogitFilter {
  int64_t top_k = std::numeric_limits<int64_t>::max();  // >= 1
  double top_p = 1;                                     // in (0, 1]
  FilterOrder order = FilterOrder::kUnion;
};

/// What is wrong with a filter, as a sentence; empty: nothing.
std::string filter_problem(const LogitFilter& filter);

/// Bytes of scratch that the functions below need, aligned as operator new does.
int64_t sampling_scratch_bytes(int64_t vocab_size);

/// Sets what the filter removes to removed_logit(). Top-k keeps all ties of the k-th largest; top-p
/// removes, from the least likely up, while the probability so far is <= 1 - p, never the best.
///   logits   [V], changed
///   scratch  sampling_scratch_bytes(V)
/// Local; any thread; allocates nothing.
template <class T>
void filter_logits(std::span<T> logits, const LogitFilter& filter, void* scratch);

/// How a token is chosen from a row of logits.
struct SamplingRule {
  bool greedy = false;     // the best logit that is not masked: no filter
  double temperature = 1;  // > 0; greedy: of the policy, the draw does not use it
  LogitFilter filter = {};
  int64_t min_new_tokens = 0;               // stop ids are masked before this many tokens
  std::span<const int64_t> stop_ids = {};   // each in [0, V)
  std::span<const int64_t> never_ids = {};  // always masked, each in [0, V): what has no text
};

/// Turns logits into those of the distribution that token number `n_generated` (from 0) of an
/// answer is drawn from: ids masked, then, unless greedy, temperature and filter.
template <class T>
void apply_sampling_rule(std::span<T> logits, const SamplingRule& rule, int64_t n_generated,
                         void* scratch);

struct Draw {
  int64_t token = 0;
  double log_prob = 0;  // of softmax(logits)
};

/// The best logit, of equals the first.
template <class T>
int64_t best_token(std::span<const T> logits);

/// Token t with probability softmax(logits)[t]: the first whose cumulative probability is greater
/// than `uniform`, in [0, 1). Never a removed one.
template <class T>
Draw draw_sample(std::span<const T> logits, double uniform, void* scratch);

/// log softmax(logits)[token].
template <class T>
double log_prob_of(std::span<const T> logits, int64_t token, void* scratch);

struct SampledToken {
  int64_t token = 0;
  double log_prob = 0;           // of the policy
  double sampling_log_prob = 0;  // of the distribution drawn from; the same where nothing is masked
                                 // or filtered; greedy: 0, the draw is certain
};

/// Token number `n_generated` (from 0) of an answer by the rule; greedy does not use `uniform`.
///   logits   [V], changed
///   scratch  sampling_scratch_bytes(V)
/// Where something is masked or filtered, one more pass over the row. Local; allocates nothing.
template <class T>
SampledToken sample_token(std::span<T> logits, const SamplingRule& rule, int64_t n_generated,
                          double uniform, void* scratch);

}  // namespace orrery::kernels
