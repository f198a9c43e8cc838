#include "orrery/comm/message.h"

namespace orrery::comm {

std::string_view name_of(RequestKind kind) {
  switch (kind) {
    case RequestKind::kEmpty:
      return "empty";
    case RequestKind::kGenerate:
      return "generate";
    case RequestKind::kInference:
      return "inference";
    case RequestKind::kTrainStep:
      return "train_step";
    case RequestKind::kLoad:
      return "load";
    case RequestKind::kEvaluate:
      return "evaluate";
    case RequestKind::kSaveEnd:
      return "save_end";
    case RequestKind::kSave:
      return "save";
    case RequestKind::kFlush:
      return "flush";
    case RequestKind::kExit:
      return "exit";
  }
  return "unknown";
}

std::string_view name_of(const Hook& hook) {
  struct Namer {
    std::string_view operator()(const DataTransferHook&) const { return "data_transfer"; }
    std::string_view operator()(const ReallocHook&) const { return "param_realloc"; }
    std::string_view operator()(const ResidencyHook& hook) const {
      switch (hook.action) {
        case ResidencyHook::kOffload:
          return "offload";
        case ResidencyHook::kPrefetch:
          return "prefetch";
        case ResidencyHook::kRelease:
          return "release";
      }
      return "unknown";
    }
    std::string_view operator()(const KeepSamplesHook&) const { return "keep_samples"; }
    std::string_view operator()(const SaveHook&) const { return "save"; }
  };
  return std::visit(Namer{}, hook);
}

}  // namespace orrery::comm
