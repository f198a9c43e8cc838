#include "orrery/base/text.h"
#include "orrery/kernels/sampling.h"
#include "orrery/model/generator.h"

namespace orrery::model {

std::vector<std::string> GenerationOptions::problems() const {
  std::vector<std::string> found;
  const auto at_least = [&](const char* field, int64_t value, int64_t least) {
    if (value < least) {
      found.push_back(base::concat(field, " is ", value, ", expected at least ", least));
    }
  };
  at_least("max_new_tokens", max_new_tokens, 1);
  at_least("min_new_tokens", min_new_tokens, 0);
  at_least("group_size", group_size, 1);
  at_least("max_batch", max_batch, 1);
  at_least("max_cache_tokens", max_cache_tokens, 0);
  if (min_new_tokens > max_new_tokens) {
    found.push_back(base::concat("min_new_tokens (", min_new_tokens,
                                 ") is more than max_new_tokens (", max_new_tokens, ")"));
  }
  if (!(temperature == 0 ||
        (temperature >= kLowestTemperature && temperature <= kHighestTemperature))) {
    found.push_back(base::concat("temperature is ", temperature, ", expected 0 (greedy) or ",
                                 kLowestTemperature, " to ", kHighestTemperature));
  }
  const std::string filter = kernels::filter_problem({.top_k = top_k, .top_p = top_p});
  if (!filter.empty()) found.push_back(filter);
  return found;
}

}  // namespace orrery::model
