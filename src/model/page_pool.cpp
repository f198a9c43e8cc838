#include "page_pool.h"

#include <ATen/ops/from_blob.h>

#include <cstring>  // memset, memcpy
#include <new>      // bad_alloc

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::model {

PagePool::PagePool(at::ScalarType dtype, int64_t n_layers, int64_t n_pages, int64_t page_numbers)
    : n_pages_(n_pages),
      page_bytes_(static_cast<size_t>(page_numbers) * c10::elementSize(dtype)),
      holders_(static_cast<size_t>(n_pages), 0) {
  const size_t size_bytes = static_cast<size_t>(n_layers * n_pages) * page_bytes_;
  try {
    memory_ = base::LargeMemory(size_bytes);
  } catch (const std::bad_alloc&) {
    throw CallError("no memory for the key/value cache",
                    {.expected = base::bytes_text(static_cast<int64_t>(size_bytes)),
                     .got = "an allocation failure",
                     .advice = "lower max_batch, max_new_tokens or max_cache_tokens"});
  }
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    layers_.push_back(at::from_blob(page(static_cast<size_t>(layer), 0), {n_pages, page_numbers},
                                    at::TensorOptions().dtype(dtype)));
  }
  free_.reserve(static_cast<size_t>(n_pages));
  for (int64_t page = n_pages; page-- > 0;) free_.push_back(static_cast<int32_t>(page));
}

int32_t PagePool::take() {
  ORRERY_ASSERT(!free_.empty(), "no page of the key/value cache is left");
  const int32_t taken = free_.back();
  free_.pop_back();
  holders_[static_cast<size_t>(taken)] = 1;
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    std::memset(page(layer, taken), 0, page_bytes_);
  }
  return taken;
}

void PagePool::release(int32_t page) {
  if (--holders_[static_cast<size_t>(page)] == 0) free_.push_back(page);
}

int32_t PagePool::copy(int32_t from) {
  const int32_t taken = take();
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    std::memcpy(page(layer, taken), page(layer, from), page_bytes_);
  }
  return taken;
}

}  // namespace orrery::model
