// Memory of GPUs against the arithmetic by hand of a model of 7.6 B parameters.
#include "gpu_memory_plan.h"

#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <tuple>

#include "gpu_choices.h"
#include "orrery/base/error.h"
#include "orrery/model/decoder.h"

namespace orrery::cli {
namespace {

Job recipe(std::vector<std::string> sets) {
  return prepare_job(ORRERY_SOURCE_DIR "/configs/recipes/grpo_7b_8x80.cfg", sets, 8,
                     DataCheck::kLeaveOut);
}

/// The phase of worker 0.
PhaseMemory phase(const Job& job, const std::string& name) {
  const auto workers = plan_gpu_memory(job);
  const auto found = std::find_if(workers.at(0).begin(), workers.at(0).end(),
                                  [&](const PhaseMemory& each) { return each.phase == name; });
  if (found == workers.at(0).end()) throw std::runtime_error("there is no phase " + name);
  return *found;
}

double gb(int64_t bytes) { return static_cast<double>(bytes) / 1e9; }

/// With what is left to the program chosen.
std::string written(Job job, double memory_gb) {
  std::ostringstream out;
  const GpuMemory gpu{.memory_gb = memory_gb, .allowances = {}};
  choose_for_gpus(job, gpu);
  write_gpu_memory(job, gpu, out);
  return std::move(out).str();
}

TEST(GpuMemoryPlan, CutsOptimizerStateOverDataRanks) {
  const PhaseMemory train =
      phase(recipe({"layout.default=d8t1@0-7", "model.ref.offload=when_idle"}), "actor_train");

  EXPECT_NEAR(gb(train.parameters), 15.2, 0.05);
  EXPECT_NEAR(gb(train.gradients), 30.5, 0.05);
  EXPECT_NEAR(gb(train.optimizer), 11.4, 0.05);
  EXPECT_NEAR(gb(train.parameters + train.gradients + train.optimizer), 57, 0.5);
  EXPECT_NEAR(gb(train.offloaded), 15.2, 0.05) << "the reference, on the host meanwhile";
}

TEST(GpuMemoryPlan, CutsParametersAndGradientsOverTensorRanks) {
  const PhaseMemory train = phase(recipe({"model.ref.offload=when_idle"}), "actor_train");

  EXPECT_NEAR(gb(train.parameters), 7.6, 0.05);
  EXPECT_NEAR(gb(train.gradients), 15.2, 0.05);
  EXPECT_NEAR(gb(train.optimizer), 11.4, 0.05);
}

TEST(GpuMemoryPlan, SaysWhatOneLargeGpuLacksUnlessMomentsAreBf16AndThatTwoDoNot) {
  const auto one = [](std::vector<std::string> sets, int workers) {
    return prepare_job(ORRERY_SOURCE_DIR "/configs/recipes/grpo_7b_1xh200.cfg", std::move(sets),
                       workers, DataCheck::kLeaveOut);
  };

  const auto state_of = [&](std::vector<std::string> sets) {
    const PhaseMemory train = phase(one(std::move(sets), 1), "actor_train");
    return gb(train.parameters + train.gradients + train.optimizer);
  };
  const auto fits = [&](std::vector<std::string> sets, int workers) {
    return written(one(std::move(sets), workers), 141).find("it fits") != std::string::npos;
  };
  const std::string fp32 = "model.actor.moments_dtype=auto";
  EXPECT_NEAR(state_of({fp32}), 137.2, 0.2);
  EXPECT_NEAR(state_of({}), 106.7, 0.2) << "moments of bf16";
  EXPECT_NEAR(gb(phase(one({}, 1), "actor_gen").pages), 16, 0.1) << "max_cache_tokens";

  EXPECT_THROW(fits({fp32}, 1), ConfigError);
  EXPECT_TRUE(fits({}, 1));
  EXPECT_TRUE(fits({"layout.default=d2@0-1", fp32}, 2));
}

TEST(GpuMemoryPlan, CountsGradientsOfBf16AndTheFp32RoomOfTheLargestPart) {
  const auto of = [](const std::string& dtype) {
    return phase(recipe({"layout.default=d1@0", "model.actor.gradient_dtype=" + dtype}),
                 "actor_train");
  };
  const PhaseMemory fp32 = of("fp32"), bf16 = of("bf16");
  EXPECT_NEAR(gb(fp32.gradients), 30.5, 0.05);
  EXPECT_NEAR(gb(bf16.gradients), 15.2, 0.05);
  // The embedding: 152,064 rows of 3,584.
  EXPECT_NEAR(gb(bf16.workspace - fp32.workspace), 2.18, 0.01);
  EXPECT_EQ(bf16.parameters + bf16.optimizer, fp32.parameters + fp32.optimizer);
}

TEST(GpuMemoryPlan, CountsActivationsOfAToken) {
  const auto of_a_token = [](const std::string& recompute) {
    const PhaseMemory train =
        phase(recipe({"layout.default=d8t1@0-7", "model.actor.recompute_layers=" + recompute}),
              "actor_train");
    return static_cast<double>(train.activations) / 16384 / 1e6;
  };
  EXPECT_NEAR(of_a_token("0"), 3.0, 0.05);
  EXPECT_NEAR(of_a_token("14"), (3.0 + 0.2) / 2, 0.05);  // inputs of 28 layers are 0.2
  EXPECT_NEAR(of_a_token("all"), 0.31, 0.05);            // and one layer whole
  EXPECT_EQ(of_a_token("27"), of_a_token("all")) << "one layer is there whole in either";
}

TEST(GpuMemoryPlan, ForetellsWhatADecoderHoldsHoweverManyLayersAreRecomputed) {
  for (const std::string recompute : {"0", "1", "3", "all"}) {
    SCOPED_TRACE(recompute);
    const Job job = prepare_job(ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg",
                                {"model.actor.n_layers=6", "model.actor.max_positions=512",
                                 "model.actor.recompute_layers=" + recompute,
                                 "call.actor_train.max_tokens_per_micro_batch=2048"},
                                1, DataCheck::kLeaveOut);
    const model::Architecture& a = job.architectures.at("actor");
    model::Decoder decoder(a, at::kFloat);
    decoder.set_recomputed_layers(
        job.experiment.find_model("actor")->recomputed_layers(decoder.n_layers()));
    std::vector<int64_t> ids(2048);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i) % a.vocab_size;
    const std::vector<int32_t> lengths(4, 512);

    decoder.log_probs(model::pack_tokens(at::tensor(ids), lengths)).sum().backward();

    // Slabs are an eighth larger than they have to be.
    const auto planned = static_cast<double>(phase(job, "actor_train").slabs) * 9 / 8;
    const auto held = static_cast<double>(decoder.activation_bytes());
    EXPECT_NEAR(held / planned, 1, 0.1);
  }
}

// What experts make is gone behind their layer: backward makes it again.
TEST(GpuMemoryPlan, ForetellsWhatADecoderOfExpertsHolds) {
  std::vector<bool> some(12, true);
  some[3] = some[7] = false;
  for (const std::vector<bool>& layers : {std::vector<bool>{}, some}) {
    Job job = prepare_job(
        ORRERY_SOURCE_DIR "/configs/grpo_tiny.cfg",
        {"model.actor.n_layers=12", "model.actor.max_positions=512",
         "model.actor.recompute_layers=0", "call.actor_train.max_tokens_per_micro_batch=2048"},
        1, DataCheck::kLeaveOut);
    model::Architecture& a = job.architectures.at("actor");
    a.family = model::Family::kQwen3Moe;
    a.experts = {.count = 8, .per_token = 4, .intermediate_size = 64, .layers = layers};
    model::Decoder decoder(a, at::kFloat);
    std::vector<int64_t> ids(2048);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int64_t>(i) % a.vocab_size;
    const std::vector<int32_t> lengths(4, 512);

    decoder.log_probs(model::pack_tokens(at::tensor(ids), lengths)).sum().backward();

    const PhaseMemory train = phase(job, "actor_train");
    const auto planned = static_cast<double>(train.slabs) * 9 / 8;
    EXPECT_NEAR(static_cast<double>(decoder.activation_bytes()) / planned, 1, 0.1);
    // Beside them, of each token in fp32: five rows of the model and four of one expert, and two
    // rows of sums.
    EXPECT_EQ(train.workspace - (train.slabs - train.activations),
              2048 * 4 * (5 * 32 + 4 * 64 + 2 * 32));
  }
}

TEST(GpuMemoryPlan, ReleasesGradientsWhileGenerating) {
  const PhaseMemory generate = phase(recipe({}), "actor_gen");

  EXPECT_EQ(generate.gradients, 0);
  EXPECT_GT(generate.pages, 100 * generate.fewest_pages);
}

TEST(GpuMemoryPlan, CountsWhatIsOffloadedOnlyInCallsThatUseIt) {
  const Job kept = recipe({"model.ref.offload=never", "model.actor.offload=never"});
  const Job offloaded = recipe({"model.ref.offload=when_idle", "model.actor.offload=when_idle"});
  for (const auto& [name, of_ref, of_optimizer] :
       {std::tuple{"actor_gen", 7.6, 11.4}, {"ref_inf", 0.0, 11.4}, {"actor_train", 7.6, 0.0}}) {
    SCOPED_TRACE(name);
    const PhaseMemory more = phase(kept, name), less = phase(offloaded, name);
    EXPECT_NEAR(gb(more.parameters - less.parameters), of_ref, 0.05);
    EXPECT_NEAR(gb(more.optimizer - less.optimizer), of_optimizer, 0.05);
    EXPECT_NEAR(gb(less.offloaded), of_ref + of_optimizer, 0.1);
    EXPECT_EQ(more.offloaded, 0);
    EXPECT_EQ(more.of_the_program() - less.of_the_program(), less.offloaded);
  }
}

TEST(GpuMemoryPlan, CountsPagesOfTheLongestAnswersInEveryPlace) {
  const PhaseMemory generate =
      phase(recipe({"layout.default=d8t1@0-7", "experiment.prompts_per_step=256",
                    "call.actor_gen.max_new_tokens=31744"}),
            "actor_gen");
  // 256 places x 32k tokens x 28 layers x 2 x 4 heads x 128 x 2 bytes
  EXPECT_NEAR(gb(generate.pages), 256.0 * 32768 * 28 * 2 * 512 * 2 / 1e9, 20);
}

TEST(GpuMemoryPlan, Fits32kTokensAtTwoTensorRanks) {
  const Job job = recipe(
      {"call.actor_gen.max_new_tokens=31744", "call.actor_train.max_tokens_per_micro_batch=32768"});
  EXPECT_NE(written(job, 80).find("a GPU has 80 GB: it fits"), std::string::npos);
  const PhaseMemory train = phase(job, "actor_train");
  EXPECT_NEAR(gb(train.activations), 6, 1.5);
}

TEST(GpuMemoryPlan, NamesTheNearestLayoutThatFits) {
  const Job job = recipe({"layout.default=d8t1@0-7"});
  try {
    written(job, 60);
    FAIL() << "57 GB and activations do not fit into 60";
  } catch (const ConfigError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("actor_train: needs"), std::string::npos) << text;
    EXPECT_NE(text.find("that fits is d4t2p1@0-7"), std::string::npos) << text;
  }
}

TEST(GpuMemoryPlan, SaysWhenNoLayoutFits) {
  try {
    written(recipe({}), 4);
    FAIL() << "7.6 GB do not fit into 4";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("no layout of so many workers fits"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace orrery::cli
