// hidden states of a student and of a teacher -> the divergence of their next-token distributions,
// a chunk of rows at a time: the logits of a whole batch exist for neither of them. Forward keeps
// nothing but the two hidden states; backward makes the logits again.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>  // max, min

#include "decoder_state.h"
#include "gradient_room.h"
#include "matmul.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Both logits of a chunk and what is made of them, about eight matrices of its size.
constexpr int64_t kChunkBytes = 8 << 20;
constexpr int64_t kMinChunkRows = 32;

/// What both passes need. IValue needs an intrusive_ptr of this base.
struct DivergenceRecord : torch::CustomClassHolder {
  std::shared_ptr<Decoder::State> state;
  PassRows rows;
  at::Tensor actions;         // [M] rows of hidden, of the actions that count
  at::Tensor places;          // [M] among the actions
  at::Tensor teacher_head;    // [own V, H of the teacher]
  at::Tensor teacher_hidden;  // [T, H of the teacher]
  DivergenceOptions options;
  int64_t n_actions = 0;
};

int64_t chunk_rows(const at::Tensor& head) {
  const int64_t row_bytes = head.size(0) * static_cast<int64_t>(head.element_size());
  return std::max(kMinChunkRows, kChunkBytes / std::max<int64_t>(row_bytes, 1));
}

/// work(first, hidden [C, H], divergence of the chunk) for each chunk. Collective over the tensor
/// ranks, which have the same chunks.
template <class Work>
void for_each_chunk(const DivergenceRecord& record, const at::Tensor& hidden, Work&& work) {
  const at::Tensor& head = record.state->weights.head.weight;
  const int64_t n = record.actions.numel(), step = chunk_rows(head);
  for (int64_t first = 0; first < n; first += step) {
    const at::Tensor rows = record.actions.narrow(0, first, std::min(step, n - first));
    const at::Tensor own = hidden.index_select(0, rows);
    const at::Tensor teacher = record.teacher_hidden.index_select(0, rows);
    const at::Tensor logits = multiplied_widely(record.state->amx, own, head.t());
    const at::Tensor teacher_logits =
        multiplied_widely(record.state->amx, teacher, record.teacher_head.t())
            .to(logits.scalar_type());
    work(first, rows, own,
         row_divergence(logits, teacher_logits, record.options, record.state->shard.tensor));
  }
}

at::Tensor divergences(const DivergenceRecord& record, const at::Tensor& hidden) {
  at::Tensor values = at::zeros({record.n_actions}, record.state->sums());
  for_each_chunk(record, hidden,
                 [&](int64_t first, const at::Tensor& rows, const at::Tensor&,
                     const RowDivergence& divergence) {
                   values.index_copy_(0, record.places.narrow(0, first, rows.numel()),
                                      divergence.values);
                 });
  return values;
}

struct DivergenceFunction : torch::autograd::Function<DivergenceFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden,
                            const c10::intrusive_ptr<DivergenceRecord>& record) {
    context->save_for_backward({hidden});
    context->saved_data["record"] = c10::IValue::make_capsule(record);
    return divergences(*record, gathered(record->rows, hidden));
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto capsule = context->saved_data["record"].toCapsule();
    const auto& record = static_cast<const DivergenceRecord&>(*capsule);
    Decoder::State& state = *record.state;
    const at::Tensor hidden = gathered(record.rows, context->get_saved_variables()[0]);
    const at::Tensor weights = gradients[0].index_select(0, record.places);
    GradientRoom room;
    Linear dhead = room.of(state.gradients().head);
    at::Tensor dhidden = at::zeros(hidden.sizes(), hidden.options());
    for_each_chunk(record, hidden,
                   [&](int64_t first, const at::Tensor& rows, const at::Tensor& own,
                       const RowDivergence& divergence) {
                     const at::Tensor dlogits =
                         (divergence.gradient * weights.narrow(0, first, rows.numel()).unsqueeze(1))
                             .to(state.dtype());
                     add_weight_gradient(dhead, dlogits, own);
                     dhidden.index_copy_(0, rows,
                                         multiplied(state.amx, dlogits, state.weights.head.weight));
                   });
    room.add_to_buffer();
    return {reduced(record.rows, dhidden), at::Tensor()};
  }
};

/// Rows of hidden that predict an action [A].
at::Tensor predicting_rows(const PackedTokens& batch) {
  at::Tensor rows = at::empty({batch.n_actions()}, at::kLong);
  auto* to = rows.mutable_data_ptr<int64_t>();
  for (size_t s = 0; s + 1 < batch.cu_seqlens.size(); ++s) {
    for (int64_t t = batch.cu_seqlens[s]; t + 1 < batch.cu_seqlens[s + 1]; ++t) *to++ = t;
  }
  return rows;
}

void check_teacher(const Decoder::State& state, const Decoder::State& teacher,
                   const PackedTokens& batch, const TeacherRows& rows) {
  const auto refuse = [](const char* what, int64_t expected, int64_t got) {
    throw ShapeError(base::concat("a teacher's ", what),
                     {.expected = base::concat(expected), .got = base::concat(got), .advice = {}});
  };
  const int64_t vocabulary = state.architecture.vocab_size;
  if (teacher.architecture.vocab_size != vocabulary) {
    refuse("vocabulary", vocabulary, teacher.architecture.vocab_size);
  }
  if (teacher.vocabulary().count != state.vocabulary().count ||
      !teacher.weights.head.weight.defined()) {
    refuse("part of the vocabulary on this tensor rank", state.vocabulary().count,
           teacher.vocabulary().count);
  }
  if (rows.hidden.size(0) != batch.size()) {
    refuse("rows of hidden states", batch.size(), rows.hidden.size(0));
  }
}

}  // namespace

at::Tensor head_divergence(const std::shared_ptr<Decoder::State>& state, const at::Tensor& hidden,
                           const PackedTokens& batch, const Decoder::State& teacher,
                           const TeacherRows& teacher_rows, const at::Tensor& mask,
                           const DivergenceOptions& options) {
  check_teacher(*state, teacher, batch, teacher_rows);
  auto record = c10::make_intrusive<DivergenceRecord>();
  record->state = state;
  record->rows = PassRows::cut(batch.size(), state->shard.tensor);
  const at::Tensor& head = teacher.weights.head.weight;
  const at::Tensor places = mask.nonzero().squeeze(1);
  record->places = places.to(head.device());
  record->actions = predicting_rows(batch).index_select(0, places).to(head.device());
  record->teacher_head = head;
  record->teacher_hidden = teacher_rows.hidden.to(head.device(), head.scalar_type());
  record->options = options;
  record->n_actions = batch.n_actions();
  if (hidden.requires_grad()) return DivergenceFunction::apply(hidden, record);
  return divergences(*record, gathered(record->rows, hidden));
}

}  // namespace orrery::model
