// Numbers of the vectors of objectives: tensors in double, and their comparison within the
// tolerance that the file states.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "golden_file.h"

namespace orrery::algorithm {

inline at::Tensor double_tensor(const nlohmann::json& values) {
  return at::tensor(golden::doubles(values), at::kDouble);
}

/// Undefined where the vectors say null.
inline at::Tensor optional_tensor(const nlohmann::json& values) {
  return values.is_null() ? at::Tensor() : double_tensor(values);
}

/// Of an option that does not apply: 0.
inline double number_or_zero(const nlohmann::json& value) {
  return value.is_null() ? 0.0 : golden::to_double(value);
}

/// One file of vectors with its tolerance.
class Objectives {
 public:
  explicit Objectives(const char* file)
      : path_((golden::objectives_directory() / file).string()),
        absolute_(golden::load(path_).at("tolerance").at("absolute").get<double>()),
        relative_(golden::load(path_).at("tolerance").at("relative").get<double>()) {}

  const std::string& path() const { return path_; }

  /// Numbers that are not finite compare by their class.
  void expect_number(double got, double expected, const std::string& what) const {
    if (!std::isfinite(expected) || !std::isfinite(got)) {
      EXPECT_TRUE(std::isnan(expected) ? std::isnan(got) : got == expected)
          << what << ": " << got << " instead of " << expected;
      return;
    }
    EXPECT_NEAR(got, expected, absolute_ + relative_ * std::abs(expected)) << what;
  }

  void expect_tensor(const at::Tensor& got, const nlohmann::json& expected,
                     const std::string& what) const {
    const std::vector<double> numbers = golden::doubles(expected);
    ASSERT_TRUE(got.defined()) << what;
    const at::Tensor flat = got.detach().to(at::kDouble).flatten().contiguous();
    ASSERT_EQ(flat.numel(), static_cast<int64_t>(numbers.size())) << what;
    for (size_t i = 0; i < numbers.size(); ++i) {
      expect_number(flat.const_data_ptr<double>()[i], numbers[i],
                    what + " at " + std::to_string(i));
    }
  }

 private:
  std::string path_;
  double absolute_;
  double relative_;
};

/// No expectation of the case is left without a look: fails for a name that is not in `known`.
inline void expect_only(const golden::Case& c, const std::vector<std::string>& known) {
  for (const auto& [name, value] : c.expect().items()) {
    EXPECT_TRUE(std::find(known.begin(), known.end(), name) != known.end())
        << "nothing compares " << name;
  }
}

}  // namespace orrery::algorithm
