// What is said while the files of a large model are read.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "orrery/model/parameter_loading.h"

namespace orrery::model {

/// A line whenever `period` has passed since the last one, and one at the end if there was any:
///   model.actor: 43 % of /models/qwen is read, 3.20 GiB in 21 s, 156 MiB/s
/// Give observe() to LoadOptions. Local; one thread.
class LoadLog {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kPeriod{10};

  /// `what` is being loaded from `path`; `say` gets the lines.
  LoadLog(std::string what, std::string path, std::function<void(const std::string&)> say,
          Clock::duration period = kPeriod);

  void observe(const LoadProgress& progress, Clock::time_point now = Clock::now());

 private:
  std::string what_;
  std::string path_;
  std::function<void(const std::string&)> say_;
  Clock::duration period_;
  Clock::time_point begin_;
  Clock::time_point last_;
  bool has_spoken_ = false;
};

}  // namespace orrery::model
