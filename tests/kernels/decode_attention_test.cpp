// Paged attention of the last token against the definition over the same keys and values.
#include "orrery/kernels/decode_attention.h"

#include "kernel_references.h"
#include "naive_attention.h"

namespace orrery::kernels {
namespace {

struct Sizes {
  int64_t heads, kv_heads, head_dim, window;
};

/// A sequence per context length, its tokens spread over pages in a shuffled order.
template <class T>
struct Cache {
  std::vector<T> pages;
  std::vector<int32_t> table;
  int64_t table_stride;

  Cache(const Sizes& sizes, const std::vector<NaiveAttention>& sequences) {
    const int64_t numbers = page_size(sizes.kv_heads, sizes.head_dim);
    table_stride = 16;
    const int64_t n_pages = table_stride * int64_t(sequences.size());
    pages.assign(size_t(numbers * n_pages), T(0));
    table.assign(size_t(n_pages), -1);
    for (size_t s = 0; s < sequences.size(); ++s) {
      for (int64_t t = 0; t < sequences[s].n; ++t) {
        const int64_t place = int64_t(s) * table_stride + t / kPageTokens;
        const int64_t page = (place * 7 + 3) % n_pages;  // 7 and 16 n have no common factor
        table[size_t(place)] = int32_t(page);
        const int64_t width = sizes.kv_heads * sizes.head_dim;
        std::vector<T> k(sequences[s].k.begin() + t * width,
                         sequences[s].k.begin() + (t + 1) * width);
        std::vector<T> v(sequences[s].v.begin() + t * width,
                         sequences[s].v.begin() + (t + 1) * width);
        write_page_slot<T>({.k = k.data(),
                            .v = v.data(),
                            .page = pages.data() + page * numbers,
                            .slot = t % kPageTokens,
                            .n_kv_heads = sizes.kv_heads,
                            .head_dim = sizes.head_dim});
      }
    }
  }
};

TEST(DecodeAttention, MatchesTheDefinitionForEveryContextAndHeadSize) {
  on_every_table([]<class T>(const KernelTable<T>& table) {
    const std::vector<Sizes> all{
        {2, 2, 32, 0}, {4, 2, 8, 0}, {14, 2, 10, 0}, {2, 1, 24, 5}, {2, 1, 40, 17}};
    const std::vector<int64_t> contexts{1, 15, 16, 17, 31, 32, 33, 97, 211};
    for (const Sizes& sizes : all) {
      SCOPED_TRACE(testing::Message() << sizes.heads << "/" << sizes.kv_heads << " heads of "
                                      << sizes.head_dim << ", window " << sizes.window);
      const int64_t q_size = sizes.heads * sizes.head_dim,
                    kv_size = sizes.kv_heads * sizes.head_dim;
      std::vector<NaiveAttention> sequences;
      std::vector<T> q, expected_source;
      std::vector<double> expected;
      std::vector<int32_t> n_context;
      for (const int64_t n : contexts) {
        const auto numbers = [&](int64_t count, uint64_t stream) {
          const std::vector<T> drawn = random_numbers<T>(count, stream + uint64_t(n) * 10);
          return std::vector<double>(drawn.begin(), drawn.end());
        };
        sequences.push_back({n, sizes.heads, sizes.kv_heads, sizes.head_dim, sizes.window, 0.5,
                             numbers(n * q_size, 1), numbers(n * kv_size, 2),
                             numbers(n * kv_size, 3)});
        const std::vector<double> out = sequences.back().out();
        expected.insert(expected.end(), out.end() - q_size, out.end());
        q.insert(q.end(), sequences.back().q.end() - q_size, sequences.back().q.end());
        n_context.push_back(int32_t(n));
      }
      const Cache<T> cache(sizes, sequences);
      std::vector<T> out(expected.size());
      std::vector<T> scratch(
          size_t(decode_attention_scratch(sizes.heads, sizes.kv_heads, sizes.head_dim, 211)));

      table.decode_attention({.q = q.data(),
                              .q_stride = q_size,
                              .pages = cache.pages.data(),
                              .page_table = cache.table.data(),
                              .table_stride = cache.table_stride,
                              .n_context = n_context.data(),
                              .out = out.data(),
                              .out_stride = q_size,
                              .scratch = scratch.data(),
                              .n_sequences = int64_t(contexts.size()),
                              .n_heads = sizes.heads,
                              .n_kv_heads = sizes.kv_heads,
                              .head_dim = sizes.head_dim,
                              .window = sizes.window,
                              .scale = 0.5});

      expect_near(out, expected);
    }
  });
}

}  // namespace
}  // namespace orrery::kernels
