// Golden numbers as tensors, and their comparison.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <span>
#include <string>
#include <vector>

#include "golden_file.h"

namespace orrery::algorithm {

inline at::Tensor float_tensor(const nlohmann::json& values) {
  return at::tensor(golden::floats(values), at::kFloat);
}

inline at::Tensor bool_tensor(const nlohmann::json& values) {
  return at::tensor(golden::int32s(values), at::kInt).to(at::kBool);
}

/// Within the tolerance of the vectors' README: rtol 1e-5, atol 1e-6; `scale` times that where the
/// order of a long sum matters.
inline void expect_near(const at::Tensor& got, const nlohmann::json& expected,
                        const std::string& what, double scale = 1) {
  ASSERT_TRUE(got.defined()) << what;
  const at::Tensor flat = got.detach().to(at::kDouble).flatten().contiguous();
  const std::span<const double> numbers(flat.const_data_ptr<double>(),
                                        static_cast<size_t>(flat.numel()));
  golden::expect_close(numbers, expected, what, golden::Tolerance{}.times(scale));
}

/// Differentiable log-probabilities of the next tokens and the entropy of each distribution, from
/// logits [T, V] as the vectors have them.
struct NextTokens {
  at::Tensor log_probs;  // [A]
  at::Tensor entropy;    // [A]
};

inline NextTokens next_tokens(const at::Tensor& logits, const std::vector<int64_t>& ids,
                              const std::vector<int32_t>& lengths) {
  std::vector<int64_t> rows, targets;
  int64_t begin = 0;
  for (const int32_t n : lengths) {
    for (int32_t t = 0; t + 1 < n; ++t) {
      rows.push_back(begin + t);
      targets.push_back(ids.at(static_cast<size_t>(begin + t + 1)));
    }
    begin += n;
  }
  const at::Tensor all = at::log_softmax(logits.index_select(0, at::tensor(rows, at::kLong)), -1);
  const at::Tensor probabilities = all.detach().exp();
  return {all.gather(1, at::tensor(targets, at::kLong).unsqueeze(1)).squeeze(1),
          -(probabilities * (probabilities + 1e-7).log()).sum(-1)};
}

}  // namespace orrery::algorithm
