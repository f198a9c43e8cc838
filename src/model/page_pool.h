// The pages of a KV cache: who holds which. Pages are counted, because the samples of one prompt
// share its full pages; the memory is asked for once and touched page by page as it is needed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "orrery/base/index.h"
#include "orrery/base/large_memory.h"

namespace orrery::model {

class PagePool {
 public:
  /// Room for n_pages pages in each of n_layers layers, page_numbers numbers each, of the type and
  /// on the device of `options`. Throws CallError when the host does not give the memory.
  PagePool(const at::TensorOptions& options, int64_t n_layers, int64_t n_pages,
           int64_t page_numbers);

  /// A page with one holder. There must be one left. On a host it is zeroed in all layers: kernels
  /// read its padding there, while those of a GPU read no number that was not written.
  int32_t take();
  void share(int32_t page) { ++holders_[base::index(page)]; }
  void release(int32_t page);
  /// A page of its own with the same content.
  int32_t copy(int32_t page);

  int64_t n_free() const { return static_cast<int64_t>(free_.size()); }
  int64_t n_held() const { return n_pages_ - n_free(); }
  /// [pages, numbers of a page]
  const at::Tensor& layer(size_t index) const { return layers_[index]; }

 private:
  int64_t n_pages_;
  base::LargeMemory host_;
  at::Tensor memory_;  // [layers, pages, numbers of a page], of host_ or on a GPU
  std::vector<at::Tensor> layers_;
  std::vector<int32_t> free_;  // the last one goes first: memory that was used already
  std::vector<int32_t> holders_;
};

}  // namespace orrery::model
