// What the tests of this folder share: a directory that goes away, and a small checkpoint in it.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/checkpoint/directory.h"
#include "orrery/checkpoint/shard_file.h"

namespace orrery::checkpoint {

class TemporaryDirectory {
 public:
  TemporaryDirectory() : path_(unused_path()) { std::filesystem::create_directories(path_); }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  // Memory where there is any: these tests make very many small files.
  static std::filesystem::path unused_path() {
    static std::atomic<int> number = 0;
    const std::filesystem::path memory = "/dev/shm";
    const std::filesystem::path root =
        ::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path();
    return root / ("orrery_checkpoint_test_" + std::to_string(::getpid()) + "_" +
                   std::to_string(++number));
  }

  std::filesystem::path path_;
};

inline std::string bytes_of(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

inline void write_bytes(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

/// The text of the CheckpointError that `action` throws.
inline std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "no CheckpointError";
}

/// A [5, 3] matrix 0, 1, 2, ... in two files, by rows, and a blob in the second.
inline Manifest write_small_checkpoint(const std::filesystem::path& directory,
                                       Compression compression = Compression::kNone) {
  std::filesystem::create_directories(directory);
  std::vector<float> values(15);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  Slab slab{.name = "actor/parameters/w", .rows = 5, .columns = 3, .n_rows = 2, .n_columns = 3};
  Manifest manifest{
      .step = 40, .program = "test", .config_hash = "00", .layouts = {{"actor", "d1t2p1@0-1"}}};
  {
    ShardWriter file(directory / "worker-0000.h5", compression);
    file.add(slab, values.data());
    manifest.files.push_back(file.finish());
  }
  slab.first_row = 2;
  slab.n_rows = 3;
  ShardWriter file(directory / "worker-0001.h5", compression);
  file.add(slab, values.data() + 6);
  file.add_blob("call/actor_train", std::string("kl\0state", 8));
  manifest.files.push_back(file.finish());
  return manifest;
}

/// Published: `root`/step-00000040.
inline std::filesystem::path publish_small_checkpoint(const std::filesystem::path& root,
                                                      int64_t step = 40, int keep = 100) {
  char name[32];
  std::snprintf(name, sizeof(name), "step-%08d", static_cast<int>(step));
  Manifest manifest = write_small_checkpoint(partial_directory(root / name));
  manifest.step = step;
  publish(root / name, manifest, keep);
  return root / name;
}

}  // namespace orrery::checkpoint
