// Writes a rank's file while training goes on: the main thread hands over copies, a thread of its
// own makes the file of them, and the main thread asks for the result. One file at a time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "orrery/checkpoint/shard_file.h"

namespace orrery::checkpoint {

class BackgroundWriter {
 public:
  BackgroundWriter();
  /// Waits for the file that is being written.
  ~BackgroundWriter();
  BackgroundWriter(const BackgroundWriter&) = delete;
  BackgroundWriter& operator=(const BackgroundWriter&) = delete;

  /// Makes `file` by `write` on the thread; what `write` captures must stay unchanged until then.
  /// Waits for the file before, if it is not done; its result is lost.
  void start(std::filesystem::path file, Compression compression,
             std::function<void(ShardWriter&)> write);

  /// The record of the last file, once it is written; the same at each call until the next start().
  /// Throws the CheckpointError that the thread met.
  std::optional<FileRecord> poll();
  /// Waits for it.
  FileRecord wait();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<FileRecord()> job_;  // not begun
  bool is_busy_ = false;
  bool is_ending_ = false;
  std::optional<FileRecord> record_;
  std::exception_ptr failure_;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace orrery::checkpoint
