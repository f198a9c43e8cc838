// What the simulated device counts: nothing about time, but what a GPU and its host have to do.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <vector>

#include "decoders_on_gpus.h"
#include "orrery/algorithm/policy_objective.h"
#include "orrery/algorithm/ppo_actor.h"
#include "orrery/algorithm/sft.h"
#include "orrery/parallel/train_engine.h"
#include "orrery/worker/model_device.h"
#include "streams.h"
#include "support/thread_communicator.h"

namespace orrery::model {
namespace {

void tell(const char* what, const simulated_gpu::Counters& c) {
  std::cout << what << ": " << c.kernels << " kernels, " << c.host_waits << " waits, "
            << c.copies_to_device << " copies of " << c.bytes_to_device << " bytes there, "
            << c.copies_to_host << " of " << c.bytes_to_host << " back\n";
}

simulated_gpu::Counters counts_of(const std::function<void()>& work) {
  const simulated_gpu::Counters before = simulated_gpu::counters();
  work();
  return simulated_gpu::counters() - before;
}

/// Of all ranks together, which call it: what they count is one number.
simulated_gpu::Counters counts_of_ranks(comm::Communicator& ranks,
                                        const std::function<void()>& work) {
  ranks.barrier();
  const simulated_gpu::Counters before = simulated_gpu::counters();
  ranks.barrier();
  work();
  ranks.barrier();
  const simulated_gpu::Counters counts = simulated_gpu::counters() - before;
  ranks.barrier();
  return counts;
}

/// Two tensor ranks of a model on GPUs; each calls `work(decoder, both, tensor)`. Ranks do not ask
/// each other whether they agree: that would be waited for.
void on_two_tensor_ranks(const std::function<void(Decoder&, comm::Communicator& both,
                                                  comm::Communicator& tensor)>& work) {
  comm::run_as_threads(
      2,
      [&](comm::Communicator& cpus) {
        const c10::Device device(c10::kCUDA, static_cast<c10::DeviceIndex>(cpus.rank()));
        const auto group = worker::group_for(device, cpus.split(0, cpus.rank(), "tensor"));
        const ShardPlace place{.tensor = cpus.rank(), .n_tensor = 2};
        const Decoder cpu = on_cpu("plain", at::kFloat, {.place = place, .tensor = &cpus});
        Decoder gpu = on_gpu(cpu, cpus.rank(), {.place = place, .tensor = group.get()});
        work(gpu, cpus, *group);
      },
      {.check_agreement = false});
}

TEST(CountsOnGpus, ScoresWithoutWaitingForTheDevice) {
  const Decoder cpu = on_cpu("bias", at::kFloat);
  Decoder gpu = on_gpu(cpu, 0);
  const PackedTokens batch = some_tokens(cpu.architecture().vocab_size);
  const at::NoGradGuard no_grad;
  gpu.log_probs(batch);  // tables and memory are there
  const simulated_gpu::Counters before = simulated_gpu::counters();
  const at::Tensor log_probs = gpu.log_probs(batch);
  const simulated_gpu::Counters after = simulated_gpu::counters();
  EXPECT_EQ(after.host_waits - before.host_waits, 0);
  EXPECT_EQ(after.host_reads - before.host_reads, 0);
}

TEST(CountsOnGpus, TwoTensorRanksScoreWithoutWaiting) {
  on_two_tensor_ranks([](Decoder& gpu, comm::Communicator& both, comm::Communicator&) {
    const PackedTokens batch = some_tokens(gpu.architecture().vocab_size);
    const at::NoGradGuard no_grad;
    gpu.log_probs(batch);  // tables and memory are there
    at::Tensor log_probs;
    const auto counts = counts_of_ranks(both, [&] { log_probs = gpu.log_probs(batch); });
    if (both.rank() == 0) tell("scoring on two tensor ranks, both", counts);
    EXPECT_EQ(counts.host_waits, 0);
    EXPECT_FALSE(log_probs.cpu().isnan().any().item<bool>());
    both.barrier();
  });
}

TEST(CountsOnGpus, ADecodingStepOfTwoTensorRanksWaitsOnceForItsTokens) {
  on_two_tensor_ranks([](Decoder& gpu, comm::Communicator& both, comm::Communicator&) {
    const PackedTokens prompts = some_tokens(gpu.architecture().vocab_size);
    const std::vector<SamplingKey> keys(static_cast<size_t>(prompts.n_sequences()));
    Generator generator(gpu);
    const auto of = [&](int64_t n_tokens) {
      GenerationOptions options;
      options.max_new_tokens = n_tokens;
      options.max_batch = 8;
      return counts_of_ranks(both, [&] { generator.generate(prompts, keys, options); });
    };
    of(2);  // memory is there
    const simulated_gpu::Counters more = of(4), fewer = of(3), step = more - fewer;
    if (both.rank() == 0) tell("a decoding step on two tensor ranks, both", step);
    EXPECT_EQ(step.host_waits, 2);  // one a rank
    EXPECT_EQ(step.graphs, 2);
    EXPECT_EQ(step.kernels, 0) << "but in the graphs";
  });
}

/// Updates of a decoder by some micro-batches each, with the loss on the host or beside the model.
class Training {
 public:
  Training(Decoder& gpu, parallel::ReplicaGroups groups) : engine_(gpu, options(), groups) {
    const PackedTokens tokens = some_tokens(gpu.architecture().vocab_size);
    for (uint64_t i = 0; i < 5; ++i) batch_.meta.ids.push_back({i});
    batch_.set("packed_input_ids", tokens.tokens,
               data::NestedLengths::of_single(std::vector<int32_t>{5, 1, 12, 2, 21}));
  }

