// A checkpoint is there whole or not at all, and verify() finds whatever happens to it later.
#include "orrery/checkpoint/directory.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "checkpoint/store_for_test.h"
#include "orrery/base/philox.h"

namespace orrery::checkpoint {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_of(const std::vector<fs::path>& paths) {
  std::vector<std::string> names;
  for (const fs::path& path : paths) names.push_back(path.filename().string());
  return names;
}

TEST(CheckpointDirectory, IsPublishedWithItsPointer) {
  const TemporaryDirectory root;
  const fs::path directory = publish_small_checkpoint(root.path());

  EXPECT_EQ(verify(directory), std::vector<std::string>{});
  EXPECT_EQ(fs::read_symlink(root / "latest"), "step-00000040");
  EXPECT_FALSE(fs::exists(partial_directory(directory)));
}

TEST(CheckpointDirectory, KeepsTheNewest) {
  const TemporaryDirectory root;
  for (const int64_t step : {8, 9, 10, 11, 100'000'000}) {
    publish_small_checkpoint(root.path(), step, 3);
  }

  EXPECT_EQ(names_of(list_checkpoints(root.path())),
            (std::vector<std::string>{"step-100000000", "step-00000011", "step-00000010"}));
  EXPECT_EQ(fs::read_symlink(root / "latest"), "step-100000000");
  EXPECT_EQ(std::distance(fs::directory_iterator(root.path()), fs::directory_iterator()), 4);
}

TEST(CheckpointDirectory, IsReplacedByALaterOneOfItsStep) {
  const TemporaryDirectory root;
  const fs::path directory = publish_small_checkpoint(root.path());
  fs::remove(directory / "worker-0000.h5");
  ASSERT_EQ(verify(directory).size(), 1U);

  publish_small_checkpoint(root.path());

  EXPECT_EQ(verify(directory), std::vector<std::string>{});
}

TEST(CheckpointDirectory, ListsNeitherAttemptsNorPointersNorOtherThings) {
  const TemporaryDirectory root;
  publish_small_checkpoint(root.path(), 2);
  for (const char* name :
       {"step-00000003.partial", "step-mine.partial", "step-", "step-x", "other"}) {
    fs::create_directory(root / name);
  }

  EXPECT_EQ(names_of(list_checkpoints(root.path())), std::vector<std::string>{"step-00000002"});
  remove_partial(root.path());
  EXPECT_FALSE(fs::exists(root / "step-00000003.partial"));
  EXPECT_TRUE(fs::exists(root / "step-mine.partial"));
  EXPECT_TRUE(fs::exists(root / "other"));
  EXPECT_TRUE(list_checkpoints(root / "nowhere").empty());
}

/// Moves a checkpoint to `there` and leaves a link.
void move_and_link(const fs::path& checkpoint, const fs::path& there) {
  fs::create_directories(there);
  fs::rename(checkpoint, there / checkpoint.filename());
  fs::create_directory_symlink(there / checkpoint.filename(), checkpoint);
}

TEST(CheckpointDirectory, IsOneAlsoWhereItIsALinkToWhereItWasMoved) {
  const TemporaryDirectory root, other_disk;
  for (const int64_t step : {1, 2}) {
    move_and_link(publish_small_checkpoint(root.path(), step), other_disk.path());
  }

  EXPECT_EQ(names_of(list_checkpoints(root.path())),
            (std::vector<std::string>{"step-00000002", "step-00000001"}));
  EXPECT_EQ(verify(root / "step-00000002"), std::vector<std::string>{});
}

TEST(CheckpointDirectory, ThatIsALinkToNothingIsNoAbsence) {
  const TemporaryDirectory root;
  publish_small_checkpoint(root.path(), 1);
  fs::create_directory_symlink("not_mounted", root / "step-00000002");

  try {
    list_checkpoints(root.path());
    FAIL();
  } catch (const OutputError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("step-00000002: cannot follow this link"), std::string::npos) << text;
    EXPECT_NE(text.find("remove this link to go on from the checkpoint before"), std::string::npos)
        << text;
  }
}

TEST(CheckpointDirectory, ThatIsOldAndALinkGoesAndWhatItLedToStays) {
  const TemporaryDirectory root, other_disk;
  move_and_link(publish_small_checkpoint(root.path(), 1), other_disk.path());
  fs::create_directory_symlink("not_mounted", root / "step-00000002");

  publish_small_checkpoint(root.path(), 3, 1);

  EXPECT_EQ(names_of(list_checkpoints(root.path())), std::vector<std::string>{"step-00000003"});
  EXPECT_EQ(verify(other_disk / "step-00000001"), std::vector<std::string>{});
}

TEST(StepOf, IsThatOfANameAndOfNoOther) {
  EXPECT_EQ(step_of("a/step-00000040"), 40);
  EXPECT_EQ(step_of("step-100000000"), 100'000'000);
  for (const char* name : {"step-", "step--1", "step-+1", "step-1x", "step-00000001-good",
                           "step-1.damaged", "latest", "xstep-1", "step-99999999999999999999"}) {
    EXPECT_FALSE(step_of(name)) << name;
  }
}

