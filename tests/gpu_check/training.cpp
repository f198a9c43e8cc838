// An optimizer step and a pass that only scores, as a job calls them, beside the time that their
// matmuls would take at the rate of a large one.
#include <memory>

#include "models.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/base/clock.h"
#include "orrery/base/error.h"
#include "orrery/comm/nccl_communicator.h"  // open_gpu
#include "orrery/parallel/train_engine.h"
#include "orrery/worker/model_device.h"
#include "support/thread_communicator.h"

namespace orrery::gpu_check {

namespace {

struct BatchSizes {
  int64_t sequences, length, micro_batch_tokens;
  double seconds;  ///< of the steps that are timed, at least
};

BatchSizes sizes_of(const Check& check) {
  if (check.is_small()) {
    return {.sequences = 4, .length = 16, .micro_batch_tokens = 32, .seconds = 0};
  }
  return {.sequences = 16, .length = 1024, .micro_batch_tokens = 8192, .seconds = 2};
}

data::SequenceBatch batch_of(const BatchSizes& sizes, int64_t vocab_size) {
  data::SequenceBatch batch;
  for (int64_t i = 0; i < sizes.sequences; ++i) {
    batch.meta.ids.push_back({static_cast<uint64_t>(i)});
  }
  const std::vector<int32_t> lengths(static_cast<size_t>(sizes.sequences),
                                     static_cast<int32_t>(sizes.length));
  batch.set("packed_input_ids", some_sequences(sizes.sequences, sizes.length, vocab_size).tokens,
            data::NestedLengths::of_single(lengths));
  return batch;
}

/// A model, and from its first step on the optimizer's state.
class Training {
 public:
  Training(const model::Architecture& architecture, const BatchSizes& sizes)
      : sizes_(sizes),
        decoder_(random_decoder(architecture)),
        batch_(batch_of(sizes, architecture.vocab_size)) {}

  model::Decoder& decoder() { return decoder_; }

  void step() {
    if (!engine_) {
      auto host = std::move(comm::make_thread_communicators(1, "data").front());
      group_ = worker::group_for(c10::Device(c10::kCUDA, 0), std::move(host));
      engine_ =
          std::make_unique<parallel::TrainEngine>(decoder_, parallel::OptimizerOptions{}, *group_);
    }
    const auto loss = [](const at::Tensor& log_probs, const data::SequenceBatch&) {
      return parallel::LossResult{.loss_sum = -log_probs.sum(), .statistics = {}};
    };
    const int64_t done = engine_->steps_done();
    const double n_actions = static_cast<double>(sizes_.sequences * (sizes_.length - 1));
    engine_->step(batch_, 1, n_actions, loss, limits());
    kernels::wait_for_gpu();
    if (engine_->steps_done() == done) {
      throw CallError("an optimizer step", {.expected = "a finite loss and gradient",
                                            .got = "a step that was skipped",
                                            .advice = "the parity of models says what is wrong"});
    }
  }

  void score() {
    algorithm::ModelContext model;
    model.decoder = &decoder_;
    algorithm::current_log_probs(model, batch_, 1, limits());
  }

 private:
  parallel::MicroBatchLimits limits() const { return {.max_tokens = sizes_.micro_batch_tokens}; }

  BatchSizes sizes_;
  model::Decoder decoder_;
  data::SequenceBatch batch_;
  std::unique_ptr<comm::Communicator> group_;
  std::unique_ptr<parallel::TrainEngine> engine_;
};

/// Tokens a second of `pass`, after one that is not timed.
double rate_of(Check& check, const BatchSizes& sizes, const std::function<void()>& pass) {
  pass();
  int64_t n_passes = 0;
  const base::Stopwatch watch;
  do {
    check.figures.check_time();
    pass();
    ++n_passes;
  } while (watch.seconds() < sizes.seconds);
  return static_cast<double>(n_passes * sizes.sequences * sizes.length) / watch.seconds();
}

void check_model(Check& check, const SizedModel& sized, const MatmulRates& rates) {
  const BatchSizes sizes = sizes_of(check);
  std::unique_ptr<Training> training;  // by the first figure that gets so far
  const auto made = [&]() -> Training& {
    if (!training) training = std::make_unique<Training>(sized.architecture, sizes);
    return *training;
  };
  const nlohmann::ordered_json shape = {{"model", sized.name},
                                        {"sequences", sizes.sequences},
                                        {"length", sizes.length},
                                        {"micro_batch_tokens", sizes.micro_batch_tokens}};
  const double forward = forward_operations(sized.architecture, sizes.length);
  const Figure scoring{.name = "log_probs_pass", .shape = shape, .unit = "tokens/s"};
  measure_model(check, scoring, [&](Figure& measured) {
    const at::ScalarType type = computed_type(made().decoder());
    measured.shape["type"] = type_text(type);
    measured.value = rate_of(check, sizes, [&] { made().score(); });
    measured.roofline = rates.tokens_per_second(type, forward);
  });
  for (const bool recomputes : {true, false}) {
    Figure step{.name = "training_step", .shape = shape, .unit = "tokens/s"};
    step.shape["recomputed_layers"] = recomputes ? sized.architecture.n_layers : 0;
    measure_model(check, step, [&](Figure& measured) {
      const at::ScalarType type = computed_type(made().decoder());
      measured.shape["type"] = type_text(type);
      made().decoder().set_recomputed_layers(recomputes ? sized.architecture.n_layers : 0);
      measured.value = rate_of(check, sizes, [&] { made().step(); });
      measured.roofline = rates.tokens_per_second(type, 3 * forward);
    });
  }
}

}  // namespace

void check_training(Check& check) {
  comm::open_gpu(0);
  const MatmulRates rates(check);
  for (const SizedModel& sized : models_of(check)) check_model(check, sized, rates);
}

}  // namespace orrery::gpu_check
