#include "orrery/algorithm/loss_inputs.h"

#include <ATen/ATen.h>

#include <cmath>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

void check_size(const char* what, const at::Tensor& tensor, int64_t expected) {
  if (tensor.defined() && tensor.numel() == expected) return;
  throw ShapeError(
      base::concat("inputs of a loss: ", what),
      {.expected = base::counted(expected, "number"),
       .got = tensor.defined() ? base::counted(tensor.numel(), "number") : std::string("none"),
       .advice = {}});
}

void refuse_nonfinite(const char* what, const at::Tensor& tensor, const at::Tensor& mask) {
  at::Tensor is_bad = at::isfinite(tensor.detach()).logical_not();
  if (mask.defined()) is_bad = is_bad.logical_and(mask);
  const auto n_bad = is_bad.sum().item<int64_t>();
  if (n_bad == 0) return;
  throw CallError(
      base::concat("inputs of a loss: ", what),
      {.expected = "finite numbers",
       .got = base::concat(n_bad, " of ", tensor.numel(), " are NaN or infinite"),
       .advice = "the weights of the model that gave them are broken or have diverged"});
}

void check_option(const char* name, double value, double low, double high) {
  if (std::isfinite(value) && value >= low && value <= high) return;
  throw ConfigError(
      base::concat("option ", name),
      {.expected = base::concat(low, " to ", high), .got = base::concat(value), .advice = {}});
}

void check_positive(const char* name, double value) {
  if (std::isfinite(value) && value > 0) return;
  throw ConfigError(
      base::concat("option ", name),
      {.expected = "a finite number above 0", .got = base::concat(value), .advice = {}});
}

}  // namespace orrery::algorithm
