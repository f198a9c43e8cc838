#include "orrery/checkpoint/background_writer.h"

#include <utility>

#include "orrery/base/error.h"

namespace orrery::checkpoint {

BackgroundWriter::BackgroundWriter() : thread_([this] { run(); }) {}

BackgroundWriter::~BackgroundWriter() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void BackgroundWriter::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return is_ending_ || job_ != nullptr; });
    if (job_ == nullptr) return;
    std::function<FileRecord()> job = std::exchange(job_, nullptr);
    lock.unlock();
    std::optional<FileRecord> record;
    std::exception_ptr failure;
    try {
      record = job();
    } catch (const Error&) {
      failure = std::current_exception();
    } catch (const std::exception& error) {
      failure = std::make_exception_ptr(CheckpointError(error.what()));
    }
    job = nullptr;  // the copies that it holds are freed here, not under the lock
    lock.lock();
    record_ = std::move(record);
    failure_ = failure;
    is_busy_ = false;
    changed_.notify_all();
  }
}

void BackgroundWriter::start(std::filesystem::path file, Compression compression,
                             std::function<void(ShardWriter&)> write) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !is_busy_; });
  record_.reset();
  failure_ = nullptr;
  is_busy_ = true;
  job_ = [file = std::move(file), compression, write = std::move(write)] {
    ShardWriter writer(file, compression);
    write(writer);
    return writer.finish();
  };
  changed_.notify_all();
}

std::optional<FileRecord> BackgroundWriter::poll() {
  const std::lock_guard lock(mutex_);
  if (failure_ != nullptr) std::rethrow_exception(failure_);
  return record_;
}

FileRecord BackgroundWriter::wait() {
  std::unique_lock lock(mutex_);
  ORRERY_ASSERT(is_busy_ || record_ || failure_ != nullptr, "nothing was started");
  changed_.wait(lock, [this] { return !is_busy_; });
  if (failure_ != nullptr) std::rethrow_exception(failure_);
  return *record_;
}

}  // namespace orrery::checkpoint
