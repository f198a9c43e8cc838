// Matrices come back whole from however many files they are spread over.
#include "orrery/checkpoint/reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "checkpoint/store_for_test.h"
#include "orrery/base/philox.h"

namespace orrery::checkpoint {
namespace {

/// Draws of one trial, in order.
class Draws {
 public:
  explicit Draws(uint64_t trial) : trial_(trial) {}
  int64_t below(int64_t bound) {
    return static_cast<int64_t>(
        base::philox_below(17, trial_, n_drawn_++, static_cast<uint64_t>(bound)));
  }
  int64_t from_to(int64_t first, int64_t last) { return first + below(last - first + 1); }

 private:
  uint64_t trial_;
  uint64_t n_drawn_ = 0;
};

/// Cuts a rectangle into pieces at random; some pieces have one row or one column.
void cut(Draws& draws, const Slab& whole, std::vector<Slab>& pieces) {
  if (draws.below(4) == 0 || whole.numel() == 1) {
    pieces.push_back(whole);
    return;
  }
  Slab first = whole, second = whole;
  const bool by_rows = whole.n_columns == 1 || (whole.n_rows > 1 && draws.below(2) == 0);
  int64_t Slab::*const extent = by_rows ? &Slab::n_rows : &Slab::n_columns;
  int64_t Slab::*const begin = by_rows ? &Slab::first_row : &Slab::first_column;
  first.*extent = draws.from_to(1, whole.*extent - 1);
  second.*begin += first.*extent;
  second.*extent -= first.*extent;
  cut(draws, first, pieces);
  cut(draws, second, pieces);
}

std::vector<int32_t> values_of(const Slab& slab) {
  std::vector<int32_t> values;
  for (int64_t row = 0; row < slab.n_rows; ++row) {
    for (int64_t column = 0; column < slab.n_columns; ++column) {
      values.push_back(
          static_cast<int32_t>((slab.first_row + row) * slab.columns + slab.first_column + column));
    }
  }
  return values;
}

/// What read_rows() gives, at most so many rows at a time.
std::vector<int32_t> rows_of(CheckpointReader& reader, const Slab& wanted, int64_t max_rows) {
  std::vector<int32_t> values;
  reader.read_rows(wanted, max_rows, [&](int64_t row, int64_t n_rows, const auto& read) {
    EXPECT_EQ(row * wanted.n_columns, static_cast<int64_t>(values.size())) << "in their order";
    EXPECT_LE(n_rows, max_rows);
    std::vector<int32_t> some(static_cast<size_t>(n_rows * wanted.n_columns), -1);
    read(some.data());
    values.insert(values.end(), some.begin(), some.end());
  });
  return values;
}

TEST(CheckpointReader, ReadsAnyRectangleOfAnyPartition) {
  for (uint64_t trial = 0; trial < 150; ++trial) {
    SCOPED_TRACE(trial);
    Draws draws(trial);
    const TemporaryDirectory directory;
    Slab whole{.name = "actor/parameters/w",
               .dtype = data::DType::kI32,
               .rows = draws.from_to(1, 20),
               .columns = draws.from_to(1, 12)};
    whole.n_rows = whole.rows;
    whole.n_columns = whole.columns;
    std::vector<Slab> pieces;
    cut(draws, whole, pieces);
    Manifest manifest{.step = 1};
    const auto n_files = static_cast<size_t>(draws.from_to(1, 4));
    for (size_t file = 0; file < n_files; ++file) {
      ShardWriter writer(directory / ("worker-" + std::to_string(file) + ".h5"),
                         draws.below(2) == 0 ? Compression::kNone : Compression::kDeflate);
      for (size_t i = file; i < pieces.size(); i += n_files) {
        writer.add(pieces[i], values_of(pieces[i]).data());
      }
      manifest.files.push_back(writer.finish());
    }
    write_bytes(directory / "manifest.json", manifest_text(manifest));
    CheckpointReader reader(directory.path());

    for (int i = 0; i < 10; ++i) {
      Slab wanted = whole;
      wanted.first_row = draws.below(whole.rows);
      wanted.first_column = draws.below(whole.columns);
      wanted.n_rows = draws.from_to(1, whole.rows - wanted.first_row);
      wanted.n_columns = draws.from_to(1, whole.columns - wanted.first_column);
      // Exactly as large as it must be: a write beyond its end is seen by the sanitizer.
      std::vector<int32_t> got(static_cast<size_t>(wanted.numel()), -1);
      reader.read(wanted, got.data());
      ASSERT_EQ(got, values_of(wanted));
      ASSERT_EQ(rows_of(reader, wanted, draws.from_to(1, 7)), values_of(wanted));
    }
    for (const Slab& piece : pieces) {  // as it was written
      ASSERT_EQ(rows_of(reader, piece, draws.from_to(1, 7)), values_of(piece));
    }
    ASSERT_TRUE(verify(directory.path()).empty());
  }
}

TEST(CheckpointReader, FindsNumbersThatAreOthersBehindTheLastRow) {
  const TemporaryDirectory directory;
  const Slab slab{.name = "w",
                  .dtype = data::DType::kI32,
                  .rows = 9,
                  .columns = 4,
                  .n_rows = 9,
                  .n_columns = 4};
  std::vector<int32_t> values(36, 0x5a17c0de);
  Manifest manifest{.step = 1};
  {
    ShardWriter writer(directory / "worker-0.h5", Compression::kNone);
    writer.add(slab, values.data());
    manifest.files.push_back(writer.finish());
  }
  std::string bytes = bytes_of(directory / "worker-0.h5");
  bytes[bytes.find("\xde\xc0\x17\x5a") + 5] ^= 1;
  write_bytes(directory / "worker-0.h5", bytes);
  write_bytes(directory / "manifest.json", manifest_text(manifest));
  CheckpointReader reader(directory.path());
  int64_t n_taken = 0;

  const std::string error = error_of([&] {
    reader.read_rows(slab, 2, [&](int64_t, int64_t n_rows, const auto& read) {
      std::vector<int32_t> some(static_cast<size_t>(n_rows * 4));
      read(some.data());
      n_taken += n_rows;
    });
  });

  EXPECT_EQ(n_taken, 9);
  EXPECT_NE(error.find("the numbers are not those that were written"), std::string::npos) << error;
}

TEST(CheckpointReader, KnowsNamesAndBlobs) {
  const TemporaryDirectory root;
  CheckpointReader reader(publish_small_checkpoint(root.path()));

  EXPECT_EQ(reader.names(), std::vector<std::string>{"actor/parameters/w"});
  EXPECT_TRUE(reader.has("actor/parameters/w"));
  EXPECT_FALSE(reader.has("actor/parameters/v"));
  EXPECT_EQ(reader.blob("call/actor_train"), std::string("kl\0state", 8));
  EXPECT_EQ(reader.blob("call/other"), std::nullopt);
  EXPECT_EQ(reader.manifest().layouts.at("actor"), "d1t2p1@0-1");
}

TEST(CheckpointReader, NamesWhatIsNotThere) {
  const TemporaryDirectory root;
  CheckpointReader reader(publish_small_checkpoint(root.path()));
  std::vector<float> out(100);
  const auto error_for = [&](const Slab& wanted) {
    return error_of([&] { reader.read(wanted, out.data()); });
  };

  EXPECT_NE(error_for({.name = "v", .rows = 5, .columns = 3}).find("v is not there"),
            std::string::npos);
  EXPECT_NE(error_for({.name = "actor/parameters/w", .rows = 6, .columns = 3}).find("[5, 3] fp32"),
            std::string::npos);
  EXPECT_NE(
      error_for({.name = "actor/parameters/w", .dtype = data::DType::kF64, .rows = 5, .columns = 3})
          .find("fp64"),
      std::string::npos);
}

TEST(CheckpointReader, NamesAMatrixOfWhichAPartIsInNoFile) {
  const TemporaryDirectory directory;
  Manifest manifest = write_small_checkpoint(directory.path());
  manifest.files.pop_back();
  write_bytes(directory / "manifest.json", manifest_text(manifest));
  CheckpointReader reader(directory.path());
  std::vector<float> out(15);

  const std::string text = error_of([&] {
    reader.read(
        {.name = "actor/parameters/w", .rows = 5, .columns = 3, .n_rows = 5, .n_columns = 3},
        out.data());
  });

  EXPECT_NE(text.find("parts of actor/parameters/w are in no file"), std::string::npos) << text;
}

TEST(CheckpointReader, RefusesAFileOfAnotherSizeUnopened) {
  const TemporaryDirectory root;
  const auto directory = publish_small_checkpoint(root.path());
  const auto file = directory / "worker-0001.h5";
  write_bytes(file, bytes_of(file) + "x");
  CheckpointReader reader(directory);

  const std::string text = error_of([&] { reader.names(); });

  EXPECT_NE(text.find("worker-0001.h5: the file is not whole"), std::string::npos) << text;
}

// Somebody changes a number and makes all hashes of the manifest anew: the file has them too, of
// the numbers as they were in memory.
TEST(CheckpointReader, RefusesChangedNumbersUnderAManifestMadeAnew) {
  const TemporaryDirectory directory;
  Manifest manifest = write_small_checkpoint(directory.path());
  const auto file = directory / "worker-0000.h5";
  std::string bytes = bytes_of(file);
  const auto text_of = [](const std::array<float, 2>& pair) {
    return std::string(reinterpret_cast<const char*>(pair.data()), sizeof pair);
  };
  const size_t place = bytes.find(text_of({3, 4}));
  ASSERT_NE(place, std::string::npos);
  bytes.replace(place, sizeof(float) * 2, text_of({3, 40}));
  write_bytes(file, bytes);
  for (FileRecord& record : manifest.files) record = record_of(directory / record.name);
  write_bytes(directory / "manifest.json", manifest_text(manifest));
  std::vector<float> out(15);

  for (const FileRecord& record : manifest.files) {
    EXPECT_EQ(problem_of(directory.path(), record), std::nullopt);
  }
  // All of it, and a rectangle that the change is not even in.
  for (const int64_t n_columns : {3, 1}) {
    CheckpointReader reader(directory.path());
    const std::string text = error_of([&] {
      reader.read({.name = "actor/parameters/w",
                   .rows = 5,
                   .columns = 3,
                   .n_rows = n_columns == 3 ? 5 : 1,
                   .n_columns = n_columns},
                  out.data());
    });
    EXPECT_NE(text.find("the numbers are not those that were written"), std::string::npos) << text;
  }
}

// tests/checkpoint/format-1 was written by the version that introduced the format and is never
// written again: what a checkpoint of that time holds must stay readable.
TEST(CheckpointReader, ReadsTheStoredCheckpointOfFormat1) {
  const std::filesystem::path directory =
      std::filesystem::path(ORRERY_SOURCE_DIR) / "tests/checkpoint/format-1/step-00000040";
  EXPECT_EQ(verify(directory), std::vector<std::string>{});
  CheckpointReader reader(directory);
  std::vector<float> out(15);

  reader.read({.name = "actor/parameters/w", .rows = 5, .columns = 3, .n_rows = 5, .n_columns = 3},
              out.data());

  for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], static_cast<float>(i));
  EXPECT_EQ(reader.blob("call/actor_train"), std::string("kl\0state", 8));
  EXPECT_EQ(reader.manifest().step, 40);
  EXPECT_EQ(reader.manifest().layouts.at("actor"), "d1t2p1@0-1");
}

}  // namespace
}  // namespace orrery::checkpoint
