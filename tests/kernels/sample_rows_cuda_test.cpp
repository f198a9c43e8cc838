// Tokens drawn by the GPU's program against those of the CPU: the same from the same logits.
#include <algorithm>
#include <map>

#include "blocks/sample_rows.h"
#include "gpu_for_test.h"
#include "kernel_references.h"
#include "orrery/kernels/sampling.h"

namespace orrery::kernels {
namespace {

struct Rule {
  double temperature = 1;
  int64_t top_k = INT64_MAX;
  double top_p = 1;
  bool greedy = false;
  bool top_k_first = false;
  int64_t min_new_tokens = 0;
  bool has_never_ids = false;
};

const std::vector<Rule> kRules = {
    {},
    {.greedy = true},
    {.temperature = 0.7},
    {.top_k = 1},
    {.temperature = 1.3, .top_k = 20},
    {.top_p = 0.9},
    {.top_p = 1e-9},
    {.top_p = 0.999999},
    {.temperature = 0.5, .top_k = 20, .top_p = 0.5, .min_new_tokens = 2},
    {.temperature = 2, .top_k = 7, .top_p = 0.8, .top_k_first = true},
    {.greedy = true, .min_new_tokens = 3},
    {.has_never_ids = true},
    {.temperature = 0.7, .greedy = true, .has_never_ids = true},
    {.temperature = 1.4, .top_k = 9, .min_new_tokens = 2, .has_never_ids = true},
};

enum class Logits {
  kRandom,
  kTied,  // of few values: every limit falls among equals
  kEqual,
  kWide,   // most weights are 0
  kHoles,  // some are -inf
};

const std::vector<Logits> kKinds = {Logits::kRandom, Logits::kTied, Logits::kEqual, Logits::kWide,
                                    Logits::kHoles};

template <class T>
struct Case {
  int64_t vocab_size;
  Rule rule;
  std::vector<T> logits;
  std::vector<uint64_t> scratch;
  std::vector<DrawKey> keys;
  std::vector<int64_t> tokens, stop_ids, never_ids;
  std::vector<double> log_probs, sampling_log_probs;

  Case(int64_t rows, int64_t vocab, const Rule& wanted, Logits kind)
      : vocab_size(vocab),
        rule(wanted),
        logits(random_numbers<T>(rows * vocab, uint64_t(vocab))),
        scratch(size_t(sample_rows_scratch_bytes(rows, vocab) / 8 + 1), 0xCDCDCDCDCDCDCDCD),
        tokens(size_t(rows), -1),
        stop_ids{0, vocab / 2},
        log_probs(size_t(rows)),
        sampling_log_probs(size_t(rows)) {
    if (vocab < 3) rule.min_new_tokens = 0;  // or nothing is left
    if (rule.has_never_ids && vocab > 4) never_ids = {1, vocab - 1};
    for (size_t i = 0; i < logits.size(); ++i) {
      T& logit = logits[i];
      if (kind == Logits::kHoles && vocab > 4 && i % 3 == 2) {
        logit = -std::numeric_limits<T>::infinity();
      }
      if (kind == Logits::kRandom || kind == Logits::kHoles) logit *= T(8);
      if (kind == Logits::kTied) logit = std::round(logit * T(2));
      if (kind == Logits::kEqual) logit = T(3);
      if (kind == Logits::kWide) logit *= T(2000);
    }
    for (uint64_t row = 0; row < uint64_t(rows); ++row) {
      keys.push_back(
          {.seed = 11, .step = 3, .sample = row, .member = row % 4, .position = row % 5});
    }
  }

