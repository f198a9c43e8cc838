#include "page_pool.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <cstring>  // memset, memcpy
#include <new>      // bad_alloc

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::model {

namespace {

base::LargeMemory host_memory(size_t size_bytes) {
  try {
    return base::LargeMemory(size_bytes);
  } catch (const std::bad_alloc&) {
    throw CallError("no memory for the key/value cache",
                    {.expected = base::bytes_text(static_cast<int64_t>(size_bytes)),
                     .got = "an allocation failure",
                     .advice = "lower max_batch, max_new_tokens or max_cache_tokens"});
  }
}

/// Calls work(memory, bytes) for a page of each layer of the host.
template <class Work>
void for_each_layer(const std::vector<at::Tensor>& layers, int32_t page, const Work& work) {
  for (const at::Tensor& layer : layers) {
    const auto size_bytes = static_cast<size_t>(layer.size(1) * layer.element_size());
    work(static_cast<char*>(layer.mutable_data_ptr()) + static_cast<size_t>(page) * size_bytes,
         size_bytes);
  }
}

}  // namespace

PagePool::PagePool(const at::TensorOptions& options, int64_t n_layers, int64_t n_pages,
                   int64_t page_numbers)
    : n_pages_(n_pages), holders_(static_cast<size_t>(n_pages), 0) {
  const std::vector<int64_t> sizes{n_layers, n_pages, page_numbers};
  if (options.device().is_cpu()) {
    host_ = host_memory(static_cast<size_t>(n_layers * n_pages * page_numbers) *
                        options.dtype().itemsize());
    memory_ = at::from_blob(host_.data(), sizes, options);
  } else {
    memory_ = at::empty(sizes, options);
  }
  for (int64_t layer = 0; layer < n_layers; ++layer) layers_.push_back(memory_.select(0, layer));
  free_.reserve(static_cast<size_t>(n_pages));
  for (int64_t page = n_pages; page-- > 0;) free_.push_back(static_cast<int32_t>(page));
}

int32_t PagePool::take() {
  ORRERY_ASSERT(!free_.empty(), "no page of the key/value cache is left");
  const int32_t taken = free_.back();
  free_.pop_back();
  holders_[base::index(taken)] = 1;
  if (memory_.is_cpu()) {
    for_each_layer(layers_, taken, [](char* page, size_t n) { std::memset(page, 0, n); });
  }
  return taken;
}

void PagePool::release(int32_t page) {
  if (--holders_[base::index(page)] == 0) free_.push_back(page);
}

int32_t PagePool::copy(int32_t from) {
  const int32_t taken = take();
  if (memory_.is_cpu()) {
    for_each_layer(layers_, taken, [&](char* page, size_t n) {
      std::memcpy(page, page + (int64_t{from} - taken) * static_cast<int64_t>(n), n);
    });
  } else {
    memory_.select(1, taken).copy_(memory_.select(1, from));
  }
  return taken;
}

}  // namespace orrery::model
