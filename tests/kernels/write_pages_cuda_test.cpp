// The GPU's writing of pages against the CPU's, bit for bit.
#include "blocks/write_pages.h"
#include "gpu_for_test.h"
#include "orrery/kernels/decode_attention.h"

namespace orrery::kernels {
namespace {

template <class T>
void compare_type(const Place& place) {
  const int64_t heads = 3, stride = 200, table_stride = 3, n_pages = 7;
  for (const int64_t dim : {1, 16, 30}) {
    std::vector<T> kv = random_stored<T>(5 * stride, 1);
    std::vector<int32_t> table{4, 2, 6, 0, 5, 1}, rows{0, 0, 1, 1, 1}, contexts{16, 17, 1, 2, 40};
    std::vector<T> pages(size_t(n_pages * page_size(heads, dim)), Arithmetic<T>::to(0));
    std::vector<double> expected(pages.size());
    for (size_t i = 0; i < 5; ++i) {
      const int64_t position = contexts[i] - 1;
      const int64_t page = table[size_t(rows[i] * table_stride + position / kPageTokens)];
      const std::vector<double> numbers = as_doubles(kv);
      write_page_slot<double>({.k = numbers.data() + int64_t(i) * stride,
                               .v = numbers.data() + int64_t(i) * stride + heads * dim,
                               .page = expected.data() + page * page_size(heads, dim),
                               .slot = position % kPageTokens,
                               .n_kv_heads = heads,
                               .head_dim = dim});
    }
    Place own = place;
    const T* const k = own.of(kv);
    const WritePagesArgs<T> args{.k = k,
                                 .v = k + heads * dim,
                                 .kv_stride = stride,
                                 .pages = own.of(pages),
                                 .page_table = own.of(table),
                                 .table_stride = table_stride,
                                 .table_rows = own.of(rows),
                                 .n_context = own.of(contexts),
                                 .n_tokens = 5,
                                 .n_kv_heads = heads,
                                 .head_dim = dim};
    own.run([&] { write_pages_cuda(args, nullptr); },
            [&](const auto& runner) { runner.template run<blocks::WritePagesProgram<T>>(args); });
    EXPECT_EQ(as_doubles(pages), expected) << dim;
  }
}

void compare(const Place& place) {
  compare_type<float>(place);
  compare_type<double>(place);
  compare_type<Bf16>(place);
}

ORRERY_COMPARE_KERNEL(WritePages, compare)

}  // namespace
}  // namespace orrery::kernels
