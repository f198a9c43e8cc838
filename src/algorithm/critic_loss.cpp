#include "orrery/algorithm/critic_loss.h"

#include <string>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

constexpr double kHuberDelta = 10;

at::Tensor distance(const at::Tensor& a, const at::Tensor& b, ValueDistance kind) {
  if (kind == ValueDistance::kHuber) {
    return at::huber_loss(a, b, at::Reduction::None, kHuberDelta);
  }
  return 0.5 * (a - b).square();
}

}  // namespace

ValueDistance value_distance_named(std::string_view name) {
  if (name == "mse") return ValueDistance::kSquared;
  if (name == "huber") return ValueDistance::kHuber;
  throw ConfigError("value loss",
                    {.expected = "mse or huber", .got = std::string(name), .advice = {}});
}

CriticLoss critic_loss(const CriticLossInput& input, const CriticLossOptions& options) {
  for (const at::Tensor* other : {&input.old_values, &input.targets, &input.mask}) {
    if (other->sizes() == input.values.sizes()) continue;
    throw ShapeError("critic loss: inputs differ in size",
                     {.expected = base::concat(input.values.numel(), " actions everywhere"),
                      .got = base::concat(other->numel()),
                      .advice = {}});
  }
  const at::Tensor clipped =
      at::clamp(input.values, input.old_values - options.clip_range,
                input.old_values + options.clip_range);  // within them the value itself, to the bit
  const at::Tensor plain_loss = distance(input.values, input.targets, options.distance);
  const at::Tensor clipped_loss = distance(clipped, input.targets, options.distance);

  CriticLoss result;
  result.loss = at::maximum(plain_loss, clipped_loss);
  result.clip_mask = plain_loss.detach().lt(clipped_loss.detach()).logical_and(input.mask);
  return result;
}

}  // namespace orrery::algorithm
