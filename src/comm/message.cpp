#include "orrery/comm/message.h"

namespace orrery::comm {

std::string_view name_of(Handle handle) {
  switch (handle) {
    case Handle::kEmpty:
      return "empty";
    case Handle::kGenerate:
      return "generate";
    case Handle::kInference:
      return "inference";
    case Handle::kTrainStep:
      return "train_step";
    case Handle::kLoad:
      return "load";
    case Handle::kEvaluate:
      return "evaluate";
    case Handle::kSaveEnd:
      return "save_end";
    case Handle::kSave:
      return "save";
    case Handle::kClear:
      return "clear";
    case Handle::kFlush:
      return "flush";
    case Handle::kExit:
      return "exit";
    case Handle::kConfigure:
      return "configure";
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
    std::string_view operator()(const EvaluateHook&) const { return "evaluate"; }
    std::string_view operator()(const KeepSamplesHook&) const { return "keep_samples"; }
    std::string_view operator()(const SaveHook&) const { return "save"; }
  };
  return std::visit(Namer{}, hook);
}

}  // namespace orrery::comm