  SampleRowsArgs<T> args() {
    return {.logits = logits.data(),
            .scratch = scratch.data(),
            .keys = keys.data(),
            .tokens = tokens.data(),
            .log_probs = log_probs.data(),
            .sampling_log_probs = sampling_log_probs.data(),
            .stop_ids = stop_ids.data(),
            .never_ids = never_ids.data(),
            .n_stop_ids = int64_t(stop_ids.size()),
            .n_never_ids = int64_t(never_ids.size()),
            .n_rows = int64_t(keys.size()),
            .vocab_size = vocab_size,
            .min_new_tokens = rule.min_new_tokens,
            .top_k = rule.top_k,
            .top_p = rule.top_p,
            .temperature = rule.temperature,
            .greedy = rule.greedy,
            .top_k_first = rule.top_k_first};
  }
};

/// Calls compare(case, reference) for equal cases of every rule, kind of logits and size.
template <class T, class Compare>
void for_each_case(const Compare& compare) {
  for (size_t r = 0; r < kRules.size(); ++r) {
    for (const Logits kind : kKinds) {
      for (const int64_t n : kGpuSizes) {
        SCOPED_TRACE(testing::Message() << "rule " << r << ", logits " << int(kind) << ", " << n);
        const int64_t rows = n == 0 ? 0 : n > 33 ? 3 : 9, vocab = n == 0 ? 33 : n;
        Case<T> got(rows, vocab, kRules[r], kind), reference(rows, vocab, kRules[r], kind);
        sample_rows<T>(reference.args());
        compare(got, reference);
      }
    }
  }
}

struct Shape {
  int64_t rows, vocab;
};

/// Around the segments of a row; a whole vocabulary; more segments than a block has threads; so
/// many rows that a block has four segments, or the one that is left.
const std::vector<Shape> kShapes = {{3, 1023},    {3, 1024},    {3, 1025},  {2, 4097},
                                    {2, 151'936}, {1, 263'000}, {820, 4097}};

/// The same of those.
template <class T, class Compare>
void for_each_shape(const Compare& compare) {
  for (const Shape& shape : kShapes) {
    const bool is_large = shape.rows * shape.vocab > 1'000'000;
    for (size_t r = 0; r < kRules.size(); ++r) {
      const Logits kind = kKinds[is_large ? 0 : r % kKinds.size()];
      if (is_large && r % 4 != 0) continue;
      SCOPED_TRACE(testing::Message() << "rule " << r << ", logits " << int(kind) << ", "
                                      << shape.rows << " x " << shape.vocab);
      Case<T> got(shape.rows, shape.vocab, kRules[r], kind),
          reference(shape.rows, shape.vocab, kRules[r], kind);
      sample_rows<T>(reference.args());
      compare(got, reference);
    }
  }
}

/// What was removed shows in the log-probability of the distribution that is drawn from.
/// Log-probabilities differ by the order of sums, and of float by the exponentials of a processor
/// without fused multiply-add.
template <class T>
void expect_same(const Case<T>& got, const Case<T>& reference) {
  EXPECT_EQ(got.tokens, reference.tokens);
  expect_near(got.log_probs, reference.log_probs, sizeof(T) == 4 ? 1e-6 : 1e-13);
  expect_near(got.sampling_log_probs, reference.sampling_log_probs, sizeof(T) == 4 ? 1e-6 : 1e-13);
}

template <class T>
void simulate(Case<T>& c, blocks::ThreadOrder order = blocks::ThreadOrder::kForward) {
  blocks::sample_rows(c.args(), blocks::InOrder{order});
}

template <class T>
void compare_blocks(Case<T>& got, const Case<T>& reference) {
  Case<T> other = got;
  const std::vector<T> logits = got.logits;
  simulate(got);
  expect_same(got, reference);
  EXPECT_TRUE(got.logits == logits) << "logits were changed";
  simulate(other, blocks::ThreadOrder::kBackward);
  EXPECT_EQ(got.tokens, other.tokens) << "threads race";
  EXPECT_EQ(got.log_probs, other.log_probs) << "threads race";
  EXPECT_EQ(got.sampling_log_probs, other.sampling_log_probs) << "threads race";
}

TEST(SampleRowsBlocks, DrawTheTokensOfTheCpuFromFloats) {
  for_each_case<float>(compare_blocks<float>);
}
TEST(SampleRowsBlocks, DrawTheTokensOfTheCpuFromDoubles) {
  for_each_case<double>(compare_blocks<double>);
}
TEST(SampleRowsBlocks, DrawTheTokensOfTheCpuWhereverSegmentsEnd) {
  for_each_shape<float>(compare_blocks<float>);
  for_each_shape<double>(compare_blocks<double>);
}

TEST(SampleRowsBlocks, DrawEveryTokenAsOftenAsItsProbabilitySays) {
  constexpr int64_t kRows = 4000;
  Case<float> c(kRows, 4, {}, Logits::kEqual);
  for (int64_t row = 0; row < kRows; ++row) {
    for (int64_t i = 0; i < 4; ++i) c.logits[size_t(row * 4 + i)] = std::log(float(i + 1));
  }

  simulate(c);

  for (int64_t i = 0; i < 4; ++i) {
    const double share = double(std::count(c.tokens.begin(), c.tokens.end(), i)) / kRows;
    EXPECT_NEAR(share, double(i + 1) / 10, 0.03) << i;  // four standard deviations
  }
}

/// How many rows there are decides which block has which segments, and no more.
TEST(SampleRowsBlocks, GiveARowTheSameBitsWhateverRowsAreBesideIt) {
  const Rule filtered = {.temperature = 1.3, .top_k = 20, .top_p = 0.9, .has_never_ids = true};
  for (const Rule& rule : {Rule(), filtered}) {
    constexpr int64_t kVocab = 5000;
    Case<float> many(410, kVocab, rule, Logits::kRandom);
    ASSERT_EQ(blocks::SegmentsOfABlock<float>::per_block(many.args()), 2);
    simulate(many);
    Case<float> alone(1, kVocab, rule, Logits::kRandom);
    constexpr size_t kRow = 123;
    std::copy_n(many.logits.begin() + kRow * kVocab, kVocab, alone.logits.begin());
    alone.keys = {many.keys[kRow]};
    simulate(alone);
    EXPECT_EQ(alone.tokens[0], many.tokens[kRow]);
    EXPECT_EQ(alone.log_probs[0], many.log_probs[kRow]);
    EXPECT_EQ(alone.sampling_log_probs[0], many.sampling_log_probs[kRow]);
  }
}

/// Sums of neighbours may round to more where nothing was added.
TEST(SampleRowsBlocks, DrawNoTokenOfWeightZero) {
  const double ulp = std::numeric_limits<double>::epsilon();
  const std::vector<double> weights = {1, 0.75 * ulp, 0.5 * ulp, 0};
  const auto search = std::make_unique<blocks::Search>();
  blocks::SimulatedBlock<blocks::kColumns> block(0, blocks::ThreadOrder::kForward);
  double before = 0;
  const auto weight = [&](int64_t i) { return weights[size_t(i)]; };
  EXPECT_EQ(blocks::first_beyond(block, *search, 4, weight, 1 + ulp, before), 2);
  EXPECT_GT(search->sums[0][3], search->sums[0][2]) << "what this test is about";
}

/// A filter's candidates are few enough for shared memory, or drawing is slow and nothing shows it.
TEST(SampleRowsBlocks, LeaveFewCandidatesToTheFilter) {
  for (const int64_t top_k : {1, 50, 149, 150, 500}) {
    Case<float> c(1, 151'936, {.top_k = top_k}, Logits::kRandom);
    simulate(c);
    const auto* segments = reinterpret_cast<const blocks::SegmentFacts<float>*>(c.scratch.data());
    int64_t n = 0;
    for (int i = 0; i < 149; ++i) n += segments[i].n_candidates;
    EXPECT_GE(n, top_k);
    EXPECT_LE(n, blocks::DrawTokensProgram<float>::kHeld) << top_k;
    EXPECT_LE(n, 100 + 5 * top_k) << top_k;
  }
}

/// The vector code of a processor that can fuse multiply and add, number by number.
template <class T>
void compare_exponentials() {
  for (const InstructionSet set : runnable_sets()) {
    if (set == InstructionSet::kBaseline) continue;  // rounds products on their own
    auto x = random_numbers<T>(10007, 5);
    for (size_t i = 0; i < x.size(); ++i) x[i] = (x[i] - T(1)) * T(i % 2 == 0 ? 5 : 60);
    x[0] = 0;
    x[1] = std::numeric_limits<T>::lowest();
    std::vector<T> vectors(x.size()), scalars;
    kernel_table<T>(set).exp_row(x.data(), int64_t(x.size()), T(1), T(0), vectors.data());
    for (const T value : x) scalars.push_back(blocks::exp_as_cpu(value));
    EXPECT_EQ(scalars, vectors);
  }
}

TEST(SampleRowsBlocks, WeighTokensByTheSameBitsAsTheCpu) {
  if (best_instruction_set() == InstructionSet::kBaseline) {
    GTEST_SKIP() << "this processor has no fused multiply-add";
  }
  compare_exponentials<float>();
  compare_exponentials<double>();
}

TEST(DrawKey, GivesEachTokenANumberOfItsOwn) {
  std::map<double, int> seen;
  for (uint64_t i = 0; i < 5; ++i) {
    for (const DrawKey& key : {DrawKey{.seed = i}, DrawKey{.step = i + 1}, DrawKey{.sample = i + 1},
                               DrawKey{.member = i + 1}, DrawKey{.position = i + 1}}) {
      const double uniform = uniform_of(key);
      EXPECT_GE(uniform, 0);
      EXPECT_LT(uniform, 1);
      ++seen[uniform];
    }
  }
  EXPECT_EQ(seen.size(), 25u);
}

template <class T>
void compare_on_gpu(Case<T>& got, const Case<T>& reference) {
  const OnGpu logits(got.logits);
  const OnGpu scratch(got.scratch);
  const OnGpu keys(got.keys);
  const OnGpu tokens(got.tokens), stop_ids(got.stop_ids), never_ids(got.never_ids);
  const OnGpu log_probs(got.log_probs), sampling_log_probs(got.sampling_log_probs);
  SampleRowsArgs<T> args = got.args();
  args.logits = logits.get();
  args.scratch = scratch.get();
  args.keys = keys.get();
  args.tokens = tokens.get();
  args.stop_ids = stop_ids.get();
  args.never_ids = never_ids.get();
  args.log_probs = log_probs.get();
  args.sampling_log_probs = sampling_log_probs.get();

  sample_rows_cuda<T>(args, nullptr);

  got.tokens = tokens.host();
  got.log_probs = log_probs.host();
  got.sampling_log_probs = sampling_log_probs.host();
  expect_same(got, reference);
}

TEST(SampleRowsCuda, DrawsTheTokensOfTheCpu) {
  ORRERY_NEEDS_GPU();
  for_each_case<float>(compare_on_gpu<float>);
  for_each_case<double>(compare_on_gpu<double>);
}

TEST(SampleRowsCuda, DrawsTheTokensOfTheCpuWhereverSegmentsEnd) {
  ORRERY_NEEDS_GPU();
  for_each_shape<float>(compare_on_gpu<float>);
  for_each_shape<double>(compare_on_gpu<double>);
}

}  // namespace
}  // namespace orrery::kernels
