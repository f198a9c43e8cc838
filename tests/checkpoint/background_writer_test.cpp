// The thread writes what it was handed, and what goes wrong there comes out at the next question.
#include "orrery/checkpoint/background_writer.h"

#include <gtest/gtest.h>

#include <future>
#include <stdexcept>

#include "checkpoint/store_for_test.h"

namespace orrery::checkpoint {
namespace {

void add_one_blob(ShardWriter& file) { file.add_blob("b", "content"); }

TEST(BackgroundWriter, AnswersOnlyWhenTheFileIsWhole) {
  const TemporaryDirectory directory;
  BackgroundWriter writer;
  std::promise<void> go_on;
  writer.start(directory / "f.h5", Compression::kNone, [&](ShardWriter& file) {
    add_one_blob(file);
    go_on.get_future().wait();
  });

  EXPECT_EQ(writer.poll(), std::nullopt);
  go_on.set_value();
  const FileRecord record = writer.wait();

  EXPECT_EQ(record, record_of(directory / "f.h5"));
  EXPECT_EQ(writer.poll(), record);
  EXPECT_EQ(writer.poll(), record);
}

TEST(BackgroundWriter, WritesOneFileAfterAnother) {
  const TemporaryDirectory directory;
  BackgroundWriter writer;
  for (const char* name : {"a.h5", "b.h5", "c.h5"}) {
    writer.start(directory / name, Compression::kNone, add_one_blob);
  }

  EXPECT_EQ(writer.wait().name, "c.h5");
  for (const char* name : {"a.h5", "b.h5", "c.h5"}) {
    EXPECT_EQ(ShardReader(directory / name).blob("b"), "content");
  }
}

TEST(BackgroundWriter, ThrowsWhatTheThreadMet) {
  const TemporaryDirectory directory;
  BackgroundWriter writer;
  writer.start(directory / "no_such_folder" / "f.h5", Compression::kNone, add_one_blob);

  EXPECT_NE(error_of([&] { writer.wait(); }).find("no_such_folder/f.h5"), std::string::npos);
  EXPECT_NE(error_of([&] { writer.poll(); }).find("no_such_folder/f.h5"), std::string::npos);

  writer.start(directory / "f.h5", Compression::kNone,
               [](ShardWriter&) { throw std::runtime_error("of another kind"); });
  EXPECT_EQ(error_of([&] { writer.wait(); }), "of another kind");
  EXPECT_FALSE(std::filesystem::exists(directory / "f.h5"));

  writer.start(directory / "f.h5", Compression::kNone, add_one_blob);
  EXPECT_EQ(writer.wait().name, "f.h5");
}

TEST(BackgroundWriter, FinishesTheFileBeforeItEnds) {
  const TemporaryDirectory directory;
  { BackgroundWriter().start(directory / "f.h5", Compression::kNone, add_one_blob); }

  EXPECT_EQ(ShardReader(directory / "f.h5").blob("b"), "content");
}

}  // namespace
}  // namespace orrery::checkpoint
