#include "training_log.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <system_error>
#include <vector>

#include "frequency.h"
#include "next_commands.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/hash.h"
#include "orrery/base/log.h"
#include "orrery/base/terminal.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/directory.h"
#include "orrery/config/load.h"
#include "orrery/graph/replica.h"
#include "orrery/metrics/jsonl_writer.h"
#include "orrery/metrics/tensorboard.h"
#include "orrery/report/watch_frame.h"  // latest_samples

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

using Named = std::vector<std::pair<std::string, double>>;

/// Of a step, by name: what the first call says that has it.
std::optional<double> value_of(const std::vector<metrics::Statistics>& calls, const char* name) {
  for (const metrics::Statistics& call : calls) {
    if (const auto value = call.value(name)) return value;
  }
  return std::nullopt;
}

/// Those of `names` that the step has, in this order.
Named values_of(const std::vector<metrics::Statistics>& calls,
                std::initializer_list<const char*> names) {
  Named values;
  for (const char* name : names) {
    if (const auto value = value_of(calls, name)) values.emplace_back(name, *value);
  }
  return values;
}

/// What the progress line shows of a step. A run with rewards is judged by them, any other by its
/// loss, which says little of how a policy does.
///   accuracy  of the last evaluation: answers to rewarded prompts have none of their own
void add_values(const master::StepReport& report, std::optional<double> accuracy,
                metrics::StepProgress& progress) {
  std::vector<metrics::Statistics> calls;
  for (const master::CallReport& call : report.calls)
    calls.push_back(master::merged_statistics(call));
  if (!value_of(calls, "reward")) {
    progress.values = values_of(calls, {"loss", "accuracy", "entropy"});
    progress.details = values_of(calls, {"grad_norm"});
    return;
  }
  progress.values = values_of(calls, {"reward"});
  if (accuracy) progress.values.emplace_back("accuracy", *accuracy);
  const Named entropy = values_of(calls, {"entropy"});
  progress.values.insert(progress.values.end(), entropy.begin(), entropy.end());
  progress.details = values_of(calls, {"approx_kl", "grad_norm", "loss"});
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

/// A role whose models give text: that of the first call that generates, else of the first that
/// trains one. Empty: none.
std::string generating_role(const Job& job) {
  for (const graph::CallKind kind : {graph::CallKind::kGenerate, graph::CallKind::kTrainStep}) {
    for (const graph::Call& call : job.graph.calls()) {
      const auto architecture = job.architectures.find(call.role);
      if (call.kind != kind || architecture == job.architectures.end()) continue;
      if (!architecture->second.value_head) return call.role;
    }
  }
  return {};
}

/// A short prompt of the run's latest answers; empty: there is none. Throws OutputError.
std::string some_prompt(const fs::path& run) {
  constexpr size_t kMost = 60;
  for (const report::Sample& sample : report::latest_samples(run, 1)) {
    const bool is_plain = std::none_of(sample.prompt.begin(), sample.prompt.end(),
                                       [](unsigned char c) { return c < 0x20 || c == 0x7f; });
    const bool is_short = !sample.prompt.empty() && sample.prompt.size() <= kMost;
    if (is_plain && is_short && sample.prompt[0] != '-') return sample.prompt;
  }
  return {};
}

}  // namespace

TrainingLog::TrainingLog(const Job& job, RunDirectory directory, const MasterFile* before,
                         std::vector<std::string> instruction_sets)
    : job_(job),
      directory_(std::move(directory)),
      instruction_sets_(std::move(instruction_sets)),
      is_whole_run_(before == nullptr),
      seconds_before_(before == nullptr ? 0 : before->state.seconds),
      progress_({.limits = {.total_steps = job.n_steps,
                            .total_seconds = job.experiment.experiment.total_seconds,
                            .seconds_before = seconds_before_},
                 .total_epochs = job.experiment.experiment.total_epochs,
                 .style = metrics::detect_progress_style(),
                 .columns = base::seen_columns,
                 .record = base::log_to_file},
                std::cerr),
      exports_(directory_.models(), job.experiment.export_.keep, job.experiment.checkpoint.keep,
               before == nullptr ? master::BestModel::State() : before->state.best) {
  if (before != nullptr) watch_learning_ = before->learning;
  learning_after_[before == nullptr ? 0 : before->state.steps_done] = watch_learning_;
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
  // Without a cadence there is one checkpoint, at the end.
  if (!frequency_of(job_.experiment.checkpoint).is_ever()) learning_after_.clear();
  learning_after_[step] = watch_learning_;
  write(step, "", master::numbers_of(report));
  times_.add(report);
  memory_.add(report);
  metrics::StepProgress progress{.step = step,
                                 .epoch = report.step.epoch,
                                 .tokens = tokens_of(report),
                                 .seconds = report.seconds};
  add_values(report, accuracy_, progress);
  progress_.step_done(progress);
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
  const config::EvaluationSet& first = job_.experiment.evaluation_sets.front();
  const auto accuracy = numbers.find(first.metric_prefix() + "accuracy");
  if (report.set == first.name && accuracy != numbers.end()) accuracy_ = accuracy->second;
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
  const auto learning = std::prev(learning_after_.upper_bound(report.step));
  manifest.files.push_back(write_master_file(
      checkpoint::partial_directory(directory),
      {.state = report.state, .resolved_config = config, .learning = learning->second}));
  learning_after_.erase(learning_after_.begin(), learning);
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

std::string TrainingLog::next_commands_text() const {
  EndedRun run{.root = directory_.root,
               .generating_role = generating_role(job_),
               .has_evaluations = !job_.experiment.evaluation_sets.empty(),
               .prompt = some_prompt(directory_.root)};
  for (const char* name : {"latest", "best"}) {
    if (base::is_folder(directory_.models() / name)) run.models = directory_.models() / name;
  }
  if (!base::is_folder(run.models / run.generating_role)) run.generating_role.clear();
  std::error_code no_folder;  // everything is named in full then
  const fs::path here = fs::current_path(no_folder);
  return "next:\n  " +
         base::join(next_commands(run, start_words(job_.n_workers + 1), here), "\n  ");
}

void TrainingLog::on_finish(const master::FinishReport& report) {
  progress_.finish();
  if (job_.only_evaluates && report.reason == master::StopReason::kNoTraining) {
    base::publish_file(directory_.evaluation(), result_.json(job_));
    progress_.message(base::concat("written to ", directory_.evaluation().string()));
    std::cout << result_.table(job_) << std::flush;
    return;
  }
  progress_.message(base::trim(times_.text(watch_.seconds())));
  if (const std::string memory = memory_.text(job_); !memory.empty()) {
    progress_.message(base::trim(memory));
  }
  progress_.message(
      base::concat("finished after step ", report.steps_done, " (", master::text_of(report.reason),
                   "), ", base::duration_text(std::chrono::duration<double>(watch_.seconds()))));
  if (report.reason == master::StopReason::kStopRequested) {
    progress_.message(base::concat(
        "stopped as asked: step ", report.steps_done, " is whole and its checkpoint written to ",
        directory_.checkpoints().string(), "; the same command goes on from there"));
    return;
  }
  const std::string reason = watch_learning_.reason_of_no_update(is_whole_run_);
  if (!reason.empty()) {
    throw CallError(reason, {.expected = "at least one update in the run",
                             .got = "the model as it was",
                             .advice = "look at the weights, the data and the rewards; lower lr"});
  }
  try {
    progress_.message(next_commands_text());
  } catch (const OutputError& error) {  // the run is done, whatever can be said of its directory
    base::log_warning(base::concat("no commands to go on with: ", error.what()));
  }
}

}  // namespace orrery::cli
