// A model in a checkpoint: whatever layout it is written in and read by, every number arrives.
#include "orrery/model/checkpoint_model.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "../base/temporary_folder.h"
#include "orrery/base/error.h"
#include "orrery/model/hf_directory.h"

namespace orrery::model {
namespace {

namespace fs = std::filesystem;

Decoder fixture(const char* name) {
  return load_hf(fs::path(ORRERY_SOURCE_DIR) / "tests/fixtures/hf" / name);
}

TEST(CheckpointModel, IsReadByWholeModelsAndShardsOfAnyLayout) {
  for (const char* name : {"llama-gqa", "qwen2", "qwen3"}) {
    const Decoder whole = fixture(name);
    for (const char* layout : {"d1", "t2", "p2", "t2p2"}) {
      SCOPED_TRACE(testing::Message() << name << " written as " << layout);
      const TemporaryFolder folder;
      write_checkpoint_model(folder.path(), whole,
                             {.role = "actor",
                              .dtype = data::DType::kF32,
                              .layout = graph::Layout::parse(layout),
                              .program_version = "test",
                              .companions = {}});

      Decoder read(whole.architecture(), at::kDouble);
      load_checkpoint_parameters(folder.path(), "actor", read);

      EXPECT_TRUE(
          at::equal(read.parameters().values(), whole.parameters().values().to(at::kDouble)));
      EXPECT_EQ(roles_in_checkpoint(folder.path()), std::vector<std::string>{"actor"});
      EXPECT_EQ(role_in_checkpoint(folder.path(), "critic"), "actor");
      EXPECT_EQ(stored_type(folder.path(), "actor"), at::kFloat);
    }
  }
}

TEST(CheckpointModel, NamesWhatDoesNotFit) {
  const TemporaryFolder folder;
  const Decoder whole = fixture("llama-gqa");
  write_checkpoint_model(folder.path(), whole,
                         {.role = "actor",
                          .dtype = data::DType::kF32,
                          .layout = graph::Layout::parse("d1"),
                          .program_version = "test",
                          .companions = {}});
  Architecture larger = whole.architecture();
  larger.n_layers += 1;
  Architecture wider = whole.architecture();
  wider.vocab_size += 1;
  for (const Architecture& other : {larger, wider}) {
    Decoder decoder(other, at::kFloat);
    EXPECT_THROW(load_checkpoint_parameters(folder.path(), "actor", decoder), CheckpointError);
  }
  Decoder decoder(whole.architecture(), at::kFloat);
  EXPECT_THROW(load_checkpoint_parameters(folder.path(), "critic", decoder), CheckpointError);
  EXPECT_FALSE(is_checkpoint(folder / "nowhere"));
}

}  // namespace
}  // namespace orrery::model
