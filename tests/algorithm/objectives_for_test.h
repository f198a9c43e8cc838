// What the golden tests of objectives share: inputs in double, optional ones undefined, numbers
// compared within the tolerance of the file, and by class where they are not finite.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "golden_file.h"

namespace orrery::algorithm {

inline at::Tensor double_tensor(const nlohmann::json& values) {
  return at::tensor(golden::doubles(values), at::kDouble);
}

/// Undefined where the field is null.
inline at::Tensor optional_doubles(const golden::Case& c, const char* field) {
  return c[field].is_null() ? at::Tensor() : double_tensor(c[field]);
}

inline at::Tensor optional_integers(const golden::Case& c, const char* field) {
  return c[field].is_null() ? at::Tensor() : at::tensor(golden::integers(c[field]), at::kLong);
}

inline std::optional<double> optional_number(const nlohmann::json& options, const char* field) {
  const nlohmann::json& value = options.at(field);
  return value.is_null() ? std::nullopt : std::optional<double>(golden::to_double(value));
}

inline std::optional<int64_t> optional_integer(const nlohmann::json& options, const char* field) {
  const nlohmann::json& value = options.at(field);
  return value.is_null() ? std::nullopt : std::optional<int64_t>(golden::to_int64(value));
}

/// The word of an option; empty where it is null, which no word is.
inline std::string word(const nlohmann::json& options, const char* field) {
  const nlohmann::json& value = options.at(field);
  return value.is_null() ? "" : value.get<std::string>();
}

struct Tolerance {
  double absolute = 0;
  double relative = 0;

  static Tolerance of(const std::string& file) {
    const nlohmann::json& given = golden::load(file).at("tolerance");
    return {given.at("absolute").get<double>(), given.at("relative").get<double>()};
  }

  void expect(double got, const nlohmann::json& expected, const std::string& what) const {
    const double wanted = golden::to_double(expected);
    if (std::isnan(wanted)) {
      EXPECT_TRUE(std::isnan(got)) << what << " is " << got;
    } else if (std::isinf(wanted)) {
      EXPECT_EQ(got, wanted) << what;
    } else {
      EXPECT_LE(std::abs(got - wanted), absolute + relative * std::abs(wanted))
          << what << " is " << got << ", expected " << wanted;
    }
  }

  /// All elements of an array; with `mask` only those where it is true.
  void expect_all(const at::Tensor& got, const nlohmann::json& expected, const std::string& what,
                  const at::Tensor& mask = {}) const {
    ASSERT_TRUE(got.defined()) << what;
    const at::Tensor flat = got.detach().to(at::kDouble).flatten().contiguous();
    ASSERT_EQ(static_cast<size_t>(flat.numel()), expected.size()) << what;
    for (int64_t i = 0; i < flat.numel(); ++i) {
      if (mask.defined() && !mask[i].item<bool>()) continue;
      expect(flat.const_data_ptr<double>()[i], expected.at(static_cast<size_t>(i)),
             what + " at " + std::to_string(i));
    }
  }
};

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
      : path_((golden::objectives_directory() / file).string()), tolerance_(Tolerance::of(path_)) {}

  const std::string& path() const { return path_; }

  void expect_number(double got, double expected, const std::string& what) const {
    tolerance_.expect(got, expected, what);
  }
  void expect_tensor(const at::Tensor& got, const nlohmann::json& expected,
                     const std::string& what) const {
    tolerance_.expect_all(got, expected, what);
  }

 private:
  std::string path_;
  Tolerance tolerance_;
};

/// No expectation of the case is left without a look: fails for a name that is not in `known`.
inline void expect_only(const golden::Case& c, const std::vector<std::string>& known) {
  for (const auto& [name, value] : c.expect().whole().items()) {
    EXPECT_TRUE(std::find(known.begin(), known.end(), name) != known.end())
        << "nothing compares " << name;
  }
}

}  // namespace orrery::algorithm
