#include "orrery/kernels/sampling.h"

#include <algorithm>   // find, nth_element, heap
#include <cmath>       // log
#include <functional>  // greater

#include "kernel_table.h"
#include "orrery/base/text.h"  // concat

namespace orrery::kernels {
namespace {

struct Candidate {
  double weight;
  int64_t token;
};

/// Heap order: the most likely on top, of equals the lowest token.
bool less_likely(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight < b.weight : a.token > b.token;
}

/// weights[t] = e^(logit - best) and their sum. A removed logit weighs nothing.
template <class T>
double exponentials(std::span<const T> logits, T best, T* weights) {
  return kernel_table<T>().exp_row(logits.data(), static_cast<int64_t>(logits.size()), T(1), best,
                                   weights);
}

template <class T>
T best_of(std::span<const T> logits) {
  return kernel_table<T>().row_max(logits.data(), static_cast<int64_t>(logits.size()));
}

/// log sum exp of a row is best + log_total.
struct Normaliser {
  double best = 0, log_total = 0;

  template <class T>
  double log_prob(T logit) const {
    return static_cast<double>(logit) - best - log_total;
  }
};

/// Of logits * scale, rounded as apply_sampling_rule rounds them. Differences from the best one are
/// exact, so that a low temperature makes no log-probability above 0.
template <class T>
Normaliser normaliser_of(std::span<const T> logits, T scale, T* scratch) {
  std::span<const T> scaled = logits;
  if (scale != T(1)) {
    for (size_t i = 0; i < logits.size(); ++i) scratch[i] = logits[i] * scale;
    scaled = {scratch, logits.size()};
  }
  const T best = best_of(scaled);
  const double total = exponentials(scaled, best, scratch);
  return {static_cast<double>(best), std::log(total)};
}

template <class T>
T inverse_temperature(const SamplingRule& rule) {
  return static_cast<T>(1 / rule.temperature);
}

constexpr size_t kSumBlock = 64;

/// Eight sums side by side, so that the processor need not wait for one.
template <class T>
double block_sum(const T* weights) {
  double sums[8] = {};
  for (size_t i = 0; i < kSumBlock; i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j] += static_cast<double>(weights[i + j]);
  }
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

template <class T>
void remove_below_top_k(std::span<T> logits, int64_t top_k, T* scratch) {
  if (top_k >= static_cast<int64_t>(logits.size())) return;
  std::copy(logits.begin(), logits.end(), scratch);
  T* const kth = scratch + (top_k - 1);
  std::nth_element(scratch, kth, scratch + logits.size(), std::greater<T>());
  const T threshold = *kth;
  for (T& logit : logits) {
    if (logit < threshold) logit = removed_logit<T>();
  }
}

/// Least likely first, those are removed whose cumulative probability is <= 1 - p. Most likely
/// first, that is to keep while the probability before it is < p; few are kept, so a heap gives
/// them without a full sort.
template <class T>
void remove_beyond_top_p(std::span<T> logits, std::span<const T> original, double top_p,
                         Candidate* heap, T* weights) {
  if (top_p >= 1) return;
  const size_t n = logits.size();
  const T best = best_of(original);
  const double total = exponentials(original, best, weights);
  for (size_t i = 0; i < n; ++i) {
    heap[i] = {static_cast<double>(weights[i]), static_cast<int64_t>(i)};
  }
  std::make_heap(heap, heap + n, less_likely);
  double before = 0;
  size_t left = n;
  while (left > 0 && (left == n || before < top_p * total)) {
    std::pop_heap(heap, heap + left, less_likely);
    --left;
    before += heap[left].weight;
  }
  for (size_t i = 0; i < left; ++i) {
    logits[static_cast<size_t>(heap[i].token)] = removed_logit<T>();
  }
}

}  // namespace

std::string filter_problem(const LogitFilter& filter) {
  if (filter.top_k < 1) {
    return base::concat("top_k is ", filter.top_k, ", expected at least 1");
  }
  if (!(filter.top_p > 0 && filter.top_p <= 1)) {
    return base::concat("top_p is ", filter.top_p, ", expected more than 0 and at most 1");
  }
  return {};
}

int64_t sampling_scratch_bytes(int64_t vocab_size) {
  return vocab_size * static_cast<int64_t>(sizeof(Candidate) + 2 * sizeof(double));
}

template <class T>
void filter_logits(std::span<T> logits, const LogitFilter& filter, void* scratch) {
  if (filter.top_p >= 1 && filter.top_k >= static_cast<int64_t>(logits.size())) return;
  auto* heap = static_cast<Candidate*>(scratch);
  T* weights = reinterpret_cast<T*>(heap + logits.size());
  T* original = weights + logits.size();
  if (filter.order == FilterOrder::kTopKFirst) {
    remove_below_top_k(logits, filter.top_k, weights);
    std::copy(logits.begin(), logits.end(), original);
  } else {
    std::copy(logits.begin(), logits.end(), original);
    remove_below_top_k(logits, filter.top_k, weights);
  }
  remove_beyond_top_p<T>(logits, {original, logits.size()}, filter.top_p, heap, weights);
}

template <class T>
void apply_sampling_rule(std::span<T> logits, const SamplingRule& rule, int64_t n_generated,
                         void* scratch) {
  if (n_generated < rule.min_new_tokens) {
    for (const int64_t id : rule.stop_ids) logits[static_cast<size_t>(id)] = removed_logit<T>();
  }
  for (const int64_t id : rule.never_ids) logits[static_cast<size_t>(id)] = removed_logit<T>();
  if (rule.greedy) return;
  if (rule.temperature != 1) {
    const T scale = inverse_temperature<T>(rule);  // training multiplies too
    for (T& logit : logits) logit *= scale;
  }
  filter_logits(logits, rule.filter, scratch);
}

template <class T>
double log_prob_of(std::span<const T> logits, int64_t token, void* scratch) {
  return normaliser_of(logits, T(1), static_cast<T*>(scratch))
      .log_prob(logits[static_cast<size_t>(token)]);
}

template <class T>
int64_t best_token(std::span<const T> logits) {
  const auto first = std::find(logits.begin(), logits.end(), best_of(logits));
  return first == logits.end() ? 0 : first - logits.begin();  // end: not a number
}

template <class T>
Draw draw_sample(std::span<const T> logits, double uniform, void* scratch) {
  T* weights = static_cast<T*>(scratch);
  const T best = best_of(logits);
  const double total = exponentials(logits, best, weights);
  const double target = uniform * total;
  double cumulative = 0;
  int64_t token = 0;
  // Whole blocks below the target are passed by their sums.
  size_t i = 0;
  for (; i + kSumBlock <= logits.size(); i += kSumBlock) {
    const double after = cumulative + block_sum(weights + i);
    if (after > target) break;
    cumulative = after;
  }
  // The draw is in the block from i on, unless rounding says otherwise: then it is the last of
  // weight > 0 before it.
  for (size_t back = i; back-- > 0;) {
    if (weights[back] == T(0)) continue;
    token = static_cast<int64_t>(back);
    break;
  }
  for (; i < logits.size(); ++i) {
    if (weights[i] == T(0)) continue;
    token = static_cast<int64_t>(i);  // the last of weight > 0 when rounding leaves the sum short
    cumulative += static_cast<double>(weights[i]);
    if (cumulative > target) break;
  }
  return {.token = token,
          .log_prob = static_cast<double>(logits[static_cast<size_t>(token)]) -
                      static_cast<double>(best) - std::log(total)};
}

template <class T>
SampledToken sample_token(std::span<T> logits, const SamplingRule& rule, int64_t n_generated,
                          double uniform, void* scratch) {
  const bool is_changed = !rule.never_ids.empty() || n_generated < rule.min_new_tokens ||
                          rule.filter.top_p < 1 ||
                          rule.filter.top_k < static_cast<int64_t>(logits.size());
  if (!rule.greedy && !is_changed) {
    apply_sampling_rule(logits, rule, n_generated, scratch);
    const Draw draw = draw_sample<T>(logits, uniform, scratch);
    return {draw.token, draw.log_prob, draw.log_prob};
  }
  const T scale = rule.temperature == 1 ? T(1) : inverse_temperature<T>(rule);
  const Normaliser policy = normaliser_of<T>(logits, scale, static_cast<T*>(scratch));
  apply_sampling_rule(logits, rule, n_generated, scratch);
  if (rule.greedy) {
    const int64_t token = best_token<T>(logits);
    return {token, policy.log_prob(logits[static_cast<size_t>(token)] * scale), 0};
  }
  const Draw draw = draw_sample<T>(logits, uniform, scratch);
  return {draw.token, policy.log_prob(logits[static_cast<size_t>(draw.token)]), draw.log_prob};
}

template void filter_logits<float>(std::span<float>, const LogitFilter&, void*);
template void filter_logits<double>(std::span<double>, const LogitFilter&, void*);
template void apply_sampling_rule<float>(std::span<float>, const SamplingRule&, int64_t, void*);
template void apply_sampling_rule<double>(std::span<double>, const SamplingRule&, int64_t, void*);
template int64_t best_token<float>(std::span<const float>);
template int64_t best_token<double>(std::span<const double>);
template Draw draw_sample<float>(std::span<const float>, double, void*);
template Draw draw_sample<double>(std::span<const double>, double, void*);
template double log_prob_of<float>(std::span<const float>, int64_t, void*);
template double log_prob_of<double>(std::span<const double>, int64_t, void*);
template SampledToken sample_token<float>(std::span<float>, const SamplingRule&, int64_t, double,
                                          void*);
template SampledToken sample_token<double>(std::span<double>, const SamplingRule&, int64_t, double,
                                           void*);

}  // namespace orrery::kernels
