// The GPU's paged attention of one token against the CPU's over the same pages. bf16 against float
// over the same rounded numbers.
#include <algorithm>  // copy_n
#include <cmath>
#include <limits>

#include "blocks/decode_attention.h"
#include "blocks/write_pages.h"
#include "gpu_for_test.h"
#include "kernel_references.h"

namespace orrery::kernels {
namespace {

using blocks::TensorCores;
constexpr auto kNoTensorCores = TensorCores::kNone;

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

/// Those that a GPU multiplies on tensor cores in bf16.
const std::vector<Shape> kTensorShapes = {
    {8, 1, 128, 0},    // heads that fill a product
    {28, 4, 64, 0},    // groups of 7
    {24, 2, 16, 40},   // groups of 12, two blocks for each; few dims; sliding window
    {4, 1, 256, 300},  // the largest head
    {5, 1, 90, 17},    // dims that fill no product
};

/// Contexts of 1, 31, 32, 33, of a part and one token more, a prime of many parts; none in a batch
/// is the 0 of these sizes.
const std::vector<int32_t> kContexts = {1, 31, 32, 33, 127, 257, 256, 1009};

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

  /// What the last page of each sequence holds behind its context is no number, nor what pages
  /// hold behind the last dim of a head.
  void spoil_unseen() {
    const T none = Arithmetic<T>::to(std::numeric_limits<float>::quiet_NaN());
    const int64_t d = shape.head_dim, width = padded_head_dim(d);
    for (size_t s = 0; s < contexts.size(); ++s) {
      const int64_t last = (contexts[s] - 1) / kPageTokens;
      T* const page = pages.data() + table[s * size_t(table_stride) + size_t(last)] *
                                         page_size(shape.n_kv_heads, d);
      for (int64_t slot = contexts[s] - last * kPageTokens; slot < kPageTokens; ++slot) {
        for (int64_t i = 0; i < shape.n_kv_heads * width; ++i) {
          T* const keys = page + i / width * 2 * kPageTokens * width;
          keys[i % width * kPageTokens + slot] = none;
          keys[(kPageTokens + slot) * width + i % width] = none;
        }
      }
    }
    for (size_t i = 0; i < pages.size(); ++i) {
      const int64_t place = int64_t(i) % (2 * kPageTokens * width);
      const bool is_key = place < kPageTokens * width;
      if ((is_key ? place / kPageTokens : place % width) >= d) pages[i] = none;
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

/// Calls compare(shape, contexts, rows): a batch of all contexts, an empty one, and with scratch
/// for so many rows at a time.
template <class Compare>
void for_each_case(const std::vector<Shape>& shapes, const Compare& compare) {
  for (const Shape& shape : shapes) {
    for (const int64_t n_rows : {1, 3, 8}) {
      SCOPED_TRACE(testing::Message()
                   << shape.n_heads << "/" << shape.n_kv_heads << " heads of " << shape.head_dim
                   << ", window " << shape.window << ", " << n_rows << " rows at a time");
      compare(shape, kContexts, n_rows);
      compare(shape, std::vector<int32_t>{}, n_rows);
    }
  }
}

/// Scratch in which nothing is a number that a result may take.
template <class T>
struct Scratch {
  std::vector<typename Arithmetic<T>::Type> partials;
  std::vector<int32_t> n_done;

  Scratch(const Case<T>& of, int64_t n_rows)
      : partials(
            size_t(n_rows * of.shape.n_heads * most_attention_parts(of.table_stride * kPageTokens) *
                   partial_size(of.shape.head_dim)),
            std::numeric_limits<float>::quiet_NaN()),
        n_done(size_t(n_rows * of.shape.n_heads)) {}

  AttentionParts<T> parts(int64_t n_rows) {
    return {.partials = partials.data(), .n_done = n_done.data(), .n_rows = n_rows};
  }
  bool is_as_before() const {
    return std::all_of(n_done.begin(), n_done.end(), [](int32_t n) { return n == 0; });
  }
};

template <class T>
void run_blocks(Case<T>& of, int64_t n_rows, blocks::ThreadOrder order, TensorCores tensor_cores) {
  Scratch<T> scratch(of, n_rows);
  blocks::paged_attention(of.args(), NewTokens<T>{}, scratch.parts(n_rows), blocks::InOrder{order},
                          tensor_cores);
  EXPECT_TRUE(scratch.is_as_before()) << "the next launch counts on it";
}

template <class T>
bool are_same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

template <class T>
void compare_blocks(const std::vector<Shape>& shapes = kShapes,
                    TensorCores tensor_cores = kNoTensorCores) {
  for_each_case(shapes,
                [&](const Shape& shape, const std::vector<int32_t>& contexts, int64_t n_rows) {
                  const std::vector<double> expected = twin_of<T>(shape, contexts);
                  Case<T> forward(shape, contexts), backward(shape, contexts);
                  forward.spoil_unseen();
                  backward.spoil_unseen();
                  run_blocks(forward, n_rows, blocks::ThreadOrder::kForward, tensor_cores);
                  run_blocks(backward, n_rows, blocks::ThreadOrder::kBackward, tensor_cores);
                  expect_same(forward.out, expected);
                  if (contexts.empty()) return;
                  EXPECT_TRUE(are_same_bits(forward.out, backward.out)) << "threads or blocks race";
                });
}

TEST(DecodeAttentionBlocks, GiveWhatTheCpuGivesInFloat) { compare_blocks<float>(); }
TEST(DecodeAttentionBlocks, GiveWhatTheCpuGivesInDouble) { compare_blocks<double>(); }
TEST(DecodeAttentionBlocks, GiveWhatTheCpuGivesInBf16) { compare_blocks<Bf16>(); }
TEST(DecodeAttentionBlocks, GiveWhatTheCpuGivesOnTensorCores) {
  compare_blocks<Bf16>(kTensorShapes, TensorCores::kBf16);
}

/// A row as it is alone, whatever rows are beside it, however many blocks they get, and however
/// long the longest context might be.
template <class T>
void expect_rows_as_if_alone(TensorCores tensor_cores = kNoTensorCores) {
  const Shape shape{8, 2, 8, 0};
  std::vector<int32_t> contexts(40, 5);  // so many that each row has fewer blocks than parts
  const std::vector<int32_t> long_ones{1009, 257, 9001, 256, 700};
  std::copy(long_ones.begin(), long_ones.end(), contexts.begin() + 30);
  Case<T> all(shape, contexts);
  run_blocks(all, 40, blocks::ThreadOrder::kForward, tensor_cores);
  const int64_t width = shape.n_heads * shape.head_dim;
  for (size_t s = 30; s < 30 + long_ones.size(); ++s) {
    Case<T> alone(shape, {contexts[s]});
    alone.pages = all.pages;
    alone.table.assign(
        all.table.begin() + std::ptrdiff_t(s) * all.table_stride,
        all.table.begin() + std::ptrdiff_t(s) * all.table_stride + alone.table_stride);
    alone.q.assign(all.q.begin() + std::ptrdiff_t(s) * width,
                   all.q.begin() + std::ptrdiff_t(s + 1) * width);
    run_blocks(alone, 1, blocks::ThreadOrder::kForward, tensor_cores);
    const std::vector<T> of_all(all.out.begin() + std::ptrdiff_t(s) * width,
                                all.out.begin() + std::ptrdiff_t(s + 1) * width);
    EXPECT_TRUE(are_same_bits(alone.out, of_all)) << contexts[s];
  }
}

TEST(DecodeAttentionBlocks, GiveARowTheSameBitsWhateverItsNeighbours) {
  expect_rows_as_if_alone<float>();
  expect_rows_as_if_alone<double>();
  expect_rows_as_if_alone<Bf16>();
  expect_rows_as_if_alone<Bf16>(TensorCores::kBf16);
}

/// What a model does to heads before attention.
struct Making {
  bool has_bias, has_norms, turns;
};

/// Rows of products, and what makes heads of them, beside a case whose pages they go to.
template <class T>
struct Made {
  using Real = typename Arithmetic<T>::Type;
  Making making;
  int64_t n, heads, kv_heads, d;
  std::vector<T> rows, bias, query_weight, key_weight;
  std::vector<Real> cosines, sines;
  std::vector<int32_t> positions, own_rows;

  Made(const Case<T>& of, const Making& wanted)
      : making(wanted),
        n(int64_t(of.contexts.size())),
        heads(of.shape.n_heads),
        kv_heads(of.shape.n_kv_heads),
        d(of.shape.head_dim),
        rows(numbers(n * columns(), 11)),
        bias(numbers(columns(), 12)),
        query_weight(numbers(d, 13)),
        key_weight(numbers(d, 14)) {
    const int64_t most = of.table_stride * kPageTokens;
    for (int64_t i = 0; i < most * (d / 2); ++i) {
      cosines.push_back(std::cos(Real(i) * Real(0.37)));
      sines.push_back(std::sin(Real(i) * Real(0.37)));
    }
    for (const int32_t context : of.contexts) {
      positions.push_back(context - 1);
      own_rows.push_back(int32_t(own_rows.size()));
    }
  }

  int64_t columns() const { return (heads + 2 * kv_heads) * d; }
  HeadsArgs<T> args() const {
    return {.x = rows.data(),
            .positions = positions.data(),
            .cosines = making.turns ? cosines.data() : nullptr,
            .sines = sines.data(),
            .query_weight = making.has_norms ? query_weight.data() : nullptr,
            .key_weight = key_weight.data(),
            .n_tokens = n,
            .n_heads = heads,
            .n_kv_heads = kv_heads,
            .head_dim = d,
            .x_stride = columns(),
            .eps = 1e-5,
            .weight_offset = 1};
  }
  NewTokens<T> tokens(Case<T>& of) const {
    return {
        .heads = args(), .bias = making.has_bias ? bias.data() : nullptr, .pages = of.pages.data()};
  }

  /// The answer by the kernels one after another.
  void run_one_by_one(Case<T>& of, blocks::ThreadOrder order, TensorCores tensor_cores) const {
    Made own = *this;
    for (int64_t i = 0; making.has_bias && i < n * columns(); ++i) {
      T& x = own.rows[size_t(i)];
      x = Arithmetic<T>::to(Arithmetic<T>::from(x) +
                            Arithmetic<T>::from(bias[size_t(i % columns())]));
    }
    if (making.has_norms || making.turns) {
      blocks::simulate<blocks::RotateHeadsProgram<T>>(
          {.heads = own.args(), .y = own.rows.data(), .y_stride = columns()}, order);
    }
    const T* const k = own.rows.data() + heads * d;
    blocks::simulate<blocks::WritePagesProgram<T>>({.k = k,
                                                    .v = k + kv_heads * d,
                                                    .kv_stride = columns(),
                                                    .pages = of.pages.data(),
                                                    .page_table = of.table.data(),
                                                    .table_stride = of.table_stride,
                                                    .table_rows = own_rows.data(),
                                                    .n_context = of.contexts.data(),
                                                    .n_tokens = n,
                                                    .n_kv_heads = kv_heads,
                                                    .head_dim = d},
                                                   order);
    DecodeAttentionArgs<T> attention = of.args();
    attention.q = own.rows.data();
    attention.q_stride = columns();
    Scratch<T> scratch(of, n);
    blocks::paged_attention(attention, NewTokens<T>{}, scratch.parts(n), blocks::InOrder{order},
                            tensor_cores);
  }

 private:
  static std::vector<T> numbers(int64_t n, uint64_t stream) {
    std::vector<T> result;
    for (const float x : random_numbers<float>(n, stream)) result.push_back(Arithmetic<T>::to(x));
    return result;
  }
};

template <class T>
void expect_new_tokens_as_one_by_one(const std::vector<Shape>& shapes,
                                     TensorCores tensor_cores = kNoTensorCores) {
  const std::vector<int32_t> contexts{1, 17, 33, 300};
  for (const Shape& shape : shapes) {
    for (const Making making : {Making{true, false, false}, Making{true, false, true},
                                Making{false, true, true}, Making{true, true, false}}) {
      if (shape.head_dim % 2 != 0 && (making.has_norms || making.turns)) continue;
      SCOPED_TRACE(testing::Message() << shape.n_heads << " heads of " << shape.head_dim << ", "
                                      << making.has_bias << making.has_norms << making.turns);
      Case<T> expected(shape, contexts), got(shape, contexts);
      const Made<T> made(got, making);
      made.run_one_by_one(expected, blocks::ThreadOrder::kForward, tensor_cores);
      for (const int64_t n_rows : {2, 4}) {
        got.out.assign(got.out.size(), T{});
        Scratch<T> scratch(got, n_rows);
        DecodeAttentionArgs<T> args = got.args();
        args.q = nullptr;
        blocks::paged_attention(args, made.tokens(got), scratch.parts(n_rows),
                                blocks::InOrder{blocks::ThreadOrder::kBackward}, tensor_cores);
        EXPECT_TRUE(are_same_bits(got.out, expected.out)) << n_rows;
        EXPECT_TRUE(are_same_bits(got.pages, expected.pages)) << "keys and values";
      }
    }
  }
}

TEST(DecodeAttentionBlocks, MakeHeadsOfNewTokensAsTheKernelsBeforeThemDo) {
  const std::vector<Shape> shapes = {{8, 4, 64, 0},   {4, 2, 8, 0},   {14, 2, 10, 0},
                                     {24, 2, 16, 40}, {3, 1, 256, 0}, {6, 6, 3, 0}};
  expect_new_tokens_as_one_by_one<float>(shapes);
  expect_new_tokens_as_one_by_one<double>(shapes);
  expect_new_tokens_as_one_by_one<Bf16>(shapes);
  expect_new_tokens_as_one_by_one<Bf16>(kTensorShapes, TensorCores::kBf16);
}

/// Counts launches and their blocks instead of running them.
struct CountBlocks {
  std::vector<int64_t>& of_launches;

  template <class Program, class Args>
  void run(const Args& args) const {
    of_launches.push_back(Program::n_blocks(args));
  }
};

TEST(DecodeAttentionBlocks, FillAGpuWithFewSequencesAndLaunchOnce) {
  const auto blocks_of = [](int64_t n_rows, int64_t max_context) {
    std::vector<int64_t> launched;
    DecodeAttentionArgs<Bf16> args{.table_stride = max_context / kPageTokens,
                                   .n_sequences = n_rows,
                                   .n_heads = 28,
                                   .n_kv_heads = 4,
                                   .head_dim = 128};
    const int64_t scratch_rows = attention_scratch_rows(n_rows, 28, 128, max_context);
    blocks::paged_attention(args, NewTokens<Bf16>{}, AttentionParts<Bf16>{.n_rows = scratch_rows},
                            CountBlocks{launched}, kNoTensorCores);
    return launched;
  };
  using Blocks = std::vector<int64_t>;
  EXPECT_EQ(blocks_of(1, 256), Blocks{4}) << "one part of four key/value heads";
  EXPECT_EQ(blocks_of(1, 1024), Blocks{4 * 4});
  EXPECT_EQ(blocks_of(1, 8192), Blocks{4 * 32});
  EXPECT_EQ(blocks_of(32, 8192), Blocks{32 * 4 * 8}) << "as many as are wanted";
  EXPECT_EQ(blocks_of(256, 8192), (Blocks{144 * 4 * 2, 112 * 4 * 3})) << "as scratch allows";
  EXPECT_EQ(blocks_of(256, 4096), Blocks{256 * 4});
}

TEST(DecodeAttentionBlocks, ReadThePagesOfTheSequenceThatARowNames) {
  const Shape shape{4, 2, 8, 0};
  Case<float> got(shape, {1009, 40, 3}), each_its_own = got;
  std::vector<int32_t> rows{0, 0, 0};  // all of the first, at three of its tokens
  for (int64_t s = 1; s < 3; ++s) {
    std::copy_n(each_its_own.table.begin(), got.table_stride,
                each_its_own.table.begin() + s * got.table_stride);
  }
  DecodeAttentionArgs<float> args = got.args();
  args.table_rows = rows.data();
  Scratch<float> scratch(got, 2);
  blocks::paged_attention(args, NewTokens<float>{}, scratch.parts(2),
                          blocks::InOrder{blocks::ThreadOrder::kForward}, kNoTensorCores);
  expect_same(got.out, answer_of(each_its_own));
}

template <class T>
void compare_on_gpu(const std::vector<Shape>& shapes = kShapes) {
  for_each_case(
      shapes, [](const Shape& shape, const std::vector<int32_t>& contexts, int64_t n_rows) {
        Case<T> got(shape, contexts);
        got.spoil_unseen();
        const Scratch<T> scratch(got, n_rows);
        const OnGpu q(got.q), pages(got.pages), out(got.out);
        const OnGpu table(got.table), n_context(got.contexts);
        const OnGpu partials(scratch.partials), n_done(scratch.n_done);
        DecodeAttentionArgs<T> args = got.args();
        args.q = q.get();
        args.pages = pages.get();
        args.page_table = table.get();
        args.n_context = n_context.get();
        args.out = out.get();

        decode_attention_cuda<T>(
            args, {.partials = partials.get(), .n_done = n_done.get(), .n_rows = n_rows}, nullptr);

        expect_same(out.host(), twin_of<T>(shape, contexts));
        EXPECT_EQ(n_done.host(), scratch.n_done);
      });
}

TEST(DecodeAttentionCuda, GivesWhatTheCpuGives) {
  ORRERY_NEEDS_GPU();
  compare_on_gpu<float>();
  compare_on_gpu<double>();
  compare_on_gpu<Bf16>();
  compare_on_gpu<Bf16>(kTensorShapes);
}

}  // namespace
}  // namespace orrery::kernels
