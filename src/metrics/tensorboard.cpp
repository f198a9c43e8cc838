#include "orrery/metrics/tensorboard.h"

#include <unistd.h>  // gethostname, getpid

#include <atomic>
#include <boost/crc.hpp>  // CRC-32C
#include <optional>

#include "orrery/base/clock.h"  // wall_seconds
#include "orrery/base/error.h"  // Error
#include "orrery/base/file.h"   // AppendFile
#include "orrery/base/log.h"    // log_warning
#include "orrery/base/text.h"   // concat
#include "scalar_events.pb.h"

namespace orrery::metrics {

namespace {

template <class T>
std::string little_endian(T value) {
  std::string bytes(sizeof(T), '\0');
  for (char& byte : bytes) {
    byte = static_cast<char>(value & 0xFF);
    value = static_cast<T>(value >> 8);
  }
  return bytes;
}

template <class T>
T from_little_endian(std::string_view bytes) {
  T value = 0;
  for (size_t i = sizeof(T); i-- > 0;) {
    value = static_cast<T>(value << 8) | static_cast<unsigned char>(bytes[i]);
  }
  return value;
}

std::string framed(const std::string& message) {
  const std::string length = little_endian<uint64_t>(message.size());
  return length + little_endian<uint32_t>(masked_crc32c(length)) + message +
         little_endian<uint32_t>(masked_crc32c(message));
}

/// TensorBoard lists files by name and reads those of one run as one series, so the name starts
/// with the time; host, process and number keep names different.
std::string new_file_name() {
  static std::atomic<int> n_files{0};
  char host[256] = "host";
  gethostname(host, sizeof host - 1);
  return base::concat("events.out.tfevents.", static_cast<int64_t>(base::wall_seconds()), ".", host,
                      ".", getpid(), ".", n_files++);
}

[[noreturn]] void throw_damaged(const std::filesystem::path& file, size_t offset,
                                const std::string& what) {
  throw DataError(base::concat(file.string(), ": record at byte ", offset, " is damaged"),
                  {.expected = "an event with matching checksums",
                   .got = what,
                   .advice = "the file was changed after it was written; remove it"});
}

}  // namespace

uint32_t masked_crc32c(std::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;
  crc.process_bytes(bytes.data(), bytes.size());
  const auto value = static_cast<uint32_t>(crc.checksum());
  return ((value >> 15) | (value << 17)) + 0xA282EAD8u;
}

TensorBoardWriter::TensorBoardWriter(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  path_ = directory / new_file_name();
  file_ = std::make_unique<base::AppendFile>(path_);
  events::Event version;
  version.set_wall_time(base::wall_seconds());
  version.set_file_version("brain.Event:2");
  file_->write(framed(version.SerializeAsString()));
}

TensorBoardWriter::~TensorBoardWriter() = default;

void TensorBoardWriter::write(int64_t step, const std::map<std::string, double>& values) {
  if (values.empty()) return;
  events::Event event;
  event.set_wall_time(base::wall_seconds());
  event.set_step(step);
  for (const auto& [tag, value] : values) {
    events::SummaryValue* scalar = event.mutable_summary()->add_value();
    scalar->set_tag(tag);
    scalar->set_simple_value(static_cast<float>(value));
  }
  file_->write(framed(event.SerializeAsString()));
}

namespace {

/// Calls `visit(event, frame)` for each whole record of `all`, the content of `file`; stops quietly
/// at one that was cut off by a kill. Throws DataError when a checksum or a message is wrong.
template <class Visit>
void for_each_event(const std::filesystem::path& file, std::string_view all, const Visit& visit) {
  constexpr size_t kHead = 12, kTail = 4;
  for (size_t at = 0; at + kHead <= all.size();) {
    const std::string_view length_bytes = all.substr(at, 8);
    if (from_little_endian<uint32_t>(all.substr(at + 8, 4)) != masked_crc32c(length_bytes)) {
      throw_damaged(file, at, "a wrong checksum of the length");
    }
    const auto length = from_little_endian<uint64_t>(length_bytes);
    if (length > all.size() - at - kHead || all.size() - at - kHead - length < kTail) break;
    const std::string_view message = all.substr(at + kHead, length);
    if (from_little_endian<uint32_t>(all.substr(at + kHead + length, 4)) !=
        masked_crc32c(message)) {
      throw_damaged(file, at, "a wrong checksum of the message");
    }
    events::Event event;
    if (!event.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
      throw_damaged(file, at, "a message that cannot be parsed");
    }
    const size_t size = kHead + length + kTail;
    visit(event, all.substr(at, size));
    at += size;
  }
}

}  // namespace

std::vector<TensorBoardScalar> read_tensorboard(const std::filesystem::path& file) {
  std::vector<TensorBoardScalar> scalars;
  for_each_event(file, base::read_file(file), [&](const events::Event& event, std::string_view) {
    for (const events::SummaryValue& value : event.summary().value()) {
      scalars.push_back({.step = event.step(),
                         .wall_time = event.wall_time(),
                         .tag = value.tag(),
                         .value = value.simple_value()});
    }
  });
  return scalars;
}

void drop_events_after(const std::filesystem::path& directory, int64_t step) {
  for (const std::filesystem::path& file : base::list_folder(directory)) {
    if (file.filename().string().find("tfevents") == std::string::npos) continue;  // not ours
    const std::string content = base::read_file(file);
    std::string kept;
    try {
      for_each_event(file, content, [&](const events::Event& event, std::string_view frame) {
        if (event.step() <= step) kept += frame;
      });
    } catch (const DataError& error) {
      // A machine that went down leaves zeros where the last pages were to come.
      base::log_warning(base::concat(error.what(), "; what follows is cut off"));
    }
    // Shorter also where the last record was cut off by a kill.
    if (kept.size() != content.size()) base::publish_file(file, kept);
  }
}

}  // namespace orrery::metrics
