// How good a model is on held-out records: greedy answers against the reference, or the loss of
// given answers. Local; does not change the model.
#pragma once

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/rule_match.h"

namespace orrery::algorithm {

/// With packed_prompts and answers: eval/accuracy (share of greedy answers that match), counts and
/// lengths. With packed_input_ids and prompt_mask: eval/loss (mean over answer tokens).
metrics::Statistics evaluate_model(ModelContext& model, const EvaluationInput& input,
                                   MatchRule rule, const CallContext& call);

}  // namespace orrery::algorithm
