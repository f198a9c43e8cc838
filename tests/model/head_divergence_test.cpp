// The divergence from a teacher of another size, in chunks, against logits of the whole batch.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "orrery/base/error.h"
#include "reference_decoder.h"

namespace orrery::model {
namespace {

const std::vector<int64_t> kLengths = {5, 1, 12, 2, 33};

Decoder wide_teacher(int64_t vocab_size) {
  Architecture a = small_architecture("llama");
  a.vocab_size = vocab_size;
  a.hidden_size = 32;
  a.n_layers = 2;
  Decoder teacher(a, at::kDouble);
  teacher.parameters().initialise(8);
  at::Tensor values = teacher.parameters().values();
  values.mul_(3);
  return teacher;
}

/// Every third action does not count.
at::Tensor some_actions(int64_t n) { return at::arange(n).remainder(3).ne(1); }

/// KL(Q || P) of each action by autograd, from the logits of everything.
at::Tensor expected_divergence(const ReferenceDecoder& student, const ReferenceDecoder& teacher,
                               const Sequences& sequences, double temperature) {
  std::vector<at::Tensor> parts;
  for (const auto& ids : sequences) {
    const auto n = static_cast<int64_t>(ids.size()) - 1;
    const at::Tensor q = at::log_softmax(student.logits(ids) / temperature, -1).narrow(0, 0, n);
    const at::Tensor p =
        at::log_softmax(teacher.logits(ids) / temperature, -1).narrow(0, 0, n).detach();
    parts.push_back((q.exp() * (q - p)).sum(-1));
  }
  return at::cat(parts);
}

class HeadDivergence : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Decoder, HeadDivergence, testing::Values("llama", "llama-tied", "odd"),
                         test_name);

TEST_P(HeadDivergence, AndItsGradientsAreThoseOfTheWholeLogits) {
  Decoder student = small_decoder(GetParam(), at::kDouble);
  Decoder teacher = wide_teacher(student.architecture().vocab_size);
  const ReferenceDecoder reference(student), reference_teacher(teacher);
  const Sequences sequences = random_sequences(kLengths, student.architecture().vocab_size);
  const PackedTokens batch = pack(sequences);
  const at::Tensor mask = some_actions(batch.n_actions());
  const at::Tensor teacher_hidden = [&] {
    const at::NoGradGuard no_grad;
    return teacher.hidden(batch);
  }();

  const at::Tensor got = student.head_divergence(
      batch, student.run_stage(batch, {}), {.decoder = &teacher, .hidden = teacher_hidden}, mask,
      {.divergence = Divergence::kReverseKl, .temperature = 1.5});
  const at::Tensor expected =
      at::where(mask, expected_divergence(reference, reference_teacher, sequences, 1.5), 0.0);
  const at::Tensor weights = at::arange(got.numel(), at::kDouble).mul(0.7).cos();
  (got * weights).sum().backward();
  (expected * weights).sum().backward();

  EXPECT_GT(expected.detach().max().item<double>(), 0.01);
  EXPECT_LT(max_difference(got.detach(), expected.detach()), 1e-10);
  for (const ParameterSpec& spec : student.parameters().table().parameters) {
    EXPECT_LT(max_difference(student.parameters().gradient(spec.name),
                             reference.weight(spec.name).grad()),
              1e-10)
        << spec.name;
  }
}

TEST(HeadDivergenceOf, RefusesATeacherOfAnotherVocabulary) {
  const at::NoGradGuard no_grad;
  Decoder student = small_decoder("llama", at::kDouble);
  Decoder teacher = wide_teacher(student.architecture().vocab_size + 1);
  const PackedTokens batch = pack(random_sequences({4}, student.architecture().vocab_size));
  EXPECT_THROW(student.head_divergence(batch, student.run_stage(batch, {}),
                                       {.decoder = &teacher, .hidden = teacher.hidden(batch)},
                                       some_actions(3), {}),
               ShapeError);
}

}  // namespace
}  // namespace orrery::model
