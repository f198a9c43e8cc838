#include "orrery/algorithm/interface.h"

#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

[[noreturn]] void refuse(const CallContext& call, const char* kind) {
  throw CallError(base::concat("the interface of call ", call.call, " has no ", kind));
}

}  // namespace

data::SequenceBatch Interface::generate(ModelContext&, const data::SequenceBatch&,
                                        const CallContext& call) {
  refuse(call, "generate");
}
data::SequenceBatch Interface::inference(ModelContext&, const data::SequenceBatch&,
                                         const CallContext& call) {
  refuse(call, "inference");
}
std::vector<metrics::Statistics> Interface::train_step(ModelContext&, const data::SequenceBatch&,
                                                       const CallContext& call) {
  refuse(call, "train_step");
}
Evaluation Interface::evaluate(ModelContext&, const EvaluationInput&, const CallContext& call) {
  refuse(call, "evaluation");
}

void Interface::restore(const std::string& state) {
  throw CheckpointError(
      base::concat("an interface that remembers nothing is given \"", state, "\""));
}

metrics::Statistics Interface::take_statistics() { return std::exchange(statistics_, {}); }

}  // namespace orrery::algorithm
