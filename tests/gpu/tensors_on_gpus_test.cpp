// This program's own code on tensors of simulated GPUs, in the groups that workers have there,
// beside the same on CPUs.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "orrery/algorithm/advantages.h"
#include "orrery/algorithm/critic_loss.h"
#include "orrery/algorithm/policy_objective.h"
#include "orrery/algorithm/value_norm.h"
#include "orrery/graph/topology.h"
#include "orrery/model/divergence.h"
#include "orrery/model/parameter_table.h"
#include "orrery/parallel/gradient_reduction.h"
#include "orrery/parallel/reallocation.h"
#include "orrery/parallel/reallocation_plan.h"
#include "orrery/worker/data_store.h"
#include "orrery/worker/data_transfer.h"
#include "orrery/worker/model_device.h"
#include "support/thread_communicator.h"

namespace orrery {
namespace {

using Tensors = std::vector<at::Tensor>;
/// What some code gives on this device, whose tensors the group takes.
using Body = std::function<Tensors(at::Device device, comm::Communicator& group)>;

/// `check(body on CPUs, body on GPUs)` on each of `n_ranks` ranks.
void on_both(int n_ranks, const Body& body,
             const std::function<void(const Tensors&, const Tensors&)>& check) {
  comm::run_as_threads(n_ranks, [&](comm::Communicator& cpus) {
    const Tensors expected = body(at::kCPU, cpus);
    const at::Device gpu(at::kCUDA, static_cast<c10::DeviceIndex>(cpus.rank()));
    const auto group = worker::group_for(gpu, cpus.split(0, cpus.rank(), "gpus"));
    check(expected, body(gpu, *group));
  });
}

void expect_same(int n_ranks, const Body& body, double tolerance = 0) {
  on_both(n_ranks, body, [tolerance](const Tensors& expected, const Tensors& got) {
    ASSERT_EQ(got.size(), expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      const at::Tensor here = got[i].cpu();
      ASSERT_EQ(here.scalar_type(), expected[i].scalar_type());
      ASSERT_EQ(here.sizes(), expected[i].sizes());
      const at::Tensor distance = (here.to(at::kDouble) - expected[i].to(at::kDouble)).abs();
      EXPECT_TRUE((distance <= tolerance).all().item<bool>()) << distance.max();
    }
  });
}

at::Tensor numbers(int64_t n, double seed) {
  return (at::arange(n, at::kDouble) * (0.37 + seed)).sin().to(at::kFloat);
}

const std::vector<int32_t> kLengths = {5, 3, 9};  // 17 tokens, 14 actions

at::Tensor mask(at::Device device) { return (numbers(14, 4) > 0).to(device); }

data::SequenceBatch samples_of(int rank, at::Device device) {
  data::SequenceBatch batch;
  for (uint64_t i = 0; i < 3; ++i) batch.meta.ids.push_back({3 * static_cast<uint64_t>(rank) + i});
  batch.set("x", numbers(17, rank).to(device), data::NestedLengths::of_single(kLengths));
  return batch;
}

// ---- What works

TEST(ProductOnGpus, ReducesGradientsToTheirOwners) {
  for (const int n_ranks : {1, 2, 4}) {
    expect_same(
        n_ranks,
        [](at::Device device, comm::Communicator& group) {
          return Tensors{
              parallel::reduce_to_owners(numbers(10007, group.rank()).to(device), group, 512)};
        },
        1e-6);
  }
}

TEST(ProductOnGpus, GathersParametersFromTheirOwners) {
  for (const int n_ranks : {1, 2, 4}) {
    expect_same(n_ranks, [](at::Device device, comm::Communicator& group) {
      const at::Tensor x = numbers(10007, group.rank()).to(device);
      parallel::gather_from_owners(x, group, 512);
      return Tensors{x};
    });
  }
}

/// The flat buffer of a worker's shard, other numbers for each; undefined: it has none.
at::Tensor shard_of(const model::Architecture& a, const graph::Layout& layout, int worker,
                    at::ScalarType type, at::Device device) {
  const graph::Topology topology = graph::topology_of(layout);
  for (int rank = 0; rank < topology.size(); ++rank) {
    if (layout.workers[static_cast<size_t>(rank)] != worker) continue;
    const graph::Coordinate at = topology.coordinate(rank);
    const auto table = model::parameter_table(a, {at.pipe, layout.pipe, at.tensor, layout.tensor});
    return numbers(table.numel, at.pipe * 0.1 + at.tensor * 0.01).to(type).to(device);
  }
  return {};
}

model::Architecture four_layers() {
  model::Architecture a;
  a.vocab_size = 50;
  a.hidden_size = 24;
  a.intermediate_size = 32;
  a.n_layers = 4;
  a.n_heads = 8;
  a.n_kv_heads = 2;
  a.head_dim = 4;
  a.max_positions = 64;
  return a;
}

TEST(ProductOnGpus, ReallocatesParametersBetweenAllPairsOfLayouts) {
  const model::Architecture a = four_layers();
  std::vector<graph::Layout> layouts;
  for (const char* text :
       {"d1t1p1@0", "d1t1p1@3", "d2t1p1@0-1", "d1t2p1@2-3", "d1t1p2@1-2", "d4t1p1@0-3",
        "d1t4p1@0-3", "d1t1p4@0-3", "d2t2p1@0-3", "d2t1p2@0-3", "d1t2p2@0-3", "d2t2p1@3,1,0,2"}) {
    layouts.push_back(graph::Layout::parse(text));
  }
  expect_same(4, [&](at::Device device, comm::Communicator& group) {
    Tensors moved;
    for (const graph::Layout& source : layouts) {
      for (const graph::Layout& destination : layouts) {
        const auto plan = parallel::plan_reallocation(parallel::shards_of(a, source),
                                                      parallel::shards_of(a, destination));
        const at::Tensor there = shard_of(a, source, group.rank(), at::kFloat, device);
        at::Tensor here = shard_of(a, destination, group.rank(), at::kFloat, device);
        if (here.defined()) here.zero_();
        parallel::reallocate(plan, group, there, here, at::kFloat);
        if (here.defined()) moved.push_back(here);
      }
    }
    return moved;
  });
}

TEST(ProductOnGpus, ReallocatesParametersThatAreMixedOrConverted) {
  const model::Architecture a = four_layers();
  const std::pair<const char*, const char*> pairs[] = {{"d1t2p2@0-3", "d4t1p1@0-3"},
                                                       {"d4t1p1@0-3", "d1t4p1@0-3"},
                                                       {"d1t2p1@0-1", "d2t1p1@2-3"},
                                                       {"d1t1p4@0-3", "d2t2p1@3,1,0,2"}};
  for (const auto& [from, to] : pairs) {
    const graph::Layout source = graph::Layout::parse(from), destination = graph::Layout::parse(to);
    const auto plan = parallel::plan_reallocation(parallel::shards_of(a, source),
                                                  parallel::shards_of(a, destination));
    for (const auto& [wire, eta] :
         {std::pair{at::kFloat, 1.0}, {at::kBFloat16, 1.0}, {at::kFloat, 0.3}}) {
      SCOPED_TRACE(std::string(from) + " -> " + to + ", eta " + std::to_string(eta));
      expect_same(
          4,
          [&, wire = wire, eta = eta](at::Device device, comm::Communicator& group) {
            const at::Tensor there = shard_of(a, source, group.rank(), at::kFloat, device);
            const at::Tensor here = shard_of(a, destination, group.rank(), wire, device);
            parallel::reallocate(plan, group, there, here, wire, eta);
            return here.defined() ? Tensors{here} : Tensors{};
          },
          eta == 1 ? 0 : 1e-7);
    }
  }
}

TEST(ProductOnGpus, CountsTheSquaresOfGradients) {
  model::ParameterTable table;  // of three, the second one counted elsewhere
  for (const int64_t n : {60, 10, 30}) {
    model::ParameterSpec spec;
    spec.offset = table.numel;
    spec.numel = n;
    spec.is_copy = n == 10;
    table.parameters.push_back(std::move(spec));
    table.numel += n;
  }
  expect_same(
      1,
      [&](at::Device device, comm::Communicator&) {
        const double sum =
            parallel::counted_square_sum(numbers(100, 0).to(device), table, {0, 100});
        EXPECT_GT(sum, 1);
        return Tensors{at::tensor({sum}, at::kDouble)};
      },
      1e-5);
}

TEST(ProductOnGpus, KeepsReordersAndGathersSamples) {
  expect_same(1, [](at::Device device, comm::Communicator&) {
    worker::DataStore store;
    const data::SequenceBatch batch = samples_of(0, device);
    store.put(batch);
    return Tensors{store.gather(batch.meta).at("x"),
                   batch.reorder(std::vector<int>{2, 0, 1}).at("x")};
  });
}

TEST(ProductOnGpus, GivesTheLossOfACritic) {
  expect_same(
      1,
      [](at::Device device, comm::Communicator&) {
        const auto loss =
            algorithm::critic_loss({numbers(14, 1).to(device), numbers(14, 2).to(device),
                                    numbers(14, 3).to(device), mask(device)},
                                   {});
        return Tensors{loss.loss, loss.clip_mask};
      },
      1e-6);
}

TEST(ProductOnGpus, GivesTheLossOfAPolicyAndItsGradient) {
  expect_same(
      1,
      [](at::Device device, comm::Communicator&) {
        const at::Tensor log_probs = numbers(14, 1).to(device).set_requires_grad(true);
        algorithm::ObjectiveInput input;
        input.lengths = {4, 2, 8};
        input.log_probs = log_probs;
        input.old_log_probs = numbers(14, 2).to(device);
        input.advantages = numbers(14, 3).to(device);
        input.mask = mask(device);
        algorithm::ObjectiveOptions options;
        options.surrogate.eps_low = options.surrogate.eps_high = 0.2;
        const auto loss = algorithm::policy_objective(
            input, options, algorithm::totals_of(input.lengths, input.mask, {}, options));
        torch::autograd::backward({loss.loss_sum}, {});
        return Tensors{loss.loss_sum.detach(), log_probs.grad()};
      },
      1e-5);
}

// What follows is the host's wherever models compute: its numbers go over the same groups.

TEST(ProductOnGpus, NormalisesNumbersOfTheHost) {
  expect_same(2, [](at::Device, comm::Communicator& group) {
    return Tensors{
        algorithm::masked_normalization(numbers(14, group.rank()), mask(at::kCPU), &group)};
  });
}

TEST(ProductOnGpus, UpdatesAValueNorm) {
  expect_same(2, [](at::Device, comm::Communicator& group) {
    algorithm::ValueNorm norm({});
    norm.update(numbers(14, group.rank()), mask(at::kCPU), &group);
    return Tensors{at::tensor({norm.mean()})};
  });
}

TEST(ProductOnGpus, SumsTheTotalsOfAMinibatch) {
  expect_same(2, [](at::Device, comm::Communicator& group) {
    return Tensors{
        at::tensor({algorithm::summed_over({.weight = 1.0 + group.rank()}, &group).weight})};
  });
}

TEST(ProductOnGpus, ShowsWhatItsGroupsWaitForToTheSameWatchdog) {
  comm::run_as_threads(1, [](comm::Communicator& cpus) {
    const auto group = worker::group_for(at::Device(at::kCUDA, 0), cpus.split(0, 0, "gpus"));
    EXPECT_EQ(group->options().activity, cpus.options().activity);
    EXPECT_EQ(group->options().deadline, cpus.options().deadline);
  });
}

TEST(ProductOnGpus, MovesSamplesBetweenWorkers) {
  expect_same(2, [](at::Device, comm::Communicator& group) {
    worker::DataStore store;
    store.put(samples_of(group.rank(), at::kCPU));
    const data::BatchMetadata moved = samples_of(0, at::kCPU).meta;
    const comm::Transfer transfer{.source = 0, .destinations = {1}, .batch = moved};
    worker::run_transfers(std::vector<comm::Transfer>{transfer}, group, store);
    return Tensors{store.gather(moved).at("x")};
  });
}

// One message of each kind in one exchange, both ways, and the calls that tell of them.
TEST(ProductOnGpus, ExchangesTensorsOfTheHostAndOfGpusInOneGo) {
  expect_same(2, [](at::Device device, comm::Communicator& group) {
    const int peer = 1 - group.rank();
    const Tensors sent = {numbers(5, group.rank()).to(device), numbers(7, group.rank())};
    Tensors received = {at::empty_like(sent[0]), at::empty_like(sent[1])};
    std::vector<comm::Send> sends;
    std::vector<comm::Receive> receives;
    for (size_t i = 0; i < sent.size(); ++i) {
      sends.push_back({peer, sent[i]});
      receives.push_back({peer, received[i]});
    }
    std::set<size_t> told;
    group.exchange(sends, receives, [&](size_t i) { told.insert(i); });
    EXPECT_EQ(told, (std::set<size_t>{0, 1}));
    return received;
  });
}

TEST(ProductOnGpus, GivesTheMemoryOfParametersBackAndTakesItAgain) {
  model::Architecture a;
  a.vocab_size = 50;
  a.hidden_size = a.head_dim = 8;
  a.intermediate_size = 16;
  a.n_layers = a.n_heads = a.n_kv_heads = 1;
  a.max_positions = 8;
  expect_same(1, [&](at::Device device, comm::Communicator&) {
    model::FlatParameters parameters(model::parameter_table(a), at::kBFloat16, device);
    parameters.initialise(7);
    const at::Tensor values = parameters.values().cpu().clone();
    const at::Tensor view = parameters.leaf("model.embed_tokens.weight").detach();
    parameters.release();
    if (device.is_cuda()) {
      EXPECT_EQ(parameters.values().storage().data(), nullptr);
    }
    parameters.acquire();
    const at::Tensor zeros = parameters.values().clone();
    parameters.stored().copy_(values);
    parameters.widen();
    // Widened on CPUs alone.
    return Tensors{zeros.to(at::kFloat), parameters.values().to(at::kFloat), view.to(at::kFloat)};
  });
}

}  // namespace
}  // namespace orrery
