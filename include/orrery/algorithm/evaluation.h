// How good a model is on held-out records: its answers to prompts, greedy or sampled, as rules or
// rewards judge them, or the loss of given answers. Does not change the model.
//
// The answers to a prompt depend on the model, the experiment's seed, the set's name and the row
// alone: not on the step, the layout, the batch, nor on whether a run trains. So evaluations of one
// run differ by the model and not by the draw, and `orrery evaluate` finds what the run found.
#pragma once

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/rule_match.h"

namespace orrery::algorithm {

/// With packed_prompts: records with answers, and prefilled_tokens (sum). With packed_input_ids and
/// prompt_mask: records with their losses. Only the head of a data rank reports and dumps; without
/// rewards a rank without records does nothing.
///   rule  of the interface; EvaluationInput::match comes before it
Evaluation evaluate_model(ModelContext& model, const EvaluationInput& input, MatchRule rule,
                          const CallContext& call);

}  // namespace orrery::algorithm