// In a process of its own (the variable is read once): killed at a stage of the save of step 2,
// what is left is step 1, and step 2 whole or not at all; the next save goes through.
class KilledSaveTest : public testing::TestWithParam<const char*> {};

TEST_P(KilledSaveTest, LeavesWholeCheckpointsOnly) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // Both processes of a death test run all of this: one fixed place, made anew by the first.
  const std::string fault = GetParam();
  const fs::path root = fs::temp_directory_path() / ("orrery_killed_" + fault);
  EXPECT_EXIT(
      {
        fs::remove_all(root);
        ::setenv("ORRERY_FAULT", fault.c_str(), 1);
        publish_small_checkpoint(root, 1);
        publish_small_checkpoint(root, 2);
      },
      testing::KilledBySignal(SIGKILL), "");

  for (const fs::path& directory : list_checkpoints(root)) {
    EXPECT_EQ(verify(directory), std::vector<std::string>{});
  }
  EXPECT_TRUE(fs::exists(root / "step-00000001"));
  remove_partial(root);
  EXPECT_EQ(verify(publish_small_checkpoint(root, 3)), std::vector<std::string>{});
  EXPECT_EQ(fs::read_symlink(root / "latest"), "step-00000003");
  fs::remove_all(root);
}

INSTANTIATE_TEST_SUITE_P(Stages, KilledSaveTest,
                         // Two files with one slab each, one manifest: the first save has passed.
                         testing::Values("checkpoint.data:kill:3", "checkpoint.sync:kill:4",
                                         "checkpoint.manifest:kill:2", "checkpoint.rename:kill:2",
                                         "checkpoint.pointer:kill:2"),
                         [](const auto& stage) {
                           const std::string name = stage.param;
                           const size_t begin = name.find('.') + 1;
                           return name.substr(begin, name.find(':') - begin);
                         });

TEST(Verify, NamesTheFileWithAFlippedBitWhereverItIs) {
  const TemporaryDirectory root;
  const fs::path directory = publish_small_checkpoint(root.path());
  for (const char* name : {"worker-0000.h5", "worker-0001.h5", "manifest.json"}) {
    const std::string whole = bytes_of(directory / name);
    for (size_t at = 0; at + 1 < whole.size(); at += 3) {  // every region: headers, data, gaps
      std::string changed = whole;
      changed[at] = static_cast<char>(changed[at] ^ (1 << (at % 8)));
      write_bytes(directory / name, changed);
      const std::vector<std::string> problems = verify(directory);
      ASSERT_EQ(problems.size(), 1U) << name << " " << at;
      ASSERT_NE(problems[0].find(name), std::string::npos) << problems[0];
    }
    write_bytes(directory / name, whole);
  }
  EXPECT_EQ(verify(directory), std::vector<std::string>{});
}

TEST(Verify, NamesTheFileThatWasCutWhereverThatIs) {
  const TemporaryDirectory root;
  const fs::path directory = publish_small_checkpoint(root.path());
  for (const char* name : {"worker-0000.h5", "worker-0001.h5", "manifest.json"}) {
    const std::string whole = bytes_of(directory / name);
    for (size_t size = 0; size + 1 < whole.size(); size += 7) {
      write_bytes(directory / name, whole.substr(0, size));
      const std::vector<std::string> problems = verify(directory);
      ASSERT_EQ(problems.size(), 1U) << name << " " << size;
      ASSERT_NE(problems[0].find(name), std::string::npos) << problems[0];
    }
    write_bytes(directory / name, whole);
  }
}

TEST(Verify, NamesEveryMissingFile) {
  const TemporaryDirectory root;
  const fs::path directory = publish_small_checkpoint(root.path());
  fs::remove(directory / "worker-0000.h5");
  fs::remove(directory / "worker-0001.h5");

  EXPECT_EQ(verify(directory).size(), 2U);
}

// Numbers that changed in memory after their hash was taken, and before the file's: the manifest
// knows the file as it is, and only the hash of the numbers tells.
TEST(Verify, FindsNumbersThatWereWrittenWrong) {
  const TemporaryDirectory root;
  const fs::path directory = root / "step-00000001";
  Manifest manifest = write_small_checkpoint(directory);
  const fs::path file = directory / "worker-0000.h5";
  std::string bytes = bytes_of(file);
  const float five = 5.0F;
  const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(&five), sizeof(five)));
  ASSERT_NE(at, std::string::npos);
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  write_bytes(file, bytes);
  manifest.files[0] = record_of(file);
  write_bytes(directory / "manifest.json", manifest_text(manifest));

  const std::vector<std::string> problems = verify(directory);

  ASSERT_EQ(problems.size(), 1U);
  EXPECT_NE(problems[0].find("/slabs/actor/parameters/w@0,0"), std::string::npos) << problems[0];
}

TEST(Publish, SaysWhyItCannot) {
  const TemporaryDirectory root;
  const std::string text = error_of([&] { publish(root / "step-00000001", {}, 1); });

  EXPECT_NE(text.find("step-00000001.partial"), std::string::npos) << text;
  EXPECT_NE(text.find("No such file or directory"), std::string::npos) << text;
}

}  // namespace
}  // namespace orrery::checkpoint
