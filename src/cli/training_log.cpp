#include "training_log.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "master_file.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/hash.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/directory.h"
#include "orrery/config/load.h"
#include "orrery/graph/replica.h"
#include "orrery/metrics/jsonl_writer.h"
#include "orrery/metrics/tensorboard.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

/// The numbers worth a place in the progress line, as far as the graph has them.
std::vector<std::pair<std::string, double>> highlights(const master::StepReport& report) {
  std::vector<std::pair<std::string, double>> values;
  for (const char* wanted : {"loss", "reward", "approx_kl", "grad_norm"}) {
    for (const master::CallReport& call : report.calls) {
      metrics::Statistics all;
      for (const metrics::Statistics& minibatch : call.minibatches) all.merge(minibatch);
      if (const auto value = all.value(wanted)) {
        values.emplace_back(wanted, *value);
        break;
      }
    }
  }
  return values;
}

double tokens_of(const master::StepReport& report) {
  double tokens = 0;
  for (const master::CallReport& call : report.calls) {
    if (call.flops == 0) continue;  // a rule reads tokens, but no model does
    for (const metrics::Statistics& minibatch : call.minibatches) {
      tokens += minibatch.value("n_tokens").value_or(0);
    }
  }
  return tokens;
}

/// The measures of a set as the progress shows them: ` eval/accuracy 0.5000`.
std::string evaluation_text(const std::map<std::string, double>& numbers) {
  std::string text;
  for (const auto& [name, value] : numbers) {
    const std::string measure = name.substr(name.rfind('/') + 1);
    const bool is_of_a_value = name.find('=') != std::string::npos;  // of a field
    const bool is_shown = measure == "accuracy" || measure == "preference_accuracy" ||
                          measure == "loss" || measure == "reward" ||
                          measure.starts_with("pass@") || measure.starts_with("maj@");
    if (!is_shown || is_of_a_value || !name.starts_with("eval/")) continue;
    char number[32];
    std::snprintf(number, sizeof(number), "%.4f", value);
    text += base::concat(" ", name, " ", number);
  }
  return text;
}

}  // namespace

TrainingLog::TrainingLog(const Job& job, RunDirectory directory, const master::MasterState* state,
                         std::vector<std::string> instruction_sets)
    : job_(job),
      directory_(std::move(directory)),
      instruction_sets_(std::move(instruction_sets)),
      seconds_before_(state == nullptr ? 0 : state->seconds),
      progress_({.limits = {.total_steps = job.n_steps,
                            .total_seconds = job.experiment.experiment.total_seconds,
                            .seconds_before = seconds_before_},
                 .total_epochs = job.experiment.experiment.total_epochs,
                 .n_workers = job.n_workers,
                 .style = metrics::detect_progress_style(),
                 .record = base::log_to_file},
                std::cerr),
      exports_(directory_.models(), job.experiment.export_.keep, job.experiment.checkpoint.keep,
               state == nullptr ? master::BestModel::State() : state->best) {
  sinks_.push_back(std::make_unique<metrics::JsonlWriter>(directory_.metrics()));
  sinks_.push_back(std::make_unique<metrics::TensorBoardWriter>(directory_.tensorboard()));
}

void TrainingLog::write(int64_t step, const std::string& call,
                        const std::map<std::string, double>& metrics) {
  metrics::MetricsRecord record{
      .step = step, .time_s = seconds_before_ + watch_.seconds(), .call = {}, .metrics = metrics};
  if (!call.empty()) record.call = call;
  for (const auto& sink : sinks_) sink->write(record);
}

void TrainingLog::on_step(const master::StepReport& report) {
  const int64_t step = report.step.step;
  for (const master::CallReport& call : report.calls) {
    const std::map<std::string, double> merged = master::numbers_of(call);
    write(step, call.call, merged);
    for (const std::string& text : watch_learning_.on_call(call.call, merged)) {
      base::log_warning(text);
    }
    // One line a minibatch as well where there are several: their mean hides how a step went.
    if (call.minibatches.size() < 2) continue;
    for (size_t i = 0; i < call.minibatches.size(); ++i) {
      std::map<std::string, double> numbers;
      for (const auto& [name, value] : call.minibatches[i].values()) {
        if (name.starts_with("time/")) continue;  // of the call alone
        numbers[base::concat(call.call, "/minibatch", i, "/", name)] = value;
      }
      write(step, call.call, numbers);
    }
  }
  write(step, "", master::numbers_of(report));
  times_.add(report);
  progress_.step_done({.step = step,
                       .epoch = report.step.epoch,
                       .tokens = tokens_of(report),
                       .flops = report.flops(),
                       .seconds = report.seconds,
                       .values = highlights(report)});
}

