// One file: what goes in comes out, whatever its type; what cannot be written is an error.
#include "orrery/checkpoint/shard_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <zlib.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <numeric>

#include "checkpoint/store_for_test.h"
#include "digest.h"
#include "hdf5_handle.h"
#include "orrery/base/philox.h"

namespace orrery::checkpoint {
namespace {

std::vector<char> random_bytes(int64_t n, uint64_t seed) {
  std::vector<char> bytes(static_cast<size_t>(n));
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<char>(base::philox_below(seed, 0, i, 256));
  }
  return bytes;
}

std::vector<char> whole_slab(const ShardReader& file, size_t index) {
  const Slab& slab = file.slabs().at(index);
  std::vector<char> bytes(static_cast<size_t>(slab.size_bytes()));
  file.read(index,
            {.first_row = slab.first_row,
             .first_column = slab.first_column,
             .n_rows = slab.n_rows,
             .n_columns = slab.n_columns},
            bytes.data(), slab.n_columns);
  return bytes;
}

class ShardFileOfTypeTest : public testing::TestWithParam<std::tuple<data::DType, Compression>> {};

TEST_P(ShardFileOfTypeTest, GivesBackEveryBit) {
  const auto [dtype, compression] = GetParam();
  const TemporaryDirectory directory;
  const Slab slab{.name = "critic/first_moment/a.b",
                  .dtype = dtype,
                  .rows = 40,
                  .columns = 9,
                  .first_row = 7,
                  .first_column = 2,
                  .n_rows = 31,
                  .n_columns = 5};
  const std::vector<char> bytes = random_bytes(slab.size_bytes(), 3);  // NaNs of all kinds among it
  ShardWriter writer(directory / "f.h5", compression);
  writer.add(slab, bytes.data());
  const FileRecord record = writer.finish();

  const ShardReader reader(directory / "f.h5");

  ASSERT_EQ(reader.slabs().size(), 1U);
  EXPECT_EQ(reader.slabs()[0], slab);
  EXPECT_EQ(whole_slab(reader, 0), bytes);
  reader.verify();
  EXPECT_EQ(record, record_of(directory / "f.h5"));
  EXPECT_EQ(record.size, std::filesystem::file_size(directory / "f.h5"));
}

INSTANTIATE_TEST_SUITE_P(
    All, ShardFileOfTypeTest,
    testing::Combine(testing::Values(data::DType::kBool, data::DType::kU8, data::DType::kI32,
                                     data::DType::kI64, data::DType::kBf16, data::DType::kF16,
                                     data::DType::kF32, data::DType::kF64),
                     testing::Values(Compression::kNone, Compression::kDeflate)));

TEST(ShardFile, KeepsBlobsOfAnyBytes) {
  const TemporaryDirectory directory;
  const std::vector<char> bytes = random_bytes(100'000, 5);
  const std::string large(bytes.begin(), bytes.end());
  ShardWriter writer(directory / "f.h5");
  writer.add_blob("master/config", large);
  writer.add_blob("empty", "");
  writer.finish();

  const ShardReader reader(directory / "f.h5");

  EXPECT_EQ(reader.blobs(), (std::vector<std::string>{"empty", "master/config"}));
  EXPECT_EQ(reader.blob("master/config"), large);
  EXPECT_EQ(reader.blob("empty"), "");
  EXPECT_NE(error_of([&] { reader.blob("other"); }).find("/blobs/other"), std::string::npos);
}

TEST(ShardFile, SpansSeveralChunks) {
  const TemporaryDirectory directory;
  const Slab slab{
      .name = "w", .rows = 3'000, .columns = 1'111, .n_rows = 3'000, .n_columns = 1'111};
  std::vector<float> values(static_cast<size_t>(slab.numel()));  // 13 MB; chunks have 4
  std::iota(values.begin(), values.end(), 0.0F);
  ShardWriter writer(directory / "f.h5");
  writer.add(slab, values.data());
  writer.finish();

  const ShardReader reader(directory / "f.h5");
  std::vector<float> part(4);
  reader.read(0, {.first_row = 943, .first_column = 1'000, .n_rows = 2, .n_columns = 2},
              part.data(), 2);

  const float at = 943 * 1'111 + 1'000;
  EXPECT_EQ(part, (std::vector<float>{at, at + 1, at + 1'111, at + 1'112}));
}

TEST(ShardFile, HasNoTraceOfAnEmptySlab) {
  const TemporaryDirectory directory;
  ShardWriter writer(directory / "f.h5");
  writer.add({.name = "w", .rows = 3, .columns = 3, .n_rows = 0, .n_columns = 3}, nullptr);
  writer.finish();

  EXPECT_TRUE(ShardReader(directory / "f.h5").slabs().empty());
}

TEST(ShardFile, IsRemovedWhenItIsNotFinished) {
  const TemporaryDirectory directory;
  { ShardWriter writer(directory / "f.h5"); }

  EXPECT_FALSE(std::filesystem::exists(directory / "f.h5"));
}

TEST(RecordOf, ALargeFileHasTheHashOfItsBytesInOrder) {
  const TemporaryDirectory directory;
  const std::filesystem::path file = directory / "large";
  std::vector<char> bytes = random_bytes(1 << 20, 5);
  Digest digest;
  std::ofstream out(file, std::ios::binary);
  for (int i = 0; i < 90; ++i) {
    std::memcpy(bytes.data(), &i, sizeof(i));
    if (i == 89) bytes.resize(12345);
    digest.add(bytes.data(), bytes.size());
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  out.close();

  const FileRecord record = record_of(file);

  EXPECT_EQ(record.name, "large");
  EXPECT_EQ(record.size, std::filesystem::file_size(file));
  EXPECT_EQ(record.hash, digest.value());
  std::fstream flipped(file, std::ios::in | std::ios::out | std::ios::binary);
  flipped.seekp(70 << 20).put(static_cast<char>(~bytes[0]));
  flipped.close();
  EXPECT_NE(record_of(file).hash, digest.value());
}

TEST(ShardFile, HasTheModeThatTheUmaskLeaves) {
  const TemporaryDirectory directory;
  const mode_t before = ::umask(027);
  const auto published = publish_small_checkpoint(directory.path());
  ::umask(before);

  const auto mode_of = [](const std::filesystem::path& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 0777U;
  };
  EXPECT_EQ(mode_of(published / "worker-0000.h5"), 0640U);
  EXPECT_EQ(mode_of(published / "manifest.json"), 0640U);
  EXPECT_EQ(mode_of(published), 0750U);
}

/// A file of HDF5's own making, with a dataset that claims much and of which nothing was written.
void make_file_that_claims(const std::filesystem::path& path, const char* dataset,
                           const std::vector<hsize_t>& extents) {
  const LibraryLock lock;
  const FileHandle file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
  const PropertiesHandle links(H5Pcreate(H5P_LINK_CREATE));
  H5Pset_create_intermediate_group(links.get(), 1);
  const PropertiesHandle layout(H5Pcreate(H5P_DATASET_CREATE));
  const std::vector<hsize_t> chunk(extents.size(), 8);
  H5Pset_chunk(layout.get(), static_cast<int>(chunk.size()), chunk.data());
  const SpaceHandle space(
      H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr));
  const DatasetHandle made(H5Dcreate2(file.get(), dataset, H5T_STD_U8LE, space.get(), links.get(),
                                      layout.get(), H5P_DEFAULT));
  const SpaceHandle scalar(H5Screate(H5S_SCALAR));
  const auto attribute = [&](const char* name, hid_t type, hid_t memory, const void* value) {
    const AttributeHandle handle(
        H5Acreate2(made.get(), name, type, scalar.get(), H5P_DEFAULT, H5P_DEFAULT));
    H5Awrite(handle.get(), memory, value);
  };
  const TypeHandle text(H5Tcopy(H5T_C_S1));
  H5Tset_size(text.get(), 5);
  attribute("dtype", text.get(), text.get(), "uint8");
  for (const char* name : {"rows", "columns", "first_row", "first_column"}) {
    const bool is_begin = std::string(name).starts_with("first");
    const int64_t value = is_begin ? 0 : INT64_MAX;
    attribute(name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
  }
}

TEST(ShardFile, AllocatesNothingForASizeThatItsFileCannotHold) {
  const TemporaryDirectory directory;
  const auto path = directory / "f.h5";
  for (const hsize_t extent : {hsize_t{1} << 20, hsize_t{1} << 31}) {
    make_file_that_claims(path, "/slabs/w@0,0", {extent, extent});
    const std::string slab = error_of([&] { const ShardReader reader(path); });
    EXPECT_NE(slab.find("/slabs/w@0,0: larger than its file"), std::string::npos) << slab;

    make_file_that_claims(path, "/blobs/b", {extent * extent});
    const std::string blob = error_of([&] { ShardReader(path).blob("b"); });
    EXPECT_NE(blob.find("/blobs/b: larger than its file"), std::string::npos) << blob;
  }
}

TEST(ShardFile, NamesAFileThatCannotBeMade) {
  const std::string text = error_of([] { ShardWriter("/nowhere/f.h5"); });

  EXPECT_NE(text.find("/nowhere/f.h5"), std::string::npos) << text;
  EXPECT_NE(text.find("No such file or directory"), std::string::npos) << text;
}

/// A file that may not grow any more fails as a full disk does, at whichever write that is.
TEST(ShardFile, SaysThatTheDiskIsFullWhereverThatHappens) {
  const TemporaryDirectory directory;
  const std::vector<char> bytes = random_bytes(400'000, 8);
  ASSERT_NE(std::signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  rlimit whole{};
  ::getrlimit(RLIMIT_FSIZE, &whole);
  for (const rlim_t most : {0U, 100U, 3'000U, 200'000U, 399'000U, 400'100U}) {
    SCOPED_TRACE(most);
    const rlimit limit{.rlim_cur = most, .rlim_max = whole.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const std::string text = error_of([&] {
      ShardWriter writer(directory / "f.h5");
      writer.add({.name = "w",
                  .dtype = data::DType::kU8,
                  .rows = 400,
                  .columns = 1'000,
                  .n_rows = 400,
                  .n_columns = 1'000},
                 bytes.data());
      writer.finish();
    });
    ::setrlimit(RLIMIT_FSIZE, &whole);

    EXPECT_NE(text.find("File too large"), std::string::npos) << text;
    EXPECT_NE(text.find("f.h5"), std::string::npos) << text;
    EXPECT_LT(text.size(), directory.path().string().size() + 250) << text;  // one readable line
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    EXPECT_FALSE(std::filesystem::exists(directory / "f.h5"));
  }
}

// The trusted side: HDF5's own reader finds our numbers under our names.
TEST(ShardFile, IsReadByH5dump) {
  const TemporaryDirectory directory;
  write_small_checkpoint(directory.path());
  const std::string command =
      "h5dump -y -w 200 " + (directory / "worker-0001.h5").string() + " 2>&1";
  FILE* const pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string text;
  std::vector<char> piece(4096);
  while (const size_t got = std::fread(piece.data(), 1, piece.size(), pipe)) {
    text.append(piece.data(), got);
  }
  if (::pclose(pipe) != 0) GTEST_SKIP() << "needs h5dump (package hdf5-tools): " << text;

  EXPECT_NE(text.find("DATASET \"w@2,0\""), std::string::npos) << text;
  EXPECT_NE(text.find("H5T_IEEE_F32LE"), std::string::npos);
  EXPECT_NE(text.find("6, 7, 8,"), std::string::npos);
  EXPECT_NE(text.find("12, 13, 14"), std::string::npos);
  EXPECT_NE(text.find("ATTRIBUTE \"xxh3\""), std::string::npos);
  EXPECT_NE(text.find("DATASET \"actor_train\""), std::string::npos);
}

/// zlib's bytes of so many zeros.
std::vector<unsigned char> packed_zeros(size_t n) {
  const std::vector<unsigned char> zeros(n);
  uLongf size = compressBound(n);
  std::vector<unsigned char> packed(size);
  EXPECT_EQ(compress2(packed.data(), &size, zeros.data(), n, 9), Z_OK);
  packed.resize(size);
  return packed;
}

TEST(ShardReader, AChunkThatUnpacksToMoreThanItIsIsRefused) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "a.h5";
  const Slab slab = {.name = "w",
                     .dtype = data::DType::kF32,
                     .rows = 32,
                     .columns = 32,
                     .n_rows = 32,
                     .n_columns = 32};
  std::vector<float> values(32 * 32, 1.5f);
  {
    ShardWriter writer(path, Compression::kDeflate);
    writer.add(slab, values.data());
    writer.finish();
  }
  const auto read = [&] {
    ShardReader(path).read(0, {.n_rows = 32, .n_columns = 32}, values.data(), 32);
  };
  EXPECT_EQ(error_of(read), "no CheckpointError");
  {
    const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(file, "/slabs/w@0,0", H5P_DEFAULT);
    ASSERT_GE(dataset, 0);
    const std::vector<unsigned char> bomb = packed_zeros(size_t{4} << 20);  // 4 KiB of them
    const hsize_t at[2] = {0, 0};
    ASSERT_GE(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, at, bomb.size(), bomb.data()), 0);
    H5Dclose(dataset);
    H5Fclose(file);
  }
  const std::string error = error_of(read);
  // Longer than any packed chunk of its size, or longer once it is unpacked.
  EXPECT_NE(error.find("not as it was written"), std::string::npos) << error;
  EXPECT_NE(error_of([&] { ShardReader(path).verify(); }), "no CheckpointError");
}

TEST(ShardReader, OtherFiltersAndLargerChunksAreRefused) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "a.h5";
  for (const bool has_large_chunk : {false, true}) {
    {
      ShardWriter writer(path, Compression::kNone);
      writer.finish();
      const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
      const hid_t group = H5Gcreate2(file, "blobs", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
      const hsize_t size = has_large_chunk ? hsize_t{5} << 20 : 4096;
      const hid_t space = H5Screate_simple(1, &size, nullptr);
      const hid_t layout = H5Pcreate(H5P_DATASET_CREATE);
      H5Pset_chunk(layout, 1, &size);
      if (!has_large_chunk) H5Pset_fletcher32(layout);
      const hid_t dataset =
          H5Dcreate2(group, "b", H5T_STD_U8LE, space, H5P_DEFAULT, layout, H5P_DEFAULT);
      const std::vector<unsigned char> bytes(size);
      ASSERT_GE(H5Dwrite(dataset, H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()), 0);
      H5Dclose(dataset);
      H5Pclose(layout);
      H5Sclose(space);
      H5Gclose(group);
      H5Fclose(file);
    }
    const std::string error = error_of([&] { ShardReader(path).blob("b"); });
    EXPECT_NE(error.find(has_large_chunk ? "chunks of at most 4.0 MiB" : "got filter 3"),
              std::string::npos)
        << error;
  }
}

}  // namespace
}  // namespace orrery::checkpoint
