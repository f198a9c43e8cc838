// A profiler in miniature: writes every NVTX range that a program opens to standard error.
// Preloaded by NVTX itself: NVTX_INJECTION64_PATH=libnvtx_listener.so
#include <nvtx3/nvToolsExt.h>

#include <cstdio>

namespace {

int opened(const char* name) {
  std::fprintf(stderr, "NVTX opened %s\n", name);
  return 0;
}

int closed() {
  std::fprintf(stderr, "NVTX closed\n");
  return 0;
}

}  // namespace

extern "C" int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t export_table) {
  const auto* callbacks =
      static_cast<const NvtxExportTableCallbacks*>(export_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable functions = nullptr;
  unsigned int size = 0;
  if (callbacks == nullptr ||
      callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &functions, &size) == 0 ||
      size <= NVTX_CBID_CORE_RangePop) {
    return 0;
  }
  *functions[NVTX_CBID_CORE_RangePushA] = reinterpret_cast<NvtxFunctionPointer>(&opened);
  *functions[NVTX_CBID_CORE_RangePop] = reinterpret_cast<NvtxFunctionPointer>(&closed);
  return 1;
}
