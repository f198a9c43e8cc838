// Weights in other files and types: every tensor arrives, nothing else changes.
#include "orrery/model/hf_rewrite.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "../base/temporary_folder.h"
#include "orrery/base/error.h"
#include "orrery/model/hf_directory.h"

namespace orrery::model {
namespace {

namespace fs = std::filesystem;

const fs::path kModel = fs::path(ORRERY_SOURCE_DIR) / "tests/fixtures/hf/llama-gqa";

TEST(PlanFiles, FillsInOrderAndGivesALargeTensorItsOwn) {
  using Files = std::vector<std::vector<std::string>>;
  EXPECT_EQ(plan_files({{"a", 3}, {"b", 3}, {"c", 9}, {"d", 1}, {"e", 5}}, 6),
            (Files{{"a", "b"}, {"c"}, {"d", "e"}}));
  EXPECT_EQ(plan_files({}, 6), Files{});
}

TEST(RewriteHf, InManyFilesIsTheSameModel) {
  const TemporaryFolder folder;
  const fs::path to = folder / "model";
  int64_t last = 0, all = 0;

  rewrite_hf(kModel, to, {.max_file_bytes = 20'000, .progress = [&](int64_t done, int64_t total) {
                            EXPECT_GT(done, last);
                            last = done;
                            all = total;
                          }});

  EXPECT_EQ(last, all);
  EXPECT_FALSE(fs::exists(to / "model.safetensors"));
  const auto index = nlohmann::json::parse(std::ifstream(to / "model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], all);
  int n_files = 0;
  for (const auto& entry : fs::directory_iterator(to)) {
    if (entry.path().extension() == ".safetensors") ++n_files;
  }
  EXPECT_GT(n_files, 2);
  EXPECT_TRUE(at::equal(load_hf(to).parameters().values(), load_hf(kModel).parameters().values()));
}

TEST(RewriteHf, ChangesTheTypeOfEveryTensor) {
  const TemporaryFolder folder;
  rewrite_hf(kModel, folder / "wide", {.dtype = at::kDouble});
  rewrite_hf(kModel, folder / "half", {.dtype = at::kBFloat16});

  const at::Tensor values = load_hf(kModel, at::kDouble).parameters().values();
  EXPECT_TRUE(at::equal(load_hf(folder / "wide", at::kDouble).parameters().values(), values));
  const at::Tensor half = load_hf(folder / "half", at::kDouble).parameters().values();
  EXPECT_TRUE(at::equal(half, values.to(at::kBFloat16).to(at::kDouble)));
  EXPECT_FALSE(at::equal(half, values));
}

TEST(RewriteHf, ReplacesWholeOrNotAtAll) {
  const TemporaryFolder folder;
  const fs::path to = folder / "model";
  fs::create_directory(to);
  std::ofstream(to / "old") << "old";
  const fs::path broken = folder / "broken";
  fs::copy(kModel, broken);
  fs::resize_file(broken / "model.safetensors", 9000);

  EXPECT_THROW(rewrite_hf(broken, to, {}), CheckpointError);
  EXPECT_TRUE(fs::exists(to / "old"));
  EXPECT_FALSE(fs::exists(folder / "model.writing"));

  rewrite_hf(kModel, to, {});
  EXPECT_FALSE(fs::exists(to / "old"));
  EXPECT_TRUE(fs::exists(to / "generation_config.json"));
}

TEST(RewriteHf, SaysWhatTheFileSystemRefusesAsFailedOutput) {
  const TemporaryFolder folder;
  std::ofstream(folder / "file") << "in the way";

  EXPECT_THROW(rewrite_hf(kModel, folder / "file" / "model", {}), OutputError);
}

TEST(RewriteHf, RefusesNumbersThatAreNotFinite) {
  const TemporaryFolder folder;
  Decoder decoder = load_hf(kModel);
  decoder.parameters().leaf("lm_head.weight").detach()[3][4] =
      std::numeric_limits<float>::infinity();
  save_hf(folder / "bad", decoder);

  rewrite_hf(folder / "bad", folder / "copy", {});
  try {
    rewrite_hf(folder / "bad", folder / "checked", {.check_finite = true});
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("lm_head.weight"), std::string::npos) << error.what();
  }
  EXPECT_FALSE(fs::exists(folder / "checked"));
}

}  // namespace
}  // namespace orrery::model
