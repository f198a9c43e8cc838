// Takes the pages of a file into memory ahead of a thread that reads it from front to end: disks,
// and file systems of many servers even more, give more to several readers than to one.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <thread>
#include <vector>

namespace orrery::checkpoint {

class ReadAhead {
 public:
  /// Starts to read, where the file is worth it. Never throws: without it the file is only slower.
  ReadAhead(const std::filesystem::path& file, uint64_t size) noexcept;
  /// Stops in the middle of it if need be.
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  /// The reader has come to this offset: what is read ahead stays within memory's reach of it.
  void reader_is_at(uint64_t offset);

 private:
  void run(const std::filesystem::path& file);

  uint64_t size_;
  std::atomic<uint64_t> reader_ = 0;
  std::atomic<uint64_t> next_ = 0;  // stretch that nobody has taken
  std::vector<std::thread> threads_;
};

}  // namespace orrery::checkpoint
