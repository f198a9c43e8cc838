// LibTorch carries a protobuf of its own, hidden inside its library. In one executable with ours
// both must keep working: the worst outcome would be a clash of symbols at start-up.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "orrery/metrics/tensorboard.h"

namespace orrery::metrics {
namespace {

TEST(TensorBoardBesideTorch, BothWorkInOneProcess) {
  const auto directory =
      std::filesystem::temp_directory_path() / ("orrery_tb_torch_" + std::to_string(getpid()));
  const at::Tensor loss = at::ones({2, 2}).sum();

  TensorBoardWriter writer(directory);
  writer.write(1, {{"loss", loss.item<double>()}});

  ASSERT_EQ(read_tensorboard(writer.file()).size(), 1u);
  EXPECT_EQ(read_tensorboard(writer.file())[0].value, 4.0f);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace orrery::metrics
