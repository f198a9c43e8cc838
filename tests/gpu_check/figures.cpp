#include "figures.h"

#include <algorithm>
#include <cmath>
#include <iostream>
#include <limits>
#include <utility>

#include "orrery/base/file.h"
#include "orrery/base/text.h"

namespace orrery::gpu_check {

namespace {

/// What is wrong with the numbers of a figure; empty: nothing.
std::string problem_of(const Figure& figure) {
  if (figure.value && !std::isfinite(*figure.value)) return "the figure is not a number";
  for (const Comparison& compared : figure.compared) {
    if (std::isnan(compared.difference)) return "a result on the GPU is not a number";
    if (compared.difference > compared.allowed) {
      return base::concat("differs from the CPU's by ", compared.difference, ", allowed are ",
                          compared.allowed);
    }
  }
  return "";
}

}  // namespace

double largest_difference(std::span<const double> got, std::span<const double> expected) {
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double wanted = expected[i % expected.size()];
    const double difference = std::abs(got[i] - wanted) / (1 + std::abs(wanted));
    if (std::isnan(difference)) return std::numeric_limits<double>::quiet_NaN();
    largest = std::max(largest, difference);
  }
  return largest;
}

Figures::Figures(std::filesystem::path file, nlohmann::ordered_json machine, double seconds)
    : file_(std::move(file)), seconds_(seconds) {
  content_["machine"] = std::move(machine);
  content_["figures"] = nlohmann::ordered_json::array();
  base::publish_file(file_, content_.dump(1) + "\n");
}

void Figures::measure(Figure figure, const std::function<void(Figure&)>& work) {
  Outcome outcome = Outcome::kFailed;
  std::string problem;
  try {
    check_time();
    work(figure);
    problem = problem_of(figure);
    if (problem.empty()) outcome = Outcome::kPassed;
  } catch (const LeftOut& left_out) {
    outcome = Outcome::kSkipped;
    problem = left_out.what();
  } catch (const std::exception& error) {
    problem = error.what();
  }
  add(figure, outcome, problem);
}

void Figures::check_time() const {
  if (watch_.seconds() <= seconds_) return;
  throw LeftOut(base::concat("cut: the ", seconds_, " seconds of this part are over"));
}

void Figures::leave_out(const Figure& figure, const std::string& why) {
  add(figure, Outcome::kSkipped, why);
}

void Figures::add(const Figure& figure, Outcome outcome, const std::string& why) {
  static constexpr const char* kNames[] = {"passed", "failed", "skipped"};
  nlohmann::ordered_json entry = {{"name", figure.name}, {"shape", figure.shape}};
  const bool has_value = figure.value && std::isfinite(*figure.value);
  if (has_value) {
    entry["unit"] = figure.unit;
    entry["value"] = *figure.value;
  }
  if (has_value && figure.roofline) {
    entry["reference"] = {{"name", "roofline measured in this run"}, {"value", *figure.roofline}};
    // Of a time the roofline is the smaller number, of a rate the larger one.
    const bool is_time = figure.unit == "us";
    const double upper = is_time ? *figure.roofline : *figure.value;
    const double lower = is_time ? *figure.value : *figure.roofline;
    if (lower > 0) entry["ratio"] = upper / lower;
  }
  // The one nearest to its limit, or beyond it furthest.
  const auto strain = [](const Comparison& compared) {
    if (!std::isfinite(compared.difference)) return std::numeric_limits<double>::infinity();
    if (compared.difference == 0) return 0.0;
    return compared.difference / compared.allowed;
  };
  const auto worst = std::max_element(
      figure.compared.begin(), figure.compared.end(),
      [&](const Comparison& a, const Comparison& b) { return strain(a) < strain(b); });
  if (worst != figure.compared.end()) {
    entry["difference"] = worst->difference;  // null in the file where it is not a number
    entry["allowed_difference"] = worst->allowed;
  }
  if (figure.peak_gb) entry["peak_gb"] = *figure.peak_gb;
  entry["outcome"] = kNames[static_cast<int>(outcome)];
  if (!why.empty()) entry["why"] = why;
  if (outcome == Outcome::kFailed) {
    ++n_failed_;
    std::cerr << "gpu_check: " << figure.name << ' ' << figure.shape.dump() << ": " << why << '\n';
  }
  content_["figures"].push_back(std::move(entry));
  base::publish_file(file_, content_.dump(1) + "\n");
}

}  // namespace orrery::gpu_check
