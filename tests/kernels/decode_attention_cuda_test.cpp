// The GPU's paged attention of one token against the CPU's over the same pages. bf16 against float
// over the same rounded numbers.
#include <algorithm>  // copy_n
#include <limits>

#include "blocks/decode_attention.h"
#include "gpu_for_test.h"
#include "kernel_references.h"

namespace orrery::kernels {
namespace {

struct Shape {
  int64_t n_heads, n_kv_heads, head_dim, window;
};

const std::vector<Shape> kShapes = {
    {2, 2, 32, 0},      // no groups
    {4, 2, 8, 0},       // a head smaller than a page
    {14, 2, 10, 0},     // groups of 7, an uneven head_dim
    {24, 2, 16, 40},    // groups of 12: two blocks for each; sliding window
    {2, 1, 130, 17},    // two dims for some threads
    {3, 1, 256, 4096},  // the largest head; a window beyond most contexts
};

/// Contexts of 1, 31, 32, 33, a prime of many rounds; none in a batch is the 0 of these sizes.
const std::vector<int32_t> kContexts = {1, 31, 32, 33, 127, 128, 129, 1009};

template <class T>
struct Case {
  Shape shape;
  std::vector<int32_t> contexts, table;
  int64_t table_stride = 0;
  std::vector<T> q, pages, out;

  Case(const Shape& wanted, const std::vector<int32_t>& n_context)
      : shape(wanted), contexts(n_context) {
    for (const int32_t n : contexts) {
      table_stride = std::max(table_stride, (n + kPageTokens - 1) / kPageTokens);
    }
    const int64_t n = int64_t(contexts.size()), n_pages = n * table_stride;
    const int64_t width = shape.n_heads * shape.head_dim;
    q = rounded(n * width, 1);
    out.assign(q.size(), T{});
    // Pages beyond a context stand nowhere; those before are in a shuffled order.
    table.assign(size_t(n_pages), -1);
    for (int64_t s = 0; s < n; ++s) {
      for (int64_t page = 0; page * kPageTokens < contexts[size_t(s)]; ++page) {
        const int64_t place = s * table_stride + page;
        table[size_t(place)] = int32_t(n_pages - 1 - place);
      }
    }
    pages = rounded(n_pages * page_size(shape.n_kv_heads, shape.head_dim), 2);
  }

  /// What the last page of each sequence holds behind its context is no number.
  void spoil_unseen() {
    const int64_t d = shape.head_dim, width = padded_head_dim(d);
    for (size_t s = 0; s < contexts.size(); ++s) {
      const int64_t last = (contexts[s] - 1) / kPageTokens;
      T* const page = pages.data() + table[s * size_t(table_stride) + size_t(last)] *
                                         page_size(shape.n_kv_heads, d);
      for (int64_t slot = contexts[s] - last * kPageTokens; slot < kPageTokens; ++slot) {
        for (int64_t i = 0; i < shape.n_kv_heads * width; ++i) {
          T* const keys = page + i / width * 2 * kPageTokens * width;
          const T none = Arithmetic<T>::to(std::numeric_limits<float>::quiet_NaN());
          keys[i % width * kPageTokens + slot] = none;
          keys[(kPageTokens + slot) * width + i % width] = none;
        }
      }
    }
  }

  DecodeAttentionArgs<T> args() {
    return {.q = q.data(),
            .q_stride = shape.n_heads * shape.head_dim,
            .pages = pages.data(),
            .page_table = table.data(),
            .table_stride = table_stride,
            .n_context = contexts.data(),
            .out = out.data(),
            .out_stride = shape.n_heads * shape.head_dim,
            .n_sequences = int64_t(contexts.size()),
            .n_heads = shape.n_heads,
            .n_kv_heads = shape.n_kv_heads,
            .head_dim = shape.head_dim,
            .window = shape.window,
            .scale = 0.3};
  }

