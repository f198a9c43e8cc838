#include "orrery/algorithm/answer_selection.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace orrery::algorithm {

at::Tensor selected_answers(const at::Tensor& scores, const std::vector<int32_t>& group_sizes,
                            const at::Tensor& kept, const SelectionOptions& options) {
  const at::Tensor wide = scores.to(at::kDouble).contiguous();
  at::Tensor selected = kept.to(at::kBool).contiguous().clone();
  const double* score = wide.const_data_ptr<double>();
  bool* is_selected = selected.mutable_data_ptr<bool>();
  for (const int32_t n : group_sizes) {
    std::vector<int32_t> members;
    for (int32_t i = 0; i < n; ++i) {
      if (is_selected[i]) members.push_back(i);
    }
    const auto n_members = static_cast<int64_t>(members.size());
    if (options.skip_uniform_groups && n_members > 1 &&
        std::all_of(members.begin(), members.end(),
                    [&](int32_t i) { return score[i] == score[members.front()]; })) {
      std::fill_n(is_selected, n, false);
    } else if (options.best_of > 0 && options.best_of < n_members) {
      std::stable_sort(members.begin(), members.end(),
                       [&](int32_t a, int32_t b) { return score[a] > score[b]; });
      for (auto i = members.begin() + options.best_of; i != members.end(); ++i) {
        is_selected[*i] = false;
      }
    }
    score += n;
    is_selected += n;
  }
  return selected;
}

}  // namespace orrery::algorithm
