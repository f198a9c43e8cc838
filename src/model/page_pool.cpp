#include "page_pool.h"

#include <algorithm>  // fill_n, copy_n
#include <new>        // bad_alloc

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::model {

template <class T>
PagePool<T>::PagePool(int64_t n_layers, int64_t n_pages, int64_t page_numbers)
    : n_layers_(n_layers),
      n_pages_(n_pages),
      page_numbers_(page_numbers),
      holders_(static_cast<size_t>(n_pages), 0) {
  const size_t numbers = static_cast<size_t>(n_layers * n_pages * page_numbers);
  try {
    memory_ = base::LargeMemory(numbers * sizeof(T));
  } catch (const std::bad_alloc&) {
    throw CallError("no memory for the key/value cache",
                    {.expected = base::bytes_text(static_cast<int64_t>(numbers * sizeof(T))),
                     .got = "an allocation failure",
                     .advice = "lower max_batch or max_new_tokens"});
  }
  free_.reserve(static_cast<size_t>(n_pages));
  for (int64_t page = n_pages; page-- > 0;) free_.push_back(static_cast<int32_t>(page));
}

template <class T>
int32_t PagePool<T>::take() {
  ORRERY_ASSERT(!free_.empty(), "the key/value cache is smaller than its worst case");
  const int32_t taken = free_.back();
  free_.pop_back();
  holders_[static_cast<size_t>(taken)] = 1;
  for (int64_t l = 0; l < n_layers_; ++l) std::fill_n(page(l, taken), page_numbers_, T(0));
  return taken;
}

template <class T>
void PagePool<T>::release(int32_t page) {
  if (--holders_[static_cast<size_t>(page)] == 0) free_.push_back(page);
}

template <class T>
int32_t PagePool<T>::copy(int32_t from) {
  const int32_t taken = take();
  for (int64_t l = 0; l < n_layers_; ++l) {
    std::copy_n(page(l, from), page_numbers_, page(l, taken));
  }
  return taken;
}

template class PagePool<float>;
template class PagePool<double>;

}  // namespace orrery::model