 private:
  /// Numbers that bf16 holds, as T.
  static std::vector<T> rounded(int64_t n, uint64_t stream) {
    std::vector<T> result;
    for (const float x : random_numbers<float>(n, stream)) {
      const Bf16 short_x = to_bf16(x);
      if constexpr (std::is_same_v<T, Bf16>) {
        result.push_back(short_x);
      } else {
        result.push_back(to_float(short_x));
      }
    }
    return result;
  }
};

/// The answer of the CPU, of bf16 numbers in float.
template <class Real>
std::vector<double> answer_of(Case<Real> reference) {
  const Shape& shape = reference.shape;
  std::vector<Real> scratch(
      size_t(decode_attention_scratch(shape.n_heads, shape.n_kv_heads, shape.head_dim, 1009)));
  DecodeAttentionArgs<Real> args = reference.args();
  args.scratch = scratch.data();
  decode_attention<Real>(args);
  return as_doubles(reference.out);
}
template <class T>
std::vector<double> twin_of(const Shape& shape, const std::vector<int32_t>& contexts) {
  return answer_of(Case<typename Arithmetic<T>::Type>(shape, contexts));
}

/// bf16 keeps 8 bits of the result; sums are in float either way.
template <class T>
void expect_same(const std::vector<T>& out, const std::vector<double>& expected) {
  std::vector<double> numbers;
  for (const T x : out) numbers.push_back(double(Arithmetic<T>::from(x)));
  expect_near(numbers, expected, sizeof(T) == 2 ? 1.0 / 256 : bound<T>());
}

/// Calls compare(shape, contexts, splits): a batch of all contexts, an empty one, and each count of
/// splits, also more than there is work for.
template <class Compare>
void for_each_case(const Compare& compare) {
  for (const Shape& shape : kShapes) {
    for (const int64_t n_splits : {1, 2, 5, 16}) {
      SCOPED_TRACE(testing::Message()
                   << shape.n_heads << "/" << shape.n_kv_heads << " heads of " << shape.head_dim
                   << ", window " << shape.window << ", " << n_splits << " splits");
      compare(shape, kContexts, n_splits);
      compare(shape, std::vector<int32_t>{}, n_splits);
    }
  }
}

int64_t partials_of(const Shape& shape, size_t n_sequences, int64_t n_splits) {
  return int64_t(n_sequences) * shape.n_heads * n_splits * blocks::partial_size(shape.head_dim);
}

template <class T>
void compare_blocks() {
  for_each_case([](const Shape& shape, const std::vector<int32_t>& contexts, int64_t n_splits) {
    const std::vector<double> expected = twin_of<T>(shape, contexts);
    std::vector<T> first_out;
    for (const auto order : kThreadOrders) {
      Case<T> got(shape, contexts);
      got.spoil_unseen();
      std::vector<typename Arithmetic<T>::Type> partials(
          size_t(partials_of(shape, contexts.size(), n_splits)), -7e7F);
      const blocks::PagedAttentionArgs<T> args{
          .of = got.args(), .partials = partials.data(), .n_splits = n_splits};
      blocks::paged_attention(args, blocks::InOrder{order});
      expect_same(got.out, expected);
      if (order == blocks::ThreadOrder::kForward) {
        first_out = got.out;
      } else if (!first_out.empty()) {
        EXPECT_EQ(std::memcmp(first_out.data(), got.out.data(), first_out.size() * sizeof(T)), 0)
            << "threads race";
      }
    }
  });
}

TEST(DecodeAttentionBlocks, GiveWhatTheCpuGivesInFloat) { compare_blocks<float>(); }
TEST(DecodeAttentionBlocks, GiveWhatTheCpuGivesInDouble) { compare_blocks<double>(); }
TEST(DecodeAttentionBlocks, GiveWhatTheCpuGivesInBf16) { compare_blocks<Bf16>(); }

TEST(DecodeAttentionBlocks, ReadThePagesOfTheSequenceThatARowNames) {
  const Shape shape{4, 2, 8, 0};
  Case<float> got(shape, {1009, 40, 3}), each_its_own = got;
  std::vector<int32_t> rows{0, 0, 0};  // all of the first, at three of its tokens
  for (int64_t s = 1; s < 3; ++s) {
    std::copy_n(each_its_own.table.begin(), got.table_stride,
                each_its_own.table.begin() + s * got.table_stride);
  }
  blocks::PagedAttentionArgs<float> args{.of = got.args()};
  args.of.table_rows = rows.data();
  blocks::paged_attention(args, blocks::InOrder{blocks::ThreadOrder::kForward});
  expect_same(got.out, answer_of(each_its_own));
}

template <class T>
void compare_on_gpu() {
  for_each_case([](const Shape& shape, const std::vector<int32_t>& contexts, int64_t n_splits) {
    Case<T> got(shape, contexts);
    got.spoil_unseen();
    const OnGpu q(got.q), pages(got.pages), out(got.out);
    const OnGpu table(got.table), n_context(got.contexts);
    const OnGpu partials(std::vector<typename Arithmetic<T>::Type>(
        size_t(partials_of(shape, contexts.size(), n_splits))));
    DecodeAttentionArgs<T> args = got.args();
    args.q = q.get();
    args.pages = pages.get();
    args.page_table = table.get();
    args.n_context = n_context.get();
    args.out = out.get();

    decode_attention_cuda<T>(args, {.count = n_splits, .partials = partials.get()}, nullptr);

    expect_same(out.host(), twin_of<T>(shape, contexts));
  });
}

TEST(DecodeAttentionCuda, GivesWhatTheCpuGives) {
  ORRERY_NEEDS_GPU();
  compare_on_gpu<float>();
  compare_on_gpu<double>();
  compare_on_gpu<Bf16>();
}

}  // namespace
}  // namespace orrery::kernels
