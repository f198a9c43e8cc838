// The passes of generation against the reference decoder: whatever pieces a sequence comes in (a
// fresh prompt, more of it, one token, what a preempted sequence had), the logits are those of the
// whole, and what a sequence gets depends on no other.
#include "generation_pass.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "orrery/kernels/decode_attention.h"
#include "reference_decoder.h"

namespace orrery::model {
namespace {

constexpr int64_t kContext = 48;
constexpr int64_t kPages = kContext / kernels::kPageTokens;

/// Sequences that go through one model piece by piece.
class Passes {
 public:
  Passes(const Decoder& decoder, size_t n_sequences)
      : vocab_size_(decoder.architecture().vocab_size),
        weights_(decoder),
        pass_(decoder, weights_, MatmulRows{}, static_cast<int64_t>(n_sequences) * kContext,
              static_cast<int64_t>(n_sequences), kContext),
        pages_(
            decoder.dtype(), decoder.architecture().n_layers,
            static_cast<int64_t>(n_sequences) * kPages,
            kernels::page_size(decoder.architecture().n_kv_heads, decoder.architecture().head_dim)),
        logits_options_(at::TensorOptions().dtype(decoder.dtype())) {
    for (size_t i = 0; i < n_sequences * kPages; ++i) page_table_.push_back(pages_.take());
    n_context_.resize(n_sequences);
  }

  /// The next tokens of some sequences -> logits [these, V] after the last of each.
  at::Tensor run(const std::vector<size_t>& which, const Sequences& pieces) {
    std::vector<int64_t> tokens;
    std::vector<int32_t> cu_seqlens{0}, n_context, table;
    for (size_t i = 0; i < which.size(); ++i) {
      const size_t s = which[i];
      tokens.insert(tokens.end(), pieces[i].begin(), pieces[i].end());
      cu_seqlens.push_back(static_cast<int32_t>(tokens.size()));
      n_context_[s] += static_cast<int32_t>(pieces[i].size());
      n_context.push_back(n_context_[s]);
      const auto row = page_table_.begin() + static_cast<ptrdiff_t>(s * kPages);
      table.insert(table.end(), row, row + kPages);
    }
    at::Tensor logits =
        at::empty({static_cast<int64_t>(which.size()), vocab_size_}, logits_options_);
    pass_.run({.tokens = tokens,
               .cu_seqlens = cu_seqlens,
               .n_context = n_context,
               .page_table = table.data(),
               .table_stride = kPages},
              pages_);
    pass_.compute_logits(logits);
    return logits;
  }

 private:
  int64_t vocab_size_;
  GenerationWeights weights_;
  GenerationPass pass_;
  PagePool pages_;
  at::TensorOptions logits_options_;
  std::vector<int32_t> page_table_, n_context_;
};

std::vector<int64_t> piece(const std::vector<int64_t>& ids, size_t first, size_t end) {
  return {ids.begin() + static_cast<ptrdiff_t>(first), ids.begin() + static_cast<ptrdiff_t>(end)};
}

class EveryKindOfPass : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(GenerationPass, EveryKindOfPass, testing::ValuesIn(kKinds), test_name);

TEST_P(EveryKindOfPass, GivesTheLogitsOfTheWholeWhateverThePieces) {
  const Decoder decoder = small_decoder(GetParam(), at::kDouble);
  const ReferenceDecoder reference(decoder);
  at::NoGradGuard no_grad;
  const Sequences sequences = random_sequences({40, 40, 40}, decoder.architecture().vocab_size);
  Passes passes(decoder, sequences.size());
  // In each pass, where the pieces of sequences 0, 1 and 2 end: fresh beside continued beside one
  // token, within a page and over its end.
  const std::vector<std::vector<size_t>> ends = {
      {17, 0, 1}, {18, 16, 2}, {31, 17, 30}, {32, 40, 31}, {40, 40, 40}};
  std::vector<size_t> done(sequences.size());

  for (const std::vector<size_t>& until : ends) {
    std::vector<size_t> which;
    Sequences pieces;
    for (size_t s = 0; s < sequences.size(); ++s) {
      if (until[s] == done[s]) continue;
      which.push_back(s);
      pieces.push_back(piece(sequences[s], done[s], until[s]));
      done[s] = until[s];
    }
    const at::Tensor logits = passes.run(which, pieces);

    for (size_t i = 0; i < which.size(); ++i) {
      const size_t s = which[i];
      const at::Tensor whole = reference.logits(piece(sequences[s], 0, done[s]))[-1];
      EXPECT_LT(max_difference(logits[static_cast<int64_t>(i)], whole), 1e-11)
          << "sequence " << s << " after " << done[s] << " tokens";
    }
  }
}

TEST_P(EveryKindOfPass, GivesASequenceTheSameBitsBesideAnyOther) {
  const Decoder decoder = small_decoder(GetParam(), at::kFloat);
  at::NoGradGuard no_grad;
  const Sequences ids = random_sequences({40, 40}, decoder.architecture().vocab_size);
  Passes alone(decoder, 1), together(decoder, 2);
  const std::vector<std::vector<size_t>> ends = {{5, 20}, {6, 21}, {30, 22}, {31, 40}};
  size_t a = 0, b = 0;

  for (const std::vector<size_t>& until : ends) {
    const at::Tensor expected = alone.run({0}, {piece(ids[0], a, until[0])});
    const at::Tensor logits =
        together.run({0, 1}, {piece(ids[0], a, until[0]), piece(ids[1], b, until[1])});
    EXPECT_TRUE(at::equal(logits[0], expected[0])) << "after " << until[0] << " tokens";
    a = until[0];
    b = until[1];
  }
}

}  // namespace
}  // namespace orrery::model
