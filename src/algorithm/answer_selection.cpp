#include "orrery/algorithm/answer_selection.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

namespace orrery::algorithm {

at::Tensor selected_answers(const at::Tensor& scores, const std::vector<int32_t>& group_sizes,
                            const SelectionOptions& options) {
  const at::Tensor wide = scores.to(at::kDouble).contiguous();
  at::Tensor selected = at::ones({scores.numel()}, at::kBool);
  const double* score = wide.const_data_ptr<double>();
  bool* is_selected = selected.mutable_data_ptr<bool>();
  for (const int32_t n : group_sizes) {
    if (options.skip_uniform_groups && n > 1 &&
        std::all_of(score, score + n, [&](double x) { return x == score[0]; })) {
      std::fill_n(is_selected, n, false);
    } else if (options.best_of > 0 && options.best_of < n) {
      std::vector<int32_t> order(static_cast<size_t>(n));
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](int32_t a, int32_t b) { return score[a] > score[b]; });
      for (auto i = order.begin() + options.best_of; i != order.end(); ++i) is_selected[*i] = false;
    }
    score += n;
    is_selected += n;
  }
  return selected;
}

at::Tensor leave_one_out(const at::Tensor& scores, const std::vector<int32_t>& group_sizes) {
  at::Tensor result = scores.clone();
  int64_t begin = 0;
  for (const int32_t n : group_sizes) {
    if (n > 1) {
      at::Tensor group = result.narrow(0, begin, n);
      const at::Tensor others = (group.sum() - group) / (n - 1);
      group.sub_(others);
    }
    begin += n;
  }
  return result;
}

}  // namespace orrery::algorithm
