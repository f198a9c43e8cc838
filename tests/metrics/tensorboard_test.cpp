#include "orrery/metrics/tensorboard.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "orrery/base/error.h"

namespace orrery::metrics {
namespace {

namespace fs = std::filesystem;

class TensorBoardFile : public testing::Test {
 protected:
  TensorBoardFile() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    directory_ = fs::temp_directory_path() /
                 (std::string("orrery_tb_") + info->name() + "_" + std::to_string(getpid()));
    fs::remove_all(directory_);
  }
  ~TensorBoardFile() override { fs::remove_all(directory_); }

  static std::string bytes_of(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return std::string((std::istreambuf_iterator<char>(in)), {});
  }
  static void put(const fs::path& file, const std::string& bytes) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
  }

  fs::path directory_;
};

TEST(MaskedCrc32c, MatchesPublishedValues) {
  // CRC-32C of "123456789" is e3069283 (RFC 3720, B.4, lists further ones); then rotated right by
  // 15 bits plus the constant of the format.
  const uint32_t crc = 0xe3069283u;
  EXPECT_EQ(masked_crc32c("123456789"), ((crc >> 15) | (crc << 17)) + 0xa282ead8u);
  EXPECT_EQ(masked_crc32c(std::string(32, '\0')),
            ((0x8a9136aau >> 15) | (0x8a9136aau << 17)) + 0xa282ead8u);
}

TEST_F(TensorBoardFile, StartsWithTheVersionRecordByteForByte) {
  TensorBoardWriter writer(directory_);

  const std::string bytes = bytes_of(writer.file());
  // Length 24: field 1 (tag, 8 bytes of time) and field 3 (tag, length, text of 13 bytes).
  ASSERT_EQ(bytes.size(), 12u + 24u + 4u);
  EXPECT_EQ(bytes[0], 24);
  EXPECT_EQ(bytes[12], 0x09);
  EXPECT_EQ(bytes.substr(21, 2), "\x1a\x0d");
  EXPECT_EQ(bytes.substr(23, 13), "brain.Event:2");
}

TEST_F(TensorBoardFile, ReadsBackWhatWasWrittenWhileOpen) {
  TensorBoardWriter writer(directory_);
  writer.write(0, {{"eval/accuracy", 0.25}});
  writer.write(3'000'000'000, {{"actor_train/loss", 1.5}, {"actor_train/nan", std::nan("")}});
  writer.write(4, {});

  const std::vector<TensorBoardScalar> scalars = read_tensorboard(writer.file());

  ASSERT_EQ(scalars.size(), 3u);
  EXPECT_EQ(scalars[0].tag, "eval/accuracy");
  EXPECT_EQ(scalars[0].value, 0.25f);
  EXPECT_EQ(scalars[0].step, 0);
  EXPECT_GT(scalars[0].wall_time, 1.6e9);
  EXPECT_EQ(scalars[1].step, 3'000'000'000);
  EXPECT_TRUE(std::isnan(scalars[2].value));
}

TEST_F(TensorBoardFile, EveryWriterGetsAFileOfItsOwn) {
  const TensorBoardWriter first(directory_), second(directory_);

  EXPECT_NE(first.file(), second.file());
}

TEST_F(TensorBoardFile, ARecordCutByAKillIsLeftOut) {
  fs::path file;
  {
    TensorBoardWriter writer(directory_);
    writer.write(1, {{"a", 1}});
    writer.write(2, {{"a", 2}});
    file = writer.file();
  }
  const std::string bytes = bytes_of(file);

  for (size_t cut = 1; cut <= 20; ++cut) {
    put(file, bytes.substr(0, bytes.size() - cut));
    EXPECT_EQ(read_tensorboard(file).size(), 1u) << cut;
  }
}

TEST_F(TensorBoardFile, AChangedByteIsNoticed) {
  fs::path file;
  {
    TensorBoardWriter writer(directory_);
    writer.write(1, {{"a", 1}});
    file = writer.file();
  }
  const std::string bytes = bytes_of(file);

  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    put(file, changed);
    EXPECT_THROW(read_tensorboard(file), Error) << at;
  }
}

TEST_F(TensorBoardFile, AResumedRunCutsOffWhatIsDamaged) {
  fs::path file;
  {
    TensorBoardWriter writer(directory_);
    writer.write(1, {{"a", 1}});
    file = writer.file();
  }
  const std::string whole = bytes_of(file);
  put(file, whole + std::string(100, '\0'));  // as a machine that went down leaves it

  drop_events_after(directory_, 1);

  EXPECT_EQ(bytes_of(file), whole);
}

TEST_F(TensorBoardFile, AMissingFileIsAnError) {
  EXPECT_THROW(read_tensorboard(directory_ / "missing"), Error);
}

}  // namespace
}  // namespace orrery::metrics
