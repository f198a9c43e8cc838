#include "orrery/worker/hosted_models.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "../base/temporary_folder.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/model/hf_directory.h"
#include "orrery/parallel/lr_schedule.h"
#include "small_job_for_test.h"

namespace orrery::worker {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

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
    table_ = decoder.parameters().table();
  }
  /// A shard has its parts of the whole.
  void expect_parts(const model::FlatParameters& shard) const {
    for (const model::ParameterSpec& spec : shard.table().parameters) {
      const model::ParameterSpec& whole = *table_.find(spec.name);
      at::Tensor part = values_.narrow(0, whole.offset, whole.numel).view(whole.shape);
      for (size_t i = 0; i < spec.shape.size(); ++i) {
        part = part.narrow(static_cast<int64_t>(i), spec.first[i], spec.shape[i]);
      }
      EXPECT_TRUE(at::equal(shard.leaf(spec.name), part)) << spec.name;
    }
  }
  std::string path() const { return (folder_.path() / "model").string(); }
  std::filesystem::path weights() const { return folder_.path() / "model" / "model.safetensors"; }

  TemporaryFolder folder_;
  at::Tensor values_;
  model::ParameterTable table_;
};

/// As many bytes as one model has, whatever the layout: what tensor ranks have alike, norms, is
/// read by each.
TEST_F(Files, AreReadOnceForAllRanksAndRoles) {
  for (const std::string layout : {"d2t1p1@0-1", "d1t2p1@0-1", "d1t1p2@0-1", "d2t2p1@0-3"}) {
    const SmallJob scene({"model.actor.path=" + path(), "model.ref.path=" + path(),
                          "call.actor_gen.layout=" + layout, "call.actor_train.layout=" + layout,
                          "call.ref_inf.layout=" + layout},
                         4);
    const int64_t before = bytes_read();
    scene.run([&](HostedModels& models, ParameterMoves&) {
      for (const char* role : {"actor", "ref"}) {
        if (models.find({role, 0}) != nullptr) {
          expect_parts(models.at({role, 0}).decoder->parameters());
        }
      }
    });
    const int64_t read = bytes_read() - before;
    const auto size = static_cast<int64_t>(std::filesystem::file_size(weights()));
    EXPECT_GE(read, values_.numel() * 4) << layout;
    EXPECT_LE(read, size + size / 50) << layout;
  }
}

/// What making the models ends with on each worker.
std::vector<std::string> errors_of(const SmallJob& scene) {
  std::vector<std::string> errors(static_cast<size_t>(scene.n_workers), "none");
  const std::vector<graph::Replica> replicas = graph::replicas_of(scene.graph);
  comm::run_as_threads(scene.n_workers, [&](comm::Communicator& all) {
    auto registry = comm::CommunicatorRegistry::create(
        all.split(0, all.rank(), "workers"), graph::plan_communicators(replicas, scene.n_workers));
    std::string& error = errors[static_cast<size_t>(all.rank())];
    try {
      HostedModels(scene.experiment, scene.graph, all.rank(), 4, registry);
    } catch (const CheckpointError& thrown) {
      error = base::concat("checkpoint: ", thrown.what());
    } catch (const PeerError& thrown) {  // what follows from another's error is not the cause
      error = base::concat("peer: ", thrown.what());
    }
  });
  return errors;
}

TEST_F(Files, ThatCannotBeReadAreAnErrorOnAllDataRanks) {
  const SmallJob scene({"model.actor.path=" + path()});
  std::filesystem::resize_file(weights(), std::filesystem::file_size(weights()) / 2);
  EXPECT_THAT(errors_of(scene),
              ElementsAre(AllOf(StartsWith("checkpoint: "), HasSubstr("model.safetensors")),
                          AllOf(StartsWith("peer: "), HasSubstr("worker 0 could not read"))));
}

/// The last parameters are found to be none when all before them have been broadcast.
TEST_F(Files, WithDamagedNumbersAreAnErrorOnAllRanks) {
  model::Decoder decoder = model::load_hf(path());
  decoder.parameters().leaf("model.norm.weight").detach().fill_(std::nan(""));
  model::save_hf(folder_.path() / "damaged", decoder);
  std::vector<std::string> sets = {"model.actor.path=" + (folder_.path() / "damaged").string()};
  for (const char* call : {"actor_gen", "actor_train"}) {
    sets.push_back(base::concat("call.", call, ".layout=d2t2p1@0-3"));
  }
  const SmallJob scene(sets, 4);
  const auto read = AllOf(StartsWith("checkpoint: "), HasSubstr("model.norm.weight"));
  EXPECT_THAT(errors_of(scene),
              ElementsAre(read, read, StartsWith("peer: "), StartsWith("peer: ")));
}

}  // namespace
}  // namespace orrery::worker
