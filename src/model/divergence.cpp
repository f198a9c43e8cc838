#include "orrery/model/divergence.h"

#include <ATen/ATen.h>

#include <cmath>
#include <string>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::model {

namespace {

/// Log-probabilities of both, from the log-sum-exp over all tensor ranks' columns.
struct LogDistributions {
  at::Tensor student, teacher;  // [C, V]
};

LogDistributions log_distributions(const at::Tensor& student_logits,
                                   const at::Tensor& teacher_logits, double temperature,
                                   comm::Communicator* tensor) {
  const at::Tensor student = student_logits / temperature;
  const at::Tensor teacher = teacher_logits / temperature;
  at::Tensor sums = at::stack({student.logsumexp(1), teacher.logsumexp(1)});
  if (tensor != nullptr) {
    at::Tensor all = at::empty({tensor->size(), 2, sums.size(1)}, sums.options());
    tensor->all_gather(all, sums);
    sums = all.logsumexp(0);
  }
  return {student - sums.select(0, 0).unsqueeze(1), teacher - sums.select(0, 1).unsqueeze(1)};
}

/// [C] sums over all tensor ranks' columns of each [C, V].
std::vector<at::Tensor> row_sums(const std::vector<at::Tensor>& terms, comm::Communicator* tensor) {
  std::vector<at::Tensor> own;
  for (const at::Tensor& each : terms) own.push_back(each.sum(1));
  at::Tensor sums = at::stack(own);
  if (tensor != nullptr) tensor->all_reduce(sums, comm::ReduceOp::kSum);
  return sums.unbind(0);
}

RowDivergence forward_kl(const LogDistributions& logs, comm::Communicator* tensor) {
  const at::Tensor p = logs.teacher.exp();
  return {row_sums({p * (logs.teacher - logs.student)}, tensor)[0], logs.student.exp() - p};
}

RowDivergence reverse_kl(const LogDistributions& logs, comm::Communicator* tensor) {
  const at::Tensor q = logs.student.exp();
  const at::Tensor ahead = logs.student - logs.teacher;
  const at::Tensor value = row_sums({q * ahead}, tensor)[0];
  return {value, q * (ahead - value.unsqueeze(1))};
}

RowDivergence jsd(const LogDistributions& logs, double beta, comm::Communicator* tensor) {
  const at::Tensor mixture =
      at::logaddexp(logs.teacher + std::log(beta), logs.student + std::log1p(-beta));
  const at::Tensor q = logs.student.exp();
  const at::Tensor ahead = logs.student - mixture;
  const std::vector<at::Tensor> kl =
      row_sums({logs.teacher.exp() * (logs.teacher - mixture), q * ahead}, tensor);
  return {beta * kl[0] + (1 - beta) * kl[1], (1 - beta) * q * (ahead - kl[1].unsqueeze(1))};
}

void check_logits(const at::Tensor& student, const at::Tensor& teacher,
                  const DivergenceOptions& options) {
  if (student.dim() != 2 || student.sizes() != teacher.sizes()) {
    throw ShapeError("logits of student and teacher",
                     {.expected = base::concat("equal sizes [rows, vocabulary]: a teacher with the "
                                               "student's tokenizer"),
                      .got = base::concat(student.numel(), " and ", teacher.numel(), " numbers"),
                      .advice = {}});
  }
  if (options.nonfinite == NonfiniteLogits::kPassOn) return;
  for (const at::Tensor& logits : {student, teacher}) {
    if (at::isfinite(logits).all().item<bool>()) continue;
    throw CallError("logits of student or teacher",
                    {.expected = "finite numbers",
                     .got = "NaN or infinite ones",
                     .advice = "the model's weights are broken or have diverged"});
  }
}

}  // namespace

Divergence divergence_named(std::string_view name) {
  if (name == "forward_kl") return Divergence::kForwardKl;
  if (name == "reverse_kl") return Divergence::kReverseKl;
  if (name == "jsd") return Divergence::kJsd;
  throw ConfigError(
      "divergence of a distillation",
      {.expected = "forward_kl, reverse_kl or jsd", .got = std::string(name), .advice = {}});
}

void check_options(const DivergenceOptions& options) {
  if (!std::isfinite(options.temperature) || options.temperature <= 0) {
    throw ConfigError("temperature of a distillation", {.expected = "a finite number above 0",
                                                        .got = base::concat(options.temperature),
                                                        .advice = {}});
  }
  if (options.divergence != Divergence::kJsd || (options.beta > 0 && options.beta < 1)) return;
  throw ConfigError("beta of the Jensen-Shannon divergence",
                    {.expected = "above 0 and below 1",
                     .got = base::concat(options.beta),
                     .advice = "the Kullback-Leibler divergences are forward_kl and reverse_kl"});
}

RowDivergence row_divergence(const at::Tensor& student_logits, const at::Tensor& teacher_logits,
                             const DivergenceOptions& options, comm::Communicator* tensor) {
  check_options(options);
  check_logits(student_logits, teacher_logits, options);
  const LogDistributions logs =
      log_distributions(student_logits, teacher_logits, options.temperature, tensor);
  RowDivergence result;
  switch (options.divergence) {
    case Divergence::kForwardKl:
      result = forward_kl(logs, tensor);
      break;
    case Divergence::kReverseKl:
      result = reverse_kl(logs, tensor);
      break;
    case Divergence::kJsd:
      result = jsd(logs, options.beta, tensor);
      break;
  }
  const double scale =
      options.times_temperature_squared ? options.temperature * options.temperature : 1;
  if (scale != 1) result.values = result.values * scale;
  if (scale != options.temperature)
    result.gradient = result.gradient * (scale / options.temperature);
  return result;
}

}  // namespace orrery::model
