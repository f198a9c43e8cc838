// What a check of a GPU found: one figure for each thing that was compared or timed, with its unit,
// what it is measured against, and whether it passed. docs/gpu.md describes the file.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "orrery/base/clock.h"

namespace orrery::gpu_check {

/// What the result on the GPU was compared with.
struct Comparison {
  double difference = 0;  ///< the largest |got - expected| / (1 + |expected|)
  double allowed = 0;
};

/// The largest |got - expected[i mod period]| / (1 + |expected|), where period is the size of
/// `expected`; NaN when any result is no number. `got` is as long or longer.
double largest_difference(std::span<const double> got, std::span<const double> expected);

struct Figure {
  std::string name;
  nlohmann::ordered_json shape = nlohmann::ordered_json::object();
  std::string unit;
  std::optional<double> value = {};
  /// The value that the roofline measured in this run allows, in the same unit.
  std::optional<double> roofline = {};
  std::vector<Comparison> compared = {};
  /// Of the GPU, the most that LibTorch's allocator had given out.
  std::optional<double> peak_gb = {};
};

/// Thrown by the work of a figure that cannot be taken here: it is left out, and says why.
class LeftOut : public std::exception {
 public:
  explicit LeftOut(std::string why) : why_(std::move(why)) {}
  const char* what() const noexcept override { return why_.c_str(); }

 private:
  std::string why_;
};

/// Takes figures one after another, each by work that fills it in, and keeps the file up to date:
/// what was measured before a program was ended is not lost. One thread.
class Figures {
 public:
  /// Throws OutputError when the file cannot be written. What is measured later than `seconds`
  /// after this is left out, and says so.
  Figures(std::filesystem::path file, nlohmann::ordered_json machine, double seconds);

  /// An error of `work`, a result that is no number, or a difference above what is allowed is a
  /// failed figure; the others go on. Throws OutputError only.
  void measure(Figure figure, const std::function<void(Figure&)>& work);
  /// Throws LeftOut where the time is over: for work that takes long.
  void check_time() const;
  /// Something that cannot be measured here.
  void leave_out(const Figure& figure, const std::string& why);

  int n_failed() const { return n_failed_; }

 private:
  enum class Outcome { kPassed, kFailed, kSkipped };
  void add(const Figure& figure, Outcome outcome, const std::string& why);

  std::filesystem::path file_;
  nlohmann::ordered_json content_;
  double seconds_;
  int n_failed_ = 0;
  base::Stopwatch watch_;
};

}  // namespace orrery::gpu_check
