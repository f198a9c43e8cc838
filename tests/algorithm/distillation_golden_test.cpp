// Losses of distillation against the vectors of objectives, and what the vectors do not say.
#include "algorithm/objectives_for_test.h"
#include "orrery/algorithm/sampled_distillation.h"
#include "orrery/base/error.h"
#include "orrery/model/divergence.h"
#include "support/thread_communicator.h"

namespace orrery::algorithm {
namespace {

const Objectives& vectors() {
  static const Objectives all("distillation.json");
  return all;
}

at::Tensor mask_of(const golden::Case& c) {
  return at::tensor(golden::int32s(c["mask"]), at::kInt).to(at::kBool);
}

SampledDistillationLoss sampled_loss_of(const golden::Case& c, const at::Tensor& log_probs) {
  const nlohmann::json& given = c["options"];
  return sampled_distillation_loss(
      {.log_probs = log_probs,
       .old_log_probs = double_tensor(c["old_log_probs"]),
       .teacher_log_probs = double_tensor(c["teacher_log_probs"]),
       .advantages = optional_tensor(c["advantages"]),
       .mask = mask_of(c),
       .n_actions = golden::int32s(c["lengths"])},
      {.coef = golden::to_double(given.at("coef")),
       .discount = golden::to_double(given.at("discount")),
       .student = student_log_probs_named(given.at("student_log_probs").get<std::string>()),
       .surrogate = distillation_surrogate_named(given.at("surrogate").get<std::string>())});
}

TEST(DistillationGolden, SampledActionsCostWhatTheVectorsSay) {
  const golden::Count count =
      golden::for_each_case(vectors().path(), "on_policy_sampled", [](const golden::Case& c) {
        const at::Tensor log_probs = double_tensor(c["log_probs"]).requires_grad_(true);
        const SampledDistillationLoss got = sampled_loss_of(c, log_probs);
        const at::Tensor loss =
            got.result.loss_sum / std::max<double>(mask_of(c).sum().item<double>(), 1);
        loss.backward();

        const golden::Fields& expected = c.expect();
        expect_only(c, {"advantages", "reverse_kl", "loss", "grad_log_probs"});
        vectors().expect_tensor(got.advantages, expected.at("advantages"), "advantages");
        vectors().expect_number(loss.item<double>(), golden::to_double(expected.at("loss")),
                                "loss");
        vectors().expect_tensor(log_probs.grad(), expected.at("grad_log_probs"), "gradient");
        vectors().expect_number(got.result.statistics.value("reverse_kl").value_or(0),
                                golden::to_double(expected.at("reverse_kl")), "reverse_kl");
      });
  EXPECT_EQ(count.left_out, 0);
}

model::DivergenceOptions divergence_options(const golden::Case& c) {
  const nlohmann::json& given = c["options"];
  model::DivergenceOptions options;
  options.divergence = model::divergence_named(given.at("divergence").get<std::string>());
  options.beta = number_or_zero(given.at("beta"));
  options.temperature = golden::to_double(given.at("temperature"));
  options.times_temperature_squared = given.at("times_temperature_squared").get<bool>();
  return options;
}

/// The divergence of each token and the gradient of the mean over the valid ones, of which alone
/// the logits are looked at.
struct Distilled {
  at::Tensor per_token;  // [T]
  at::Tensor gradient;   // [T, V]
  double loss = 0;
};

Distilled distilled(const golden::Case& c) {
  const auto n = c["n_tokens"].get<int64_t>(), vocab = c["vocab"].get<int64_t>();
  const auto rows_of = [&](const nlohmann::json& logits) {
    const at::Tensor all = double_tensor(logits);
    if (n == 0 || all.numel() % n != 0) throw ShapeError("logits of another size than the tokens");
    return all.view({n, all.numel() / n});
  };
  const at::Tensor student = rows_of(c["student_logits"]), teacher = rows_of(c["teacher_logits"]);
  const at::Tensor mask = mask_of(c);
  if (mask.numel() != n) throw ShapeError("mask of another size than the tokens");
  const at::Tensor rows = mask.nonzero().squeeze(1);
  const model::RowDivergence got = model::row_divergence(
      student.index_select(0, rows), teacher.index_select(0, rows), divergence_options(c));
  const double n_valid = std::max<double>(static_cast<double>(rows.numel()), 1);
  return {at::zeros({n}, at::kDouble).index_copy(0, rows, got.values),
          at::zeros({n, vocab}, at::kDouble).index_copy(0, rows, got.gradient / n_valid),
          got.values.sum().item<double>() / n_valid};
}

TEST(DistillationGolden, DistributionsCostWhatTheVectorsSay) {
  const golden::Count count =
      golden::for_each_case(vectors().path(), "full_distribution", [](const golden::Case& c) {
        const Distilled got = distilled(c);

        const golden::Fields& expected = c.expect();
        expect_only(c, {"loss", "divergence_per_token", "grad_student_logits"});
        vectors().expect_number(got.loss, golden::to_double(expected.at("loss")), "loss");
        vectors().expect_tensor(got.per_token, expected.at("divergence_per_token"), "divergence");
        vectors().expect_tensor(got.gradient, expected.at("grad_student_logits"), "gradient");
      });
  EXPECT_EQ(count.left_out, 0);
}

TEST(RowDivergence, IsThatOfTheWholeVocabularyOnItsParts) {
  const at::Tensor student = at::randn({3, 10}, at::kDouble) * 2;
  const at::Tensor teacher = at::randn({3, 10}, at::kDouble) * 2;
  for (const model::Divergence each :
       {model::Divergence::kForwardKl, model::Divergence::kReverseKl, model::Divergence::kJsd}) {
    const model::DivergenceOptions options{.divergence = each, .beta = 0.3, .temperature = 1.5};
    const model::RowDivergence whole = model::row_divergence(student, teacher, options);

    comm::run_as_threads(2, [&](comm::Communicator& tensor) {
      const int64_t begin = tensor.rank() == 0 ? 0 : 6, count = tensor.rank() == 0 ? 6 : 4;
      const model::RowDivergence part = model::row_divergence(
          student.narrow(1, begin, count), teacher.narrow(1, begin, count), options, &tensor);
      EXPECT_TRUE(at::allclose(part.values, whole.values, 1e-12, 1e-12));
      EXPECT_TRUE(
          at::allclose(part.gradient, whole.gradient.narrow(1, begin, count), 1e-12, 1e-12));
    });
  }
}

TEST(DistillationAdvantages, CountDiscountsOverValidActionsOnly) {
  const at::Tensor teacher = at::tensor({1.0, 99.0, 2.0, 4.0}, at::kDouble);
  const at::Tensor mask = at::tensor({1, 0, 1, 1}, at::kInt).to(at::kBool);

  const at::Tensor got =
      distillation_advantages(at::zeros({4}, at::kDouble), teacher, mask, {3, 1}, 2.0, 0.5);

  EXPECT_TRUE(at::allclose(got, at::tensor({4.0, 0.0, 4.0, 8.0}, at::kDouble)));
}

}  // namespace
}  // namespace orrery::algorithm
