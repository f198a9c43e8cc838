#include "orrery/checkpoint/background_writer.h"

#include <chrono>
#include <exception>
#include <memory>
#include <utility>

#include "orrery/base/error.h"

namespace orrery::checkpoint {

namespace {

FileRecord write_file(const std::filesystem::path& file, Compression compression,
                      const std::function<void(ShardWriter&)>& write) {
  ShardWriter writer(file, compression);
  write(writer);
  return writer.finish();
}

}  // namespace

void BackgroundWriter::start(std::filesystem::path file, Compression compression,
                             std::function<void(ShardWriter&)> write) {
  thread_.wait_until_left(0);
  const auto record = std::make_shared<std::promise<FileRecord>>();
  record_ = record->get_future().share();
  thread_.submit([record, file = std::move(file), compression, write = std::move(write)]() mutable {
    std::optional<FileRecord> written;
    std::exception_ptr failure;
    try {
      written = write_file(file, compression, write);
    } catch (const Error&) {
      failure = std::current_exception();
    } catch (const std::exception& error) {
      failure = std::make_exception_ptr(CheckpointError(error.what()));
    }
    write = nullptr;  // the copies that it holds are freed before anyone hears of the end
    if (written) {
      record->set_value(std::move(*written));
    } else {
      record->set_exception(failure);
    }
  });
}

std::optional<FileRecord> BackgroundWriter::poll() {
  const bool is_done =
      record_.valid() && record_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  if (!is_done) return std::nullopt;
  return record_.get();
}

FileRecord BackgroundWriter::wait() {
  ORRERY_ASSERT(record_.valid(), "nothing was started");
  return record_.get();
}

}  // namespace orrery::checkpoint
