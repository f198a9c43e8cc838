#include "orrery/worker/hosted_models.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>

#include "../base/temporary_folder.h"
#include "orrery/base/error.h"
#include "orrery/model/hf_directory.h"
#include "orrery/parallel/lr_schedule.h"
#include "two_workers_for_test.h"

namespace orrery::worker {
namespace {

TEST(OptimizerOptions, AreThoseOfTheSection) {
  config::ModelConfig model;
  model.lr = 2e-3;
  model.lr_schedule = "linear";
  model.min_lr_ratio = 0.1;
  model.warmup_proportion = 0.2;
  model.balance_coefficient = 0.01;

  const parallel::OptimizerOptions options = optimizer_options(model, 20);

  EXPECT_EQ(options.balance_coefficient, 0.01);
  EXPECT_GT(parallel::rate_of_update(options.schedule, 0), 0);
  EXPECT_DOUBLE_EQ(parallel::rate_of_update(options.schedule, 3), 2e-3);  // the last of the warm-up
  EXPECT_DOUBLE_EQ(parallel::rate_of_update(options.schedule, 19), 2e-4);
}

TEST(AmxOf, IsWhatTheExperimentSays) {
  config::ExperimentSection experiment;
  EXPECT_EQ(amx_of(experiment), kernels::Amx::kAuto);

  experiment.amx = "off";
  EXPECT_EQ(amx_of(experiment), kernels::Amx::kOff);
}

TEST(OptimizerOptions, AWarmUpAsLongAsTheRunIsPossible) {
  config::ModelConfig model;
  model.warmup_steps = 5;
  model.lr_schedule = "cosine";

  const parallel::OptimizerOptions options = optimizer_options(model, 5);

  EXPECT_GT(parallel::rate_of_update(options.schedule, 0), 0);
  EXPECT_DOUBLE_EQ(parallel::rate_of_update(options.schedule, 4), model.lr);
}

/// Bytes that this process has read from files.
int64_t bytes_read() {
  std::ifstream file("/proc/self/io");
  std::string name;
  int64_t bytes = 0;
  file >> name >> bytes;
  return bytes;
}

/// A model of some 2 MB in the form of Hugging Face.
class Files : public testing::Test {
 protected:
  Files() {
    model::Architecture a;
    a.vocab_size = 300;
    a.hidden_size = 128;
    a.intermediate_size = 256;
    a.n_layers = 4;
    a.n_heads = a.n_kv_heads = 2;
    a.head_dim = 64;
    a.max_positions = 64;
    model::Decoder decoder(a, at::kFloat);
    decoder.parameters().initialise(7);
    model::save_hf(folder_.path() / "model", decoder);
    values_ = decoder.parameters().values();
  }
  std::string path() const { return (folder_.path() / "model").string(); }
  std::filesystem::path weights() const { return folder_.path() / "model" / "model.safetensors"; }

  TemporaryFolder folder_;
  at::Tensor values_;
};

TEST_F(Files, AreReadOnceForAllDataRanksAndRoles) {
  const TwoWorkers scene({"model.actor.path=" + path(), "model.ref.path=" + path()});
  const int64_t before = bytes_read();
  scene.run([&](HostedModels& models, ParameterMoves&) {
    for (const char* role : {"actor", "ref"}) {
      EXPECT_TRUE(at::equal(models.at({role, 0}).decoder->parameters().values(), values_)) << role;
    }
  });
  const auto size = static_cast<int64_t>(std::filesystem::file_size(weights()));
  EXPECT_GT(bytes_read() - before, size / 2);
  EXPECT_LT(bytes_read() - before, size + size / 4) << "read more than once";
}

TEST_F(Files, ThatCannotBeReadAreAnErrorOnAllDataRanks) {
  const TwoWorkers scene({"model.actor.path=" + path()});
  std::filesystem::resize_file(weights(), std::filesystem::file_size(weights()) / 2);
  std::atomic<int> n_errors = 0;
  const std::vector<graph::Replica> replicas = graph::replicas_of(scene.graph);
  comm::run_as_threads(2, [&](comm::Communicator& all) {
    auto registry = comm::CommunicatorRegistry::create(all.split(0, all.rank(), "workers"),
                                                       graph::plan_communicators(replicas, 2));
    try {
      HostedModels(scene.experiment, scene.graph, all.rank(), 4, registry);
    } catch (const CheckpointError& error) {
      ++n_errors;
      EXPECT_EQ(all.rank(), 0);
      EXPECT_NE(std::string(error.what()).find("model.safetensors"), std::string::npos);
    } catch (const PeerError& error) {  // what follows from another's error is not the cause
      ++n_errors;
      EXPECT_EQ(all.rank(), 1);
      EXPECT_NE(std::string(error.what()).find("worker 0 could not read"), std::string::npos);
    }
  });
  EXPECT_EQ(n_errors, 2);
}

}  // namespace
}  // namespace orrery::worker
