// Scalars for TensorBoard: an event file of framed protobuf records. Rank 0 only; one thread.
// A record is: length (8 bytes), masked CRC-32C of the length, the message, masked CRC-32C of the
// message; all little endian. The first message names the format, `brain.Event:2`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/metrics/metric_sink.h"

namespace orrery::base {
class AppendFile;
}

namespace orrery::metrics {

class TensorBoardWriter final : public MetricSink {
 public:
  /// Creates the directory and a new event file in it; a resumed run gets a further file, which
  /// TensorBoard joins with the earlier ones. Throws Error when that fails.
  explicit TensorBoardWriter(const std::filesystem::path& directory);
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;
  ~TensorBoardWriter() override;

  /// Values of one step under their tags, as one record. TensorBoard stores float32 and draws
  /// numbers that are not finite as gaps. Throws Error when it cannot be written.
  void write(int64_t step, const std::map<std::string, double>& values);
  void write(const MetricsRecord& record) override { write(record.step, record.metrics); }

  const std::filesystem::path& file() const { return path_; }

 private:
  std::filesystem::path path_;
  std::unique_ptr<base::AppendFile> file_;
};

/// One scalar read back.
struct TensorBoardScalar {
  int64_t step = 0;
  double wall_time = 0;  ///< seconds since 1970
  std::string tag = {};
  float value = 0;
  bool operator==(const TensorBoardScalar&) const = default;
};

/// All scalars of an event file, in order, for tests. Stops quietly at a
/// record cut off by a kill; throws Error when a checksum or a message is wrong.
std::vector<TensorBoardScalar> read_tensorboard(const std::filesystem::path& file);

/// Removes the events of steps after `step` from all event files of a directory: a run resumed from
/// that step writes them again. What follows a damaged record goes too, with a warning: a machine
/// that went down leaves such. Throws OutputError.
void drop_events_after(const std::filesystem::path& directory, int64_t step);

/// CRC-32C (Castagnoli) of bytes, rotated and offset as the record framing wants it.
uint32_t masked_crc32c(std::string_view bytes);

}  // namespace orrery::metrics
