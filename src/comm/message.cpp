#include "orrery/comm/message.h"

#include "orrery/base/overload.h"

namespace orrery::comm {

namespace {

std::string_view name_of(ResidencyHook::Action action) {
  switch (action) {
    case ResidencyHook::kOffload:
      return "offload";
    case ResidencyHook::kPrefetch:
      return "prefetch";
    case ResidencyHook::kRelease:
      return "release";
    case ResidencyHook::kOffloadOptimizer:
      return "offload_optimizer";
    case ResidencyHook::kFetchOptimizer:
      return "fetch_optimizer";
  }
  return "unknown";
}

}  // namespace

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
    case RequestKind::kExport:
      return "export";
    case RequestKind::kFlush:
      return "flush";
    case RequestKind::kExit:
      return "exit";
  }
  return "unknown";
}

std::string_view name_of(const Hook& hook) {
  return std::visit(base::Overload{
                        [](const DataTransferHook&) -> std::string_view { return "data_transfer"; },
                        [](const ReallocHook&) -> std::string_view { return "param_realloc"; },
                        [](const ResidencyHook& residency) { return name_of(residency.action); },
                        [](const KeepSamplesHook&) -> std::string_view { return "keep_samples"; },
                    },
                    hook);
}

bool meets_other_workers(const Hook& hook) {
  return std::visit([](const auto& each) { return each.kMeetsOthers; }, hook);
}

}  // namespace orrery::comm
