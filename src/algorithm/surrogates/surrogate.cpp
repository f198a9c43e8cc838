#include "orrery/algorithm/surrogate.h"

#include <ATen/ATen.h>

#include "orrery/base/error.h"

namespace orrery::algorithm {

Surrogate surrogate_of(const SurrogateInput& input, const SurrogateOptions& options) {
  switch (options.kind) {
    case SurrogateKind::kPpoClip:
      return ppo_clip(input, options);
    case SurrogateKind::kCispo:
      return cispo(input, options);
    case SurrogateKind::kSapo:
      return sapo(input, options);
    case SurrogateKind::kGmpo:
      return gmpo(input, options);
    case SurrogateKind::kReinforce:
      return reinforce(input);
    case SurrogateKind::kImportanceSampling:
      return importance_sampling(input);
    case SurrogateKind::kDppoTv:
    case SurrogateKind::kDppoKl:
      return dppo(input, options);
  }
  throw ConfigError("surrogate",
                    {.expected = "one of those that exist", .got = "another", .advice = {}});
}

}  // namespace orrery::algorithm
