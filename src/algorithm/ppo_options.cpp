#include "orrery/algorithm/ppo_options.h"

#include <algorithm>

#include "orrery/base/text.h"
#include "orrery/config/experiment.h"

namespace orrery::algorithm {

namespace {

bool reads(const config::CallConfig& call, const char* key) {
  return std::any_of(call.inputs.begin(), call.inputs.end(),
                     [&](const config::KeyBinding& input) { return input.interface_key == key; });
}

/// A KL term named `option` that has nothing to be computed from.
std::vector<OptionProblem> missing_reference(const config::CallConfig& call, const char* option) {
  if (call.kind != "train_step" || reads(call, "packed_ref_logprobs")) return {};
  return {{option,
           "a KL term needs the input packed_ref_logprobs, which a call of a reference "
           "model writes; or set it to 0"}};
}

}  // namespace

std::vector<OptionProblem> ActorOptions::problems(const config::CallConfig& call) const {
  std::vector<OptionProblem> found;
  if (needs_reference()) found = missing_reference(call, kl_ctl > 0 ? "kl_ctl" : "kl_loss");
  if (sampling_weight_cap > 0 && call.kind == "train_step" && !reads(call, "sampling_logprobs")) {
    found.push_back({"sampling_weight_cap",
                     "a correction for the sampling options needs the input sampling_logprobs; add "
                     "it to the outputs of the call that generates and to the inputs of this one, "
                     "or set it to 0"});
  }
  if (c_clip != 0 && c_clip <= 1) {
    found.push_back({"c_clip", base::concat("must be 0 or above 1, got ", c_clip)});
  }
  return found;
}

std::vector<OptionProblem> PpoCriticOptions::problems(const config::CallConfig& call) const {
  if (kl_ctl > 0) return missing_reference(call, "kl_ctl");
  return {};
}

}  // namespace orrery::algorithm
