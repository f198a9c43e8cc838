// The slots of decoding sequences against the same as plain loops: what joins and is given, what a
// step reads, and how slots go on.
#include "blocks/decode_slots.h"
#include "gpu_for_test.h"

namespace orrery::kernels {
namespace {

constexpr int64_t kStride = 3;

struct State {
  std::vector<int64_t> tokens;
  std::vector<int32_t> n_context, page_table;
  std::vector<DrawKey> keys;

  explicit State(int64_t n_slots)
      : tokens(size_t(n_slots)), n_context(tokens.size()), keys(tokens.size()) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = int64_t(100 + i);
      n_context[i] = int32_t(1 + i % 7);
      keys[i] = {.seed = 5, .step = 1, .sample = i, .member = i % 3, .position = 10 + i};
    }
    page_table.assign(size_t(n_slots * kStride), -1);
  }

  DecodeSlots on(Place& place) {
    return {.tokens = place.of(tokens),
            .n_context = place.of(n_context),
            .keys = place.of(keys),
            .page_table = place.of(page_table),
            .table_stride = kStride,
            .n_slots = int64_t(tokens.size())};
  }
};

std::vector<uint64_t> words(const std::vector<DrawKey>& keys) {
  std::vector<uint64_t> result;
  for (const DrawKey& key : keys) {
    result.insert(result.end(), {key.seed, key.step, key.sample, key.member, key.position});
  }
  return result;
}

void expect_same(const State& got, const State& expected) {
  EXPECT_EQ(got.tokens, expected.tokens);
  EXPECT_EQ(got.n_context, expected.n_context);
  EXPECT_EQ(got.page_table, expected.page_table);
  EXPECT_EQ(words(got.keys), words(expected.keys));
}

void compare_changes(const Place& place) {
  for (const int64_t n : {0, 1, 129}) {
    State got(n + 1), expected(n + 1);
    std::vector<JoinedSequence> joined;
    std::vector<GivenPage> pages;
    for (int64_t i = 0; i < n; i += 2) {
      const DrawKey key{.seed = 9, .step = 8, .sample = 7, .member = 6, .position = uint64_t(i)};
      joined.push_back({.slot = n - i, .token = 3 * i, .n_context = 20 + i, .key = key});
      expected.tokens[size_t(n - i)] = 3 * i;
      expected.n_context[size_t(n - i)] = int32_t(20 + i);
      expected.keys[size_t(n - i)] = key;
    }
    for (int32_t i = 0; i < 2 * n; ++i) {
      pages.push_back({.slot = i / 2, .place = 1 + i % 2, .page = 1000 + i});
      expected.page_table[size_t(i / 2 * kStride + 1 + i % 2)] = 1000 + i;
    }
    Place own = place;
    const ChangeSlotsArgs args{.slots = got.on(own),
                               .joined = own.of(joined),
                               .pages = own.of(pages),
                               .n_joined = int64_t(joined.size()),
                               .n_pages = int64_t(pages.size())};
    own.run([&] { change_slots_cuda(args, nullptr); },
            [&](const auto& runner) { runner.template run<blocks::ChangeSlotsProgram>(args); });
    expect_same(got, expected);
  }
}

/// Rows of every other slot from the last one on, and as many of nobody's; a third of the tokens
/// are of this shard.
void compare_steps(const Place& place) {
  constexpr int64_t kFirstToken = 150, kTokens = 100;
  for (const int64_t n : {0, 2, 300}) {
    State got(n + 1), expected(n + 1);
    std::vector<int32_t> slots, contexts, expected_contexts, short_positions;
    std::vector<int64_t> drawn, expected_tokens, expected_positions;
    std::vector<DrawKey> expected_keys;
    for (int64_t i = 0; i < n; ++i) {
      const auto slot = size_t(i % 2 == 0 ? n - 2 - i : n);
      slots.push_back(int32_t(slot));
      drawn.push_back(7000 + i);
      const int64_t token = expected.tokens[slot];
      const bool is_own = token >= kFirstToken && token < kFirstToken + kTokens;
      expected_tokens.push_back(is_own ? token - kFirstToken : -1);
      expected_keys.push_back(expected.keys[slot]);
      if (i % 2 == 0) {
        ++expected.n_context[slot];
        ++expected.keys[slot].position;
        expected.tokens[slot] = drawn.back();
      }
      expected_contexts.push_back(expected.n_context[slot]);
      expected_positions.push_back(expected.n_context[slot] - 1);
    }
    std::vector<int64_t> tokens(size_t(n), -2), positions(tokens);
    std::vector<DrawKey> keys(tokens.size());
    contexts.resize(tokens.size());
    short_positions.resize(tokens.size());
    Place own = place;
    const DecodeSlots state = got.on(own);
    const int32_t* const row_slots = own.of(slots);
    const BeginStepArgs begin{.slots = state,
                              .rows = {.slots = row_slots,
                                       .embedding_rows = own.of(tokens),
                                       .positions = own.of(positions),
                                       .short_positions = own.of(short_positions),
                                       .n_context = own.of(contexts),
                                       .keys = own.of(keys)},
                              .n_rows = n,
                              .first_token = kFirstToken,
                              .n_tokens = kTokens};
    const EndStepArgs end{
        .slots = state, .row_slots = row_slots, .drawn = own.of(drawn), .n_rows = n};
    own.run(
        [&] {
          begin_step_cuda(begin, nullptr);
          end_step_cuda(end, nullptr);
        },
        [&](const auto& runner) {
          runner.template run<blocks::BeginStepProgram>(begin);
          runner.template run<blocks::EndStepProgram>(end);
        });
    expect_same(got, expected);
    EXPECT_EQ(tokens, expected_tokens);
    EXPECT_EQ(positions, expected_positions);
    EXPECT_EQ(std::vector<int64_t>(short_positions.begin(), short_positions.end()),
              expected_positions);
    EXPECT_EQ(contexts, expected_contexts);
    EXPECT_EQ(words(keys), words(expected_keys));
  }
}

void compare(const Place& place) {
  compare_changes(place);
  compare_steps(place);
}

ORRERY_COMPARE_KERNEL(DecodeSlots, compare)

}  // namespace
}  // namespace orrery::kernels
