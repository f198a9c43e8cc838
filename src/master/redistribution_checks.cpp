#include "redistribution_checks.h"

#include <algorithm>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::master {

void check_keys_differ(std::span<const int> keys) {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (std::find(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(i), keys[i]) !=
        keys.begin() + static_cast<std::ptrdiff_t>(i)) {
      throw CallError("redistribution: a key is asked for twice",
                      {.expected = "different keys",
                       .got = base::concat("key ", keys[i], " at places of both"),
                       .advice = "name each input key of the call once"});
    }
  }
}

void throw_nobody_has(const RedistributionProblem& problem, int slot, int key) {
  throw CallError("redistribution: a wanted sample is nowhere",
                  {.expected = "a worker that holds it",
                   .got = base::concat("sample ", problem.order_of_slot[static_cast<size_t>(slot)],
                                       " under key ", key, ", which no worker has"),
                   .advice = "the call that writes this key must come before"});
}

}  // namespace orrery::master
