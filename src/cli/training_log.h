// What a run says while it runs: metrics.jsonl, TensorBoard, the progress line, the log; and the
// pointer to the newest exported models. Rank 0, main thread.
#pragma once

#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "evaluation_result.h"
#include "job.h"
#include "learning_watch.h"
#include "master_file.h"
#include "measured_memory.h"
#include "model_exports.h"
#include "orrery/base/clock.h"
#include "orrery/master/step_loop.h"
#include "orrery/metrics/metric_sink.h"
#include "orrery/metrics/progress.h"
#include "run_directory.h"
#include "time_table.h"

namespace orrery::cli {

class TrainingLog final : public master::StepObserver {
 public:
  /// `job` must outlive it. Throws OutputError when a file cannot be opened.
  ///   before            of the checkpoint that the run goes on from; null: it begins
  ///   instruction_sets  of the workers, for the manifests
  TrainingLog(const Job& job, RunDirectory directory, const MasterFile* before,
              std::vector<std::string> instruction_sets);

  // Throw OutputError when a line cannot be written; on_finish also CallError when all updates of
  // the job were skipped because numbers were not finite, or not one of the run's was made.
  void on_step(const master::StepReport& report) override;
  void on_evaluation(const master::EvaluationReport& report) override;
  void on_save(const master::SaveReport& report) override;
  void on_finish(const master::FinishReport& report) override;

 private:
  void write(int64_t step, const std::string& call, const std::map<std::string, double>& metrics);
  void publish_best(const master::SaveReport& report);
  void publish_checkpoint(const master::SaveReport& report);
  std::string next_commands_text() const;

  const Job& job_;
  RunDirectory directory_;
  std::vector<std::string> instruction_sets_;
  bool is_whole_run_;  // no steps before this job's
  double seconds_before_;
  base::Stopwatch watch_;
  std::vector<std::unique_ptr<metrics::MetricSink>> sinks_;  ///< each gets every record
  metrics::Progress progress_;
  ModelExports exports_;
  EvaluationResult result_;  ///< of a job that only evaluates
  TimeTable times_;
  MeasuredMemory memory_;
  LearningWatch watch_learning_;
  /// After steps that a checkpoint may still be published of: that is later than the next step
  /// ends.
  std::map<int64_t, LearningWatch> learning_after_;
  std::optional<double> accuracy_;  ///< of the first set, when it was evaluated last
};

}  // namespace orrery::cli
