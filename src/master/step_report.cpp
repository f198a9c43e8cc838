#include "orrery/master/step_report.h"

#include <algorithm>
#include <utility>  // pair

#include "orrery/base/index.h"

namespace orrery::master {

void PhaseTimes::add(int worker, const std::vector<comm::TimeRecord>& times, int n_workers) {
  for (size_t i = 0; i < times.size(); ++i) {
    // Workers report the same names in the same order, so the guess is nearly always right.
    auto column = i < columns_.size() && columns_[i].name == times[i].name
                      ? columns_.begin() + static_cast<std::ptrdiff_t>(i)
                      : std::find_if(columns_.begin(), columns_.end(),
                                     [&](const Column& c) { return c.name == times[i].name; });
    if (column == columns_.end()) {
      columns_.push_back({times[i].name, std::vector<double>(static_cast<size_t>(n_workers), -1)});
      column = columns_.end() - 1;
    }
    double& seconds = column->seconds[base::index(worker)];
    seconds = std::max(seconds, 0.0) + times[i].seconds;
  }
}

std::vector<PhaseTime> PhaseTimes::summary() const {
  std::vector<PhaseTime> result;
  for (const Column& column : columns_) {
    PhaseTime& time = result.emplace_back();
    time.name = column.name;
    int n = 0;
    for (const double seconds : column.seconds) {
      if (seconds < 0) continue;
      time.max = std::max(time.max, seconds);
      time.mean += seconds;
      ++n;
    }
    if (n > 0) time.mean /= n;
  }
  return result;
}

void add_memory(std::vector<CallMemory>& known, int worker,
                const std::vector<comm::MemoryRecord>& records) {
  for (const comm::MemoryRecord& record : records) {
    const auto same = std::find_if(known.begin(), known.end(), [&](const CallMemory& other) {
      return other.worker == worker && other.memory.name == record.name;
    });
    if (same == known.end()) {
      known.push_back({worker, record});
      continue;
    }
    comm::MemoryRecord& most = same->memory;
    most.peak_bytes = std::max(most.peak_bytes, record.peak_bytes);
    most.reserved_bytes = std::max(most.reserved_bytes, record.reserved_bytes);
    most.other_bytes = std::max(most.other_bytes, record.other_bytes);
  }
}

metrics::Flops StepReport::flops() const {
  metrics::Flops total = 0;
  for (const CallReport& call : calls) total += call.flops;
  return total;
}

int64_t StepReport::bytes_redistributed() const {
  int64_t total = 0;
  for (const CallReport& call : calls) total += call.bytes_redistributed;
  return total;
}

metrics::Statistics merged_statistics(const CallReport& report) {
  metrics::Statistics merged;
  for (const metrics::Statistics& minibatch : report.minibatches) merged.merge(minibatch);
  return merged;
}

namespace {

/// Of the worker that needed most; `main`, the call itself, needs no name.
void put_memory(const CallReport& report, std::map<std::string, double>& numbers) {
  for (const auto& [worker, memory] : report.memory) {
    std::string prefix = "memory/" + report.call + "/";
    if (memory.name != "main") prefix += memory.name + "/";
    for (const auto& [name, bytes] : {std::pair{"peak_bytes", memory.peak_bytes},
                                      {"reserved_bytes", memory.reserved_bytes},
                                      {"other_bytes", memory.other_bytes}}) {
      double& most = numbers[prefix + name];
      most = std::max(most, static_cast<double>(bytes));
    }
  }
}

}  // namespace

std::map<std::string, double> numbers_of(const CallReport& report) {
  const metrics::Statistics merged = merged_statistics(report);
  std::map<std::string, double> numbers;
  for (const auto& [name, value] : merged.values()) {
    // What depends on time stands with the times, by which runs are not compared.
    const bool is_time = name.starts_with("time/");
    numbers[is_time ? "time/" + report.call + name.substr(4) : report.call + "/" + name] = value;
  }
  for (const PhaseTime& time : report.times) {
    const std::string name = "time/" + report.call + "/" + time.name;
    numbers[name + "/max"] = time.max;
    numbers[name + "/mean"] = time.mean;
  }
  put_memory(report, numbers);
  numbers["time/" + report.call + "/total"] = report.seconds;
  if (const auto tokens = merged.value("n_tokens"); tokens && report.seconds > 0) {
    numbers[report.call + "/tokens_per_second"] = *tokens / report.seconds;
  }
  numbers[report.call + "/bytes_redistributed"] = static_cast<double>(report.bytes_redistributed);
  if (report.flops > 0) {
    numbers[report.call + "/flops"] = static_cast<double>(report.flops);
    if (report.seconds > 0) {
      numbers[report.call + "/tflops_per_second"] =
          static_cast<double>(report.flops) / report.seconds / 1e12;
    }
  }
  return numbers;
}

std::map<std::string, double> numbers_of(const StepReport& report) {
  std::map<std::string, double> numbers;
  numbers["time/step"] = report.seconds;
  numbers["time/master"] = report.master_seconds;
  if (report.seconds > 0) numbers["time/master_share"] = report.master_seconds / report.seconds;
  numbers["samples"] = static_cast<double>(report.samples);
  numbers["epoch"] = static_cast<double>(report.step.epoch);
  numbers["bytes_redistributed"] = static_cast<double>(report.bytes_redistributed());
  if (report.sampled) {
    const SampledStep& sampled = *report.sampled;
    const auto n = [](const std::vector<int64_t>& groups) {
      return static_cast<double>(groups.size());
    };
    numbers["dynamic_sampling/rounds"] = static_cast<double>(sampled.rounds);
    numbers["dynamic_sampling/generated_groups"] = static_cast<double>(sampled.generated_groups);
    numbers["dynamic_sampling/rejected_groups"] = n(sampled.rejected);
    numbers["dynamic_sampling/discarded_groups"] = n(sampled.discarded);
    numbers["dynamic_sampling/carried_in"] = static_cast<double>(sampled.carried_in);
    numbers["dynamic_sampling/carried_over"] = n(sampled.carried_over);
    numbers["dynamic_sampling/complete"] = sampled.is_complete ? 1 : 0;
  }
  if (report.flops() > 0) {
    numbers["flops"] = static_cast<double>(report.flops());
    if (report.seconds > 0) {
      numbers["tflops_per_second"] = static_cast<double>(report.flops()) / report.seconds / 1e12;
    }
  }
  return numbers;
}

}  // namespace orrery::master
