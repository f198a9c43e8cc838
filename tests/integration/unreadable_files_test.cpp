// What is there and cannot be read, or never ends, is an error of exit code 2 at once: neither a
// wait nor the same as a file that is not there.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/temporary_folder.h"
#include "integration/command.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;

constexpr int kSeconds = 20;  // a start takes less than one; a wait for a writer has no end

enum class Kind { kPipe, kZeros, kLoop, kLinkToNothing };
constexpr Kind kKinds[] = {Kind::kPipe, Kind::kZeros, Kind::kLoop, Kind::kLinkToNothing};

void put(Kind kind, const fs::path& path) {
  fs::remove(path);
  switch (kind) {
    case Kind::kPipe:
      ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
      return;
    case Kind::kZeros:
      return fs::create_symlink("/dev/zero", path);
    case Kind::kLoop:
      return fs::create_symlink(path.filename(), path);
    case Kind::kLinkToNothing:
      return fs::create_symlink("nowhere", path);
  }
}

Result plan(const std::string& set) {
  return run(ORRERY_PROGRAM " plan " + source("configs/ppo_tiny.cfg") + " --set " + set, kSeconds);
}

class UnreadableBesideAModel : public testing::TestWithParam<const char*> {
 protected:
  UnreadableBesideAModel() { fs::copy(source("tests/fixtures/hf/llama-gqa"), model_); }

  TemporaryFolder folder_;
  fs::path model_ = folder_ / "model";
};

TEST_P(UnreadableBesideAModel, IsNoAbsence) {
  for (const Kind kind : kKinds) {
    SCOPED_TRACE(static_cast<int>(kind));
    put(kind, model_ / GetParam());

    const Result planned = plan("model.actor.path=" + model_.string());
    EXPECT_EQ(planned.exit_code, 2) << planned.output;
    EXPECT_NE(planned.output.find(GetParam()), std::string::npos) << planned.output;
    const Result verified = run(ORRERY_PROGRAM " verify " + model_.string(), kSeconds);
    EXPECT_NE(verified.exit_code, 0) << verified.output;
    EXPECT_NE(verified.exit_code, 124) << verified.output;
  }
}

INSTANTIATE_TEST_SUITE_P(Files, UnreadableBesideAModel,
                         testing::Values("config.json", "model.safetensors", "tokenizer.json",
                                         "tokenizer_config.json"));

TEST(Unreadable, DataIsRefusedAtOnce) {
  const TemporaryFolder folder;
  for (const Kind kind : kKinds) {
    SCOPED_TRACE(static_cast<int>(kind));
    put(kind, folder / "data");
    const Result result = plan("dataset.train.path=" + (folder / "data").string());
    EXPECT_EQ(result.exit_code, 2) << result.output;
  }
}

TEST(Unreadable, FilesOfProcThatWaitAreRefusedAtOnce) {
  for (const char* file : {"/proc/kmsg", "/proc/self/mem"}) {
    EXPECT_EQ(plan(std::string("dataset.train.path=") + file).exit_code, 2) << file;
    EXPECT_EQ(plan(std::string("model.actor.tokenizer=") + file).exit_code, 2) << file;
    const Result config = run(std::string(ORRERY_PROGRAM " plan ") + file, kSeconds);
    EXPECT_EQ(config.exit_code, 2) << config.output;
  }
}

}  // namespace
}  // namespace orrery::integration
