// Very many damaged files: each gives an error or what was written, never a crash, never a wrong
// number, never an allocation that the file does not warrant. Under the sanitizers at least 100,000
// by the way that a checkpoint is loaded (manifest, hash, HDF5); elsewhere a sample.
// ORRERY_MUTATIONS sets another number.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "checkpoint/store_for_test.h"
#include "digest.h"
#include "mutated_text.h"
#include "orrery/base/philox.h"
#include "orrery/checkpoint/contents.h"
#include "orrery/checkpoint/reader.h"

namespace orrery::checkpoint {
namespace {

namespace fs = std::filesystem;

#ifdef __SANITIZE_ADDRESS__
const uint64_t kMutations = n_mutations(100'000);
#else
const uint64_t kMutations = n_mutations(5'000);
#endif

/// Some bytes changed, or a piece cut out, doubled, zeroed, or the end missing.
std::string mutated(std::string bytes, uint64_t trial) {
  uint64_t n_drawn = 0;
  const auto below = [&](uint64_t bound) {
    return base::philox_below(23, trial, n_drawn++, std::max<uint64_t>(bound, 1));
  };
  const uint64_t begin = below(bytes.size());
  const uint64_t size = std::min(below(64) + 1, bytes.size() - begin);
  switch (below(8)) {
    case 0:
      return bytes.substr(0, begin);
    case 1:
      return bytes.erase(begin, size);
    case 2:
      return bytes.insert(begin, bytes.substr(begin, size));
    case 3:
      return bytes.replace(begin, size, size, '\0');
    case 4:
      return bytes.replace(begin, size, size, '\xff');
    case 5:
      bytes[begin] = static_cast<char>(bytes[begin] ^ (1 << below(8)));
      return bytes;
    default:
      for (uint64_t n = below(4) + 1; n > 0; --n) {
        bytes[below(bytes.size())] = static_cast<char>(below(256));
      }
      return bytes;
  }
}

std::vector<float> load(const fs::path& directory) {
  CheckpointReader reader(directory);
  for (const FileRecord& file : reader.manifest().files) {
    if (const auto problem = problem_of(directory, file)) throw CheckpointError(*problem);
  }
  std::vector<float> values(15);
  reader.read({.name = "actor/parameters/w", .rows = 5, .columns = 3, .n_rows = 5, .n_columns = 3},
              values.data());
  reader.blob("call/actor_train");
  return values;
}

TEST(Mutations, OfACheckpointLoadRightOrNotAtAll) {
  const TemporaryDirectory root;
  const fs::path directory = publish_small_checkpoint(root.path());
  const std::vector<float> right = load(directory);
  const std::array<fs::path, 3> files = {directory / "worker-0000.h5", directory / "worker-0001.h5",
                                         directory / "manifest.json"};
  std::array<std::string, 3> whole;
  std::transform(files.begin(), files.end(), whole.begin(), bytes_of);
  uint64_t n_refused = 0, n_same = 0;
  for (uint64_t trial = 0; trial < kMutations; ++trial) {
    const size_t which = trial % files.size();
    const std::string bytes = mutated(whole[which], trial);
    write_bytes(files[which], bytes);
    try {
      ASSERT_EQ(load(directory), right) << trial;
      // White space of the manifest, or a change that changed nothing.
      ASSERT_TRUE(which == 2 || bytes == whole[which]) << trial;
      ++n_same;
    } catch (const CheckpointError&) {
      ++n_refused;
    }
    write_bytes(files[which], whole[which]);
  }
  EXPECT_EQ(n_refused + n_same, kMutations);
  EXPECT_LT(n_same, kMutations / 10);
}

/// A value of the manifest is replaced by another kind of value, and the hash made to fit: what
/// reads the fields sees it.
TEST(Mutations, OfAManifestWithARightHashGiveAnErrorOrAManifest) {
  const TemporaryDirectory root;
  const nlohmann::json whole =
      nlohmann::json::parse(bytes_of(publish_small_checkpoint(root.path()) / "manifest.json"))
          .at("manifest");
  const nlohmann::json flat = whole.flatten();
  std::vector<std::string> paths;
  for (const auto& item : flat.items()) paths.push_back(item.key());
  const std::vector<nlohmann::json> values = {nullptr,
                                              true,
                                              -1,
                                              1.5,
                                              1e300,
                                              UINT64_MAX,
                                              INT64_MIN,
                                              "",
                                              "../x",
                                              std::string(5'000, 'a'),
                                              nlohmann::json::array(),
                                              nlohmann::json::object(),
                                              {{"name", 1}},
                                              "worker-0000.h5"};
  uint64_t n_refused = 0;
  for (uint64_t trial = 0; trial < kMutations; ++trial) {
    nlohmann::json content = whole;
    for (uint64_t i = 0; i <= base::philox_below(29, trial, 0, 3); ++i) {
      const auto& path = paths[base::philox_below(29, trial, 1 + 2 * i, paths.size())];
      const auto& value = values[base::philox_below(29, trial, 2 + 2 * i, values.size())];
      const nlohmann::json::json_pointer pointer(path);
      if (content.contains(pointer)) content[pointer] = value;
    }
    const std::string text = content.dump();
    const nlohmann::json sealed = {{"manifest", content},
                                   {"xxh3", digest_text(digest_of(text.data(), text.size()))}};
    try {
      for (const FileRecord& file : parse_manifest(sealed.dump(), "m").files) {
        ASSERT_EQ(file.name.find('/'), std::string::npos);
      }
    } catch (const CheckpointError&) {
      ++n_refused;
    }
  }
  EXPECT_GT(n_refused, kMutations / 2);
}

/// Looks into a file that no manifest vouches for, as `orrery inspect FILE` does.
void look_into(const fs::path& file) {
  try {
    list_hdf5(file);
    const ShardReader reader(file);
    reader.verify();
  } catch (const CheckpointError&) {
  }
}

// HDF5's own checks alone. In processes of their own with bounded memory, so that a crash or an
// allocation out of proportion fails the test and not the test program.
TEST(Mutations, OfAFileWithoutManifestNeverCrashHdf5) {
  const TemporaryDirectory root;
  const fs::path directory = publish_small_checkpoint(root.path());
  const std::string whole = bytes_of(directory / "worker-0001.h5");
  const fs::path file = root / "mutated.h5";
  const uint64_t n_trials = kMutations / 5, n_each = 200;
  for (uint64_t first = 0; first < n_trials; first += n_each) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
#ifndef __SANITIZE_ADDRESS__  // its shadow alone has terabytes
      const rlimit memory{.rlim_cur = rlim_t{2} << 30, .rlim_max = rlim_t{2} << 30};
      ::setrlimit(RLIMIT_AS, &memory);
#endif
      for (uint64_t trial = first; trial < first + n_each; ++trial) {
        write_bytes(file, mutated(whole, trial));
        look_into(file);
      }
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0) << "trials " << first << " to " << first + n_each - 1;
  }
}

}  // namespace
}  // namespace orrery::checkpoint
