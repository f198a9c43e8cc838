// Writes a rank's file while training goes on: the main thread hands over copies, a thread of its
// own makes the file of them, and the main thread asks for the result. One file at a time. When it
// ends it waits for the file that is being written.
#pragma once

#include <filesystem>
#include <functional>
#include <future>
#include <optional>

#include "orrery/base/serial_executor.h"
#include "orrery/checkpoint/shard_file.h"

namespace orrery::checkpoint {

class BackgroundWriter {
 public:
  /// Makes `file` by `write` on the thread; what `write` captures must stay unchanged until then.
  /// Waits for the file before, if it is not done; its result is lost.
  void start(std::filesystem::path file, Compression compression,
             std::function<void(ShardWriter&)> write);

  /// The record of the last file, once it is written; the same at each call until the next start().
  /// Throws the CheckpointError that the thread met.
  std::optional<FileRecord> poll();
  /// Waits for it.
  FileRecord wait();
  /// Waits until nothing is being written, whatever became of it.
  void wait_until_idle() { thread_.wait_until_left(0); }

 private:
  std::shared_future<FileRecord> record_;  // of the last file
  base::SerialExecutor thread_;
};

}  // namespace orrery::checkpoint
