// Parameters between the hosted models of workers, which are threads here: other layouts, other
// types, other roles.
#include "orrery/worker/parameter_moves.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "small_job_for_test.h"

namespace orrery::worker {
namespace {

TEST(ParameterMoves, AddUpAMovingAverageOfBf16InFp32) {
  const SmallJob scene({"model.actor.dtype=bf16", "model.ref.dtype=bf16",
                        "call.actor_train.post_realloc=ref", "call.ref_inf.layout=d1t2p1@0-1"});
  constexpr double kEta = 1.0 / 4096;  // far below the 2^-8 that bf16 tells apart
  constexpr int kSteps = 100;
  scene.run([&](HostedModels& models, ParameterMoves& moves) {
    HostedModel& ref = models.at({"ref", 0});
    models.at({"actor", 0}).decoder->parameters().initialise(99);
    model::FlatParameters wanted(ref.decoder->parameters().table(), at::kBFloat16);
    wanted.initialise(99);
    const at::Tensor old = ref.decoder->parameters().values().clone();

    for (int step = 0; step < kSteps; ++step) {
      moves.run(comm::ReallocHook{.role = "ref", .from_role = "actor", .eta = kEta});
    }

    const double share = 1 - std::pow(1 - kEta, kSteps);
    const model::FlatParameters& parameters = ref.decoder->parameters();
    EXPECT_TRUE(at::allclose(ref.shadow, old + share * (wanted.values() - old), 1e-5, 1e-6));
    EXPECT_TRUE(at::equal(parameters.stored(), ref.shadow.to(at::kBFloat16)));
    EXPECT_TRUE(at::equal(parameters.values(), parameters.stored().to(at::kFloat)));
    EXPECT_FALSE(at::equal(parameters.values(), old)) << "a step alone changes nothing in bf16";
  });
}

TEST(ParameterMoves, ConvertFromTheTypeOfOneRoleToThatOfTheOther) {
  for (const char* type : {"fp32", "fp64", "bf16"}) {
    SCOPED_TRACE(type);
    const SmallJob scene({"model.actor.dtype=bf16", std::string("model.ref.dtype=") + type,
                          "call.actor_train.post_realloc=ref", "call.ref_inf.layout=d1t1p2@0-1"});
    scene.run([&](HostedModels& models, ParameterMoves& moves) {
      HostedModel& ref = models.at({"ref", 0});
      models.at({"actor", 0}).decoder->parameters().initialise(99);
      model::FlatParameters wanted(ref.decoder->parameters().table(), at::kBFloat16);
      wanted.initialise(99);

      moves.run(comm::ReallocHook{.role = "ref", .from_role = "actor"});

      const at::Tensor& values = ref.decoder->parameters().values();
      EXPECT_TRUE(at::equal(values, wanted.values().to(values.scalar_type())));
      EXPECT_FALSE(ref.shadow.defined());
    });
  }
}

TEST(ParameterMoves, ReleaseGivesTheMemoryBackAndTheNextFillBringsItAgain) {
  const SmallJob scene({"call.actor_gen.layout=d1t2p1@0-1", "call.actor_train.layout=d2t1p1@0-1"});
  scene.run([&](HostedModels& models, ParameterMoves& moves) {
    const graph::Replica* generating = nullptr;
    for (const auto& [id, model] : models.all()) {
      if (id.role == "actor" && !model.replica.is_trained) generating = &model.replica;
    }
    ASSERT_NE(generating, nullptr);
    const int trained = 1 - generating->id.index;
    const at::Tensor& values = models.at(generating->id).decoder->parameters().values();
    EXPECT_EQ(values.abs().max().item<float>(), 0) << "absent until it is filled";
    const comm::ReallocHook fill{.role = "actor", .from = trained, .to = generating->id.index};

    moves.run(fill);
    const at::Tensor filled = values.clone();
    moves.run(comm::ResidencyHook{
        .role = "actor", .replica = generating->id.index, .action = comm::ResidencyHook::kRelease});
    const float left = values.abs().max().item<float>();
    moves.run(fill);

    EXPECT_GT(filled.abs().max().item<float>(), 0);
    EXPECT_EQ(left, 0);
    EXPECT_TRUE(at::equal(values, filled));
  });
}

}  // namespace
}  // namespace orrery::worker