  metrics::Statistics step(int64_t n_micro_batches = 2,
                           const parallel::DeviceLossSum& on_device = {}) {
    const parallel::LossFunction loss = [](const at::Tensor& log_probs,
                                           const data::SequenceBatch&) {
      EXPECT_TRUE(log_probs.is_cpu());
      parallel::LossResult result{.loss_sum = -log_probs.sum(), .statistics = {}};
      result.statistics.sum("n", static_cast<double>(log_probs.numel()));
      return result;
    };
    return engine_.step(batch_, 1, 36, loss, {.min_parts = n_micro_batches}, {}, on_device);
  }

  static at::Tensor loss_on_device(const model::LogProbs& output, const data::SequenceBatch&) {
    EXPECT_TRUE(output.log_probs.is_cuda());
    return -output.log_probs.sum();
  }

 private:
  static parallel::OptimizerOptions options() {
    parallel::OptimizerOptions options;
    options.schedule.max_lr = 1e-3;
    options.schedule.decay_steps = 10;
    return options;
  }

  parallel::TrainEngine engine_;
  data::SequenceBatch batch_;
};

TEST(CountsOnGpus, AnOptimizerStepWaitsForItsLossesAndItsNorm) {
  comm::run_as_threads(1, [](comm::Communicator& cpus) {
    const auto group = worker::group_for(c10::Device(c10::kCUDA, 0), cpus.split(0, 0, "data"));
    Decoder gpu = on_gpu(on_cpu("plain", at::kFloat), 0);
    Training training(gpu, parallel::ReplicaGroups::data_parallel(*group));
    training.step();
    const simulated_gpu::Counters counts = counts_of([&] { training.step(); });
    tell("an optimizer step of 2 micro-batches, 4 layers", counts);
    EXPECT_EQ(counts.host_waits, 3);  // the loss of each micro-batch; the norm
    EXPECT_EQ(counts.kernels, 265);
    EXPECT_EQ(counts.copies_to_device, 28);
    EXPECT_EQ(counts.copies_to_host, 3);
    EXPECT_EQ(gpu.parameters().gradients().storage().data(), nullptr) << "memory for generation";
  });
}

TEST(CountsOnGpus, AnOptimizerStepWithItsLossOnTheDeviceWaitsTwiceHoweverManyMicroBatchesThereAre) {
  comm::run_as_threads(1, [](comm::Communicator& cpus) {
    const auto group = worker::group_for(c10::Device(c10::kCUDA, 0), cpus.split(0, 0, "data"));
    for (const int64_t n : {1, 2, 4}) {
      const Decoder cpu = on_cpu("plain", at::kDouble);
      Decoder gpu = on_gpu(cpu, 0), other = on_gpu(cpu, 0);
      Training training(gpu, parallel::ReplicaGroups::data_parallel(*group));
      Training by_host(other, parallel::ReplicaGroups::data_parallel(*group));
      metrics::Statistics said = training.step(n, Training::loss_on_device);
      const metrics::Statistics expected = by_host.step(n);
      for (const char* name : {"loss", "grad_norm", "n", "n_tokens", "skipped_steps"}) {
        EXPECT_EQ(said.value(name), expected.value(name)) << name;
      }
      EXPECT_TRUE(at::equal(gpu.parameters().values().cpu(), other.parameters().values().cpu()));
      const simulated_gpu::Counters counts =
          counts_of([&] { training.step(n, Training::loss_on_device); });
      EXPECT_EQ(counts.host_waits, 2) << n << " micro-batches: what the model said, and the norm";
      EXPECT_EQ(counts_of([&] { by_host.step(n); }).host_waits, n + 1);
    }
  });
}

TEST(CountsOnGpus, AnOptimizerStepOfTwoTensorRanksWaitsAsOften) {
  on_two_tensor_ranks([](Decoder& gpu, comm::Communicator& both, comm::Communicator& tensor) {
    const auto data = both.split(both.rank(), 0, "data");
    Training training(gpu, {.model = &tensor, .data = data.get(), .tensor = &tensor});
    training.step();
    const simulated_gpu::Counters counts = counts_of_ranks(both, [&] { training.step(); });
    if (both.rank() == 0) tell("an optimizer step on two tensor ranks, both", counts);
    EXPECT_EQ(counts.host_waits, 2 * 3);
  });
}

/// Objectives whose gradients are made beside the model, each with another part.
std::vector<algorithm::ObjectiveOptions> objectives() {
  using namespace algorithm;
  using Kind = SurrogateKind;
  ObjectiveOptions plain;
  plain.surrogate = {.kind = Kind::kPpoClip, .eps_low = 0.2, .eps_high = 0.3, .dual_clip = 3};
  plain.log_ratio_limit = 1;
  std::vector<ObjectiveOptions> all(13, plain);
  all[1].surrogate = {.kind = Kind::kCispo, .eps_low = 0.2, .eps_high = 0.3};
  all[2].surrogate = {.kind = Kind::kSapo, .tau_positive = 1, .tau_negative = 2};
  all[3].surrogate = {.kind = Kind::kReinforce};
  all[4].surrogate = {.kind = Kind::kImportanceSampling};
  all[5].surrogate = {.kind = Kind::kDppoTv, .divergence_threshold = 0.05};
  all[6].surrogate = {.kind = Kind::kDppoKl, .divergence_threshold = 0.05};
  all[7].kl = {.coefficient = 0.1, .estimator = KlEstimator::kK1};
  all[8].kl = {.coefficient = 0.1, .gradient = KlGradient::kStraightThroughK2};
  all[9].kl = {.coefficient = 0.1, .gradient = KlGradient::kImportanceWeighted};
  all[10].entropy = {.coefficient = 0.1, .top_fraction = 0.5};
  all[11].proximal = {.kind = Proximal::kGiven, .weight_cap = 1.5};
  all[12].aggregation = {.kind = Aggregation::kConstant, .constant_length = 9};
  return all;
}

TEST(CountsOnGpus, GradientsOfSingleActionsAreTheCpusAndWaitForNothing) {
  const auto numbers = [](double factor) { return at::arange(14, at::kDouble).mul(factor).sin(); };
  const std::vector<algorithm::ObjectiveOptions> all = objectives();
  for (size_t i = 0; i < all.size(); ++i) {
    SCOPED_TRACE(i);
    ASSERT_TRUE(algorithm::is_of_single_actions(all[i]));
    const auto input_on = [&](at::Device device) {
      return algorithm::ObjectiveInput{
          .lengths = {4, 2, 8},
          .log_probs = numbers(0.7).to(device).set_requires_grad(true),
          .old_log_probs = numbers(0.9).to(device),
          .proximal_log_probs = numbers(0.8).to(device),
          .ref_log_probs = numbers(1.1).to(device),
          .advantages = numbers(1.7).to(device),
          .entropies = numbers(0.4).abs().to(device).set_requires_grad(true),
          .high_entropy = numbers(0.3).gt(0).to(device),
          .rollout_weights = numbers(0.2).abs().to(device),
          .mask = numbers(2.3).lt(0.5).to(device)};
    };
    const auto backpropagate = [&](const algorithm::ObjectiveInput& input) {
      algorithm::policy_objective(input, all[i], {.weight = 9, .entropy_weight = 5})
          .loss_sum.backward();
    };
    const algorithm::ObjectiveInput cpu = input_on(at::kCPU);
    const algorithm::ObjectiveInput gpu = input_on(at::Device(at::kCUDA, 0));
    backpropagate(cpu);
    const simulated_gpu::Counters counts = counts_of([&] { backpropagate(gpu); });
    EXPECT_EQ(counts.host_waits, 0);
    EXPECT_EQ(counts.host_reads, 0);
    EXPECT_GT(cpu.log_probs.grad().abs().max().item<double>(), 0);
    EXPECT_TRUE(at::allclose(gpu.log_probs.grad().cpu(), cpu.log_probs.grad(), 1e-12, 1e-12));
    if (!cpu.entropies.grad().defined()) continue;
    EXPECT_TRUE(at::allclose(gpu.entropies.grad().cpu(), cpu.entropies.grad(), 1e-12, 1e-12));
  }
}

/// Answers with rewards to prompts of two tokens each.
data::SequenceBatch rewarded_answers(int64_t vocab_size) {
  const std::vector<int32_t> lengths{5, 4, 12, 6, 14};
  std::vector<int32_t> actions;
  std::vector<at::Tensor> prompts;
  data::SequenceBatch batch;
  for (const int32_t n : lengths) {
    batch.meta.ids.push_back({batch.meta.ids.size()});
    actions.push_back(n - 1);
    prompts.push_back(at::arange(n).lt(2));
  }
  const auto tokens = data::NestedLengths::of_single(lengths);
  const auto one_each = data::NestedLengths::of_single(std::vector<int32_t>(lengths.size(), 1));
  batch.set("packed_input_ids", (at::arange(41) * 7 + 3) % vocab_size, tokens);
  batch.set("prompt_mask", at::cat(prompts), tokens);
  batch.set("packed_logprobs", at::arange(36, at::kFloat).sin().sub(3),
            data::NestedLengths::of_single(actions));
  batch.set("rewards", at::arange(5, at::kFloat).remainder(3), one_each);
  batch.set("seq_no_eos_mask", at::zeros({5}, at::kBool), one_each);
  return batch;
}

TEST(CountsOnGpus, TrainStepsOfPoliciesAndExamplesWaitTwiceHoweverManyMicroBatchesThereAre) {
  comm::run_as_threads(1, [](comm::Communicator& cpus) {
    const auto group = worker::group_for(c10::Device(c10::kCUDA, 0), cpus.split(0, 0, "data"));
    Decoder gpu = on_gpu(on_cpu("plain", at::kFloat), 0);
    parallel::OptimizerOptions optimizer;
    optimizer.schedule.max_lr = 1e-3;
    optimizer.schedule.decay_steps = 10;
    parallel::TrainEngine engine(gpu, optimizer, *group);
    algorithm::ModelContext model;
    model.decoder = &gpu;
    model.engine = &engine;
    model.data_group = group.get();
    const data::SequenceBatch batch = rewarded_answers(gpu.architecture().vocab_size);
    algorithm::PpoActor policy({});
    algorithm::Sft examples({});
    for (algorithm::Interface* learner : {static_cast<algorithm::Interface*>(&policy),
                                          static_cast<algorithm::Interface*>(&examples)}) {
      for (const int64_t n : {1, 2, 4}) {
        algorithm::CallContext call;
        call.call = "train";
        call.step = 1;
        call.limits.min_parts = n;
        const auto step = [&] {
          EXPECT_EQ(learner->train_step(model, batch, call).at(0).value("skipped_steps"), 0);
        };
        step();  // memory is there
        EXPECT_EQ(counts_of(step).host_waits, 2) << n;
      }
    }
  });
}

}  // namespace
}  // namespace orrery::model