void TrainingLog::on_evaluation(const master::EvaluationReport& report) {
  std::map<std::string, double> numbers = report.statistics.values();
  if (report.set.empty()) {
    numbers["time/evaluation"] = report.seconds;
  } else {
    numbers["time/evaluation/" + report.set] = report.work_seconds;
  }
  write(report.step, "", numbers);
  times_.add(report);
  if (job_.only_evaluates) result_.add(report);
  progress_.message(
      base::concat("evaluation after step ", report.step, ":", evaluation_text(numbers)));
}

void TrainingLog::publish_best(const master::SaveReport& report) {
  const master::BestModel::State& best = report.state.best;
  exports_.publish_best(report.directory, report.step);
  write(report.step, "",
        {{"eval/best", best.value}, {"eval/best_step", static_cast<double>(best.step)}});
  progress_.message(base::concat(best.metric, " is better than ever: the model of step ",
                                 report.step, " is kept as ",
                                 (directory_.models() / "best").string()));
}

void TrainingLog::publish_checkpoint(const master::SaveReport& report) {
  const fs::path directory = report.directory;
  const std::string config =
      config::resolved_config(job_.experiment, algorithm::interface_schemas());
  checkpoint::Manifest manifest{.step = report.step,
                                .program = ORRERY_VERSION,
                                .config_hash = base::hash128_text(config),
                                .instruction_sets = instruction_sets_};
  for (const graph::Replica& replica : graph::replicas_of(job_.graph)) {
    if (replica.id.index == 0) manifest.layouts[replica.id.role] = replica.layout.text();
  }
  manifest.files.push_back(
      write_master_file(checkpoint::partial_directory(directory), report.state, config));
  for (const comm::SavedShard& shard : report.shards) {
    manifest.files.push_back({.name = shard.file, .size = shard.size, .hash = shard.hash});
  }
  checkpoint::publish(directory, manifest, job_.experiment.checkpoint.keep);
}

void TrainingLog::on_save(const master::SaveReport& report) {
  times_.add(report);
  if (report.kind == master::SaveKind::kCheckpoint) {
    publish_checkpoint(report);
    exports_.note_checkpoint(report.state.best);
    progress_.message(base::concat("checkpoint of step ", report.step, " written"));
    return;
  }
  if (report.kind == master::SaveKind::kBest) return publish_best(report);
  exports_.publish(fs::path(report.directory).parent_path());  // models/step-00000040
  progress_.message(base::concat("model written to ", report.directory));
}

void TrainingLog::on_finish(const master::FinishReport& report) {
  if (job_.only_evaluates && report.reason == master::StopReason::kNoTraining) {
    base::publish_file(directory_.evaluation(), result_.json(job_));
    progress_.message(base::concat("written to ", directory_.evaluation().string()));
    std::cout << result_.table(job_) << std::flush;
    return;
  }
  progress_.message(base::trim(times_.text(watch_.seconds())));
  progress_.message(
      base::concat("finished after step ", report.steps_done, " (", master::text_of(report.reason),
                   "), ", base::duration_text(std::chrono::duration<double>(watch_.seconds()))));
  if (report.reason == master::StopReason::kStopRequested) {
    progress_.message(base::concat(
        "stopped as asked: step ", report.steps_done, " is whole and its checkpoint written to ",
        directory_.checkpoints().string(), "; the same command goes on from there"));
  }
  const std::string reason = watch_learning_.reason_of_no_update();
  if (reason.empty() || report.reason == master::StopReason::kStopRequested) return;
  throw CallError(reason, {.expected = "at least one update in the run",
                           .got = "the model as it was",
                           .advice = "look at the weights, the data and the rewards; lower lr"});
}

}  // namespace orrery::cli
