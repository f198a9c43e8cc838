// The decoder: packed sequences in, hidden states or next-token log-probabilities out.
//
// With gradients enabled a result is differentiable, and backward() ADDS the gradients of all
// parameters to parameters().gradients() (leaves have views of it as .grad). It goes there
// directly: torch::autograd::grad() with respect to leaves does not see it. Each result can be
// backpropagated once. Under at::NoGradGuard nothing is kept.
//
// A decoder may be one shard of a model: a stage of a pipeline, a tensor rank. All methods that
// compute are then collective over the groups of the shard, and backward() over its tensor ranks;
// the gradients of what several shards have a copy of are only parts, to be summed
// (parallel/gradient_reduction.h).
//
// One thread at a time.
// Shape letters: T packed tokens, N sequences, A = T - N actions, H hidden, V vocabulary, R own
// rows of the T: all of them, or ceil(T / tensor ranks).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "orrery/comm/communicator.h"
#include "orrery/kernels/instruction_set.h"  // Amx
#include "orrery/model/architecture.h"
#include "orrery/model/divergence.h"
#include "orrery/model/packed_tokens.h"
#include "orrery/model/parameter_table.h"

namespace orrery::model {

struct LogProbs {
  at::Tensor log_probs;  // [A]
  at::Tensor entropy;    // [A], of the distribution that each action was drawn from
};

/// What the router of one layer chose, the same on all tensor ranks. Undefined: a layer without
/// experts. E experts, K of them a token.
struct Routing {
  at::Tensor probabilities;  // [T, E]
  at::Tensor index;          // [T, K] int64, best first
  at::Tensor weight;         // [T, K] of the chosen ones' outputs
};

/// Whether a loss has a gradient through the entropies.
enum class EntropyGradient { kNone, kFlows };

/// Which shard a decoder is and whom it computes with. Groups must outlive the decoder; their ranks
/// are the tensor ranks and the stages of `place`.
struct Shard {
  ShardPlace place = {};
  comm::Communicator* tensor = nullptr;  ///< null: one tensor rank
  comm::Communicator* pipe = nullptr;    ///< null: one stage
};

class Decoder;

/// What a teacher says of a batch before its head: its hidden states [T, H of the teacher]
/// (Decoder::hidden), and the shard that has its head.
struct TeacherRows {
  const Decoder* decoder = nullptr;
  at::Tensor hidden;
};

class Decoder {
 public:
  /// Parameters are zero until initialise() or a load.
  ///   dtype   kFloat or kDouble: parameters, matmuls and results; kBFloat16: parameters, which
  ///           are computed with in fp32 on a CPU (decision 0505), in bf16 with sums and results of
  ///           fp32 on a GPU
  ///   device  the CPU, or a CUDA device, where its ranks exchange over NCCL
  /// Throws ConfigError for an unsound architecture, a shard that it cannot be cut into, or another
  /// dtype or device.
  Decoder(Architecture architecture, at::ScalarType dtype, c10::Device device = c10::kCPU,
          Shard shard = {});
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  /// Of the whole model.
  const Architecture& architecture() const;
  const Shard& shard() const;
  /// Of results: kFloat or kDouble. Parameters are stored as parameters().dtype().
  at::ScalarType dtype() const;
  FlatParameters& parameters();
  const FlatParameters& parameters() const;
  /// Of this stage.
  int64_t n_layers() const;
  /// Of the first `n` layers of this stage a pass with gradients keeps the input only, and backward
  /// runs them again. The same bits for every n. 0 at first: all keep what they wrote.
  void set_recomputed_layers(int64_t n);
  /// Of the memory that passes have written their activations to, kept for the next ones.
  int64_t activation_bytes() const;
  /// Of the matmuls of all passes but generation's, which never uses AMX. kAuto at first.
  void set_amx(kernels::Amx amx);
  /// Each backward pass also adds `weight` times the gradient of the experts' balance loss: over
  /// the sequences of the batch, the sum of length times the mean over the layers with experts of
  ///   E sum_e (assignments to expert e / length) (mean router probability of e).
  /// A sum over sequences, so that it depends neither on micro-batches nor on the layout. 0: none.
  void set_balance_weight(double weight);

  /// Log-probability of each next token, at logits / temperature: entry t of a sequence belongs to
  /// predicting token t + 1 from token t, so a sequence of n tokens has n - 1.
  ///   returns [A] in dtype(), nats, differentiable
  /// The logits of the whole batch never exist: they are made in chunks, again in backward.
  /// In a pipeline: without gradients only, and zeros on all stages but the last.
  /// Throws as check_tokens, and ConfigError unless temperature > 0.
  at::Tensor log_probs(const PackedTokens& batch, double temperature = 1.0);

  /// [T, V] in dtype(), differentiable. T * V numbers: for tests and scoring of few sequences.
  /// In a pipeline as log_probs.
  at::Tensor logits(const PackedTokens& batch);

  /// [T, H] in the type of matmuls: the output of the last norm, differentiable. In a pipeline as
  /// log_probs.
  at::Tensor hidden(const PackedTokens& batch);

  /// Of each layer. Without a pipeline only.
  std::vector<Routing> routings(const PackedTokens& batch);

  // The parts of a pipeline, for its schedule (parallel/pipeline.h).

  /// Runs the blocks of this stage. `input` [R, H]: the output of the stage before, undefined on
  /// the first. Returns [R, H], on the last stage after the last norm. Differentiable, also by
  /// `input` where that requires a gradient. Collective over the tensor ranks.
  at::Tensor run_stage(const PackedTokens& batch, const at::Tensor& input);
  /// Own rows of a batch, the first extent of a stage's input and output.
  int64_t own_rows(const PackedTokens& batch) const;
  /// One number a token, [T] in dtype(), differentiable: the value head's. In a pipeline as
  /// log_probs. Only of an architecture with a value head.
  at::Tensor values(const PackedTokens& batch);

  /// What values() makes of the last stage's output. Collective over the tensor ranks.
  at::Tensor head_values(const PackedTokens& batch, const at::Tensor& output);
  /// What log_probs() makes of the last stage's output. Collective over the tensor ranks.
  at::Tensor head_log_probs(const PackedTokens& batch, const at::Tensor& output,
                            double temperature = 1.0);
  /// The same with the entropies. Without a gradient backward costs what it costs without them.
  LogProbs head_measured_log_probs(const PackedTokens& batch, const at::Tensor& output,
                                   double temperature = 1.0,
                                   EntropyGradient entropy = EntropyGradient::kNone);

  /// The divergence of this model's next-token distributions from a teacher's, [A] in dtype(), 0
  /// where `mask` [A] bool is false; differentiable. `output`: of this model's last stage. The
  /// teacher may be of any size but has the same vocabulary, cut over the same tensor ranks. The
  /// logits of the whole batch exist for neither: they are made in chunks, again in backward.
  /// Collective over the tensor ranks. Throws ShapeError when vocabularies or rows differ, and as
  /// check_options(DivergenceOptions).
  at::Tensor head_divergence(const PackedTokens& batch, const at::Tensor& output,
                             const TeacherRows& teacher, const at::Tensor& mask,
                             const DivergenceOptions& options);

  struct State;  // src/model/decoder_state.h

 private:
  at::Tensor run_pipeline(const PackedTokens& batch);

  std::shared_ptr<State> state_;  // shared with the graphs of results that are still alive
};

}  // namespace orrery::model
