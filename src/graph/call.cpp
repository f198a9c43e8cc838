#include "orrery/graph/call.h"

namespace orrery::graph {

std::string_view name_of(CallKind kind) {
  switch (kind) {
    case CallKind::kGenerate:
      return "generate";
    case CallKind::kInference:
      return "inference";
    case CallKind::kTrainStep:
      return "train_step";
  }
  return "?";
}

std::optional<CallKind> call_kind_named(std::string_view name) {
  for (CallKind kind : {CallKind::kGenerate, CallKind::kInference, CallKind::kTrainStep}) {
    if (name_of(kind) == name) return kind;
  }
  return std::nullopt;
}

}  // namespace orrery::graph
