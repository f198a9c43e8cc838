// `orrery train`, and every job of its kind: rank 0 checks everything, then all ranks agree to
// start; rank 0 is the master, every other rank a worker.
//
//   rank 0: check -- run directory --+-- communicators -- step loop -------- exit -- done
//                     status, job    |                    requests, replies
//   others: wait ------------------->+-- communicators -- request loop ----------- done
#include <ATen/Parallel.h>  // set_num_threads
#include <mpi.h>

#include <algorithm>  // min
#include <chrono>
#include <cstdint>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "background_log.h"
#include "broadcast_text.h"
#include "call_costs.h"
#include "commands.h"
#include "frequency.h"
#include "gpu_choices.h"
#include "instruction_sets.h"
#include "job.h"
#include "master_file.h"
#include "model_exports.h"
#include "mpi_job.h"
#include "orrery/algorithm/registry.h"
#include "orrery/algorithm/spawner.h"
#include "orrery/base/clock.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/exit_text.h"
#include "orrery/base/file.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/manifest.h"
#include "orrery/checkpoint/run_lock.h"
#include "orrery/comm/mpi_communicator.h"
#include "orrery/comm/mpi_control_channel.h"
#include "orrery/comm/mpi_session.h"
#include "orrery/comm/node_map.h"
#include "orrery/comm/registry.h"
#include "orrery/config/command_line.h"
#include "orrery/graph/communicators.h"
#include "orrery/master/dispatcher.h"
#include "orrery/master/step_loop.h"
#include "orrery/metrics/metric_list.h"
#include "orrery/metrics/trace.h"
#include "orrery/worker/hosted_models.h"  // amx_of
#include "orrery/worker/lost_gpu.h"
#include "orrery/worker/model_device.h"  // the backend of the workers' groups
#include "orrery/worker/model_worker.h"
#include "orrery/worker/request_loop.h"
#include "orrery/worker/watchdog.h"
#include "rank_versions.h"
#include "residency.h"
#include "resume.h"
#include "resume_rules.h"
#include "run_directory.h"
#include "sampling_options.h"
#include "stop_signal.h"
#include "time_limit.h"
#include "training_log.h"
#include "worker_gpus.h"

namespace orrery::cli {

namespace {

void check_ranks(const comm::MpiSession& mpi) {
  if (mpi.size() >= 2) return;
  throw ConfigError(
      "orrery train and evaluate need a master and at least one worker",
      {.expected = "2 ranks or more",
       .got = "1",
       .advice = "start it as mpirun -n 3 orrery train CONFIG (1 master, 2 workers)"});
}

/// From here on the run directory is this job's: what keeps it from going on belongs into the log
/// of the run, if it has one. One that cannot be opened is found where it is needed.
void log_into_earlier_log(const RunDirectory& directory) {
  try {
    if (base::exists(directory.log())) base::set_log_file(directory.log());
  } catch (const OutputError&) {
  }
}

/// Rank 0: why the job does not begin, on the screen and, where there is one by now, in its log.
void tell(const std::exception& error, int exit_code) {
  std::cerr << "orrery: " << error.what() << std::endl;
  base::log_to_file(base::concat(error.what(), "\n", exit_text(exit_code)));
}

/// The end of a job that cannot go on.
[[noreturn]] void abort_with(const char* what, int exit_code) {
  base::log_error(base::concat(what, "\n", exit_text(exit_code)));
  comm::abort_job(exit_code);
}

/// A job that all ranks have agreed to start.
struct Start {
  Job job;
  ResumePoint point;                          ///< that it goes on from
  std::optional<checkpoint::RunLock> lock;    ///< rank 0: of the run directory
  std::optional<MasterFile> master;           ///< rank 0: of the checkpoint
  std::vector<std::string> instruction_sets;  ///< rank 0: of the workers
  std::vector<std::string> choices;           ///< rank 0: what `auto` has become
};

/// Rank 0: the job, checked, and where it may go on from.
struct Prepared {
  Job job;
  std::vector<std::string> choices = {};
  std::optional<checkpoint::RunLock> lock;
  std::vector<std::filesystem::path> candidates;
};

Prepared prepare(const config::TrainOptions& options,
                 const std::optional<ModelToEvaluate>& evaluated, const comm::MpiSession& mpi) {
  check_ranks(mpi);
  const int n_workers = mpi.size() - 1;
  Prepared prepared{
      .job = evaluated ? prepare_evaluation(options.config, options.sets, n_workers, *evaluated)
                       : prepare_job(options.config, options.sets, n_workers, DataCheck::kRead),
      .lock = {},
      .candidates = {}};
  const RunDirectory directory = run_directory_of(prepared.job.experiment);
  prepared.lock.emplace(directory.root);
  log_into_earlier_log(directory);
  prepared.candidates = resume_candidates(options.resume, directory);
  return prepared;
}

/// What offload and recompute_layers = auto become where the models compute on GPUs; nothing on
/// CPUs.
std::vector<std::string> fit_into_gpus(Job& job, std::span<const worker::WorkerGpus> gpus) {
  GpuMemory memory{.memory_gb = 0, .allowances = {}};
  for (const worker::WorkerGpus& worker : gpus) {
    if (worker::choose_model_device(job.experiment.experiment.device, worker).is_cpu()) return {};
    const double gb = static_cast<double>(worker.memory_bytes) / kGb;
    memory.memory_gb = memory.memory_gb == 0 ? gb : std::min(memory.memory_gb, gb);
  }
  return choose_for_gpus(job, memory);
}

/// Of a data set that was changed the rows are others: what is known of them goes, and what was
/// drawn but not used. Groups that were carried over have all that they need.
void forget_prompts(master::RefillState& state) {
  base::log_warning(base::concat(
      "the data has other rows than before: ", base::counted(state.upcoming.rows.size(), "prompt"),
      " that were drawn and not used are passed over, and the statistics of ",
      base::counted(state.prompts.records().size(), "prompt"), " begin again"));
  state.upcoming = {};
  state.prompts = {};
}

/// Rank 0: makes the run directory, or makes the old one ready to go on after the checkpoint, whose
/// file it returns.
std::optional<MasterFile> open_run_directory(const Job& job, const config::TrainOptions& options,
                                             const ResumePoint& point, checkpoint::RunLock& lock) {
  const std::filesystem::path& checkpoint = point.checkpoint;
  const RunDirectory directory = run_directory_of(job.experiment);
  const std::string config =
      config::resolved_config(job.experiment, algorithm::interface_schemas());
  std::optional<MasterFile> master;
  ConfigChanges changes;
  if (!checkpoint.empty()) {
    checkpoint::CheckpointReader reader(checkpoint);
    master = read_master_file(reader);
    changes = check_same_experiment(checkpoint, master->resolved_config, config, options.accept);
    data::DataOrder order = job.make_order();
    // Throws for other data, before anything is touched.
    order.restore(master->state.order, datasets_with_other_bounds(master->resolved_config, config));
    if (master->state.refill && !(master->state.order == order.state())) {
      forget_prompts(*master->state.refill);  // their rows are others now
    }
    master->state.order = order.state();
  }
  master::MasterState* const state = master ? &master->state : nullptr;
  if (state && checkpoint.parent_path() == directory.checkpoints()) {
    continue_run_directory(directory, point, state->steps_done);
    base::set_log_file(directory.log());
    state->best = restore_best(directory.models(), state->best);
  } else {
    const std::filesystem::path kept = create_run_directory(directory);
    lock.hold(directory.root);
    base::set_log_file(directory.log());
    if (!kept.empty()) base::log_info(base::concat("an earlier run was kept as ", kept.string()));
    if (state) copy_failed_answers({checkpoint.parent_path().parent_path()}, directory);
    if (!state && !kept.empty() && options.resume != "off") copy_failed_answers({kept}, directory);
    if (state) {  // done in another run's directory
      state->evaluated_at = state->exported_at = -1;
      state->best = {};
    }
  }
  for (const config::Problem& warning : job.warnings) {
    base::log_warning(warning.message());
  }
  for (const std::string& change : changes.accepted) {
    base::log_warning(base::concat("accepted after step ", state->steps_done, ": ", change));
  }
  const int64_t steps_done = state ? state->steps_done : 0;
  base::publish_file(directory.config(),
                     base::concat(change_records(directory, steps_done, changes), config));
  base::log_info(base::concat("run directory ", directory.root.string(), ", ",
                              base::counted(job.n_workers, "worker")));
  if (state) {
    base::log_info(
        base::concat("goes on after step ", state->steps_done, " from ", checkpoint.string()));
  }
  return master;
}

std::vector<master::EvaluatedSet> evaluated_sets(const Job& job) {
  std::vector<master::EvaluatedSet> sets;
  for (const config::EvaluationSet& set : job.experiment.evaluation_sets) {
    const size_t place = sets.size();
    sets.push_back(
        {.name = set.name,
         .prefix = set.metric_prefix(),
         .calls = evaluating_calls(job, set),
         .measures = {.k = set.k_values(),
                      .subset = metrics::answer_subset_named(set.options.subset),
                      .tie = metrics::vote_tie_named(set.options.tie),
                      .counts_votes = set.counts_votes(),
                      .has_rewards = !set.options.rewards.empty()},
         .n_in_training = place < job.n_in_training.size() ? job.n_in_training[place] : 0});
  }
  return sets;
}

/// One evaluation, and nothing that belongs to training.
void restrict_to_evaluation(master::DispatcherOptions& options) {
  options.stop = {.begins_no_step = true};
  options.evaluate = {.at_start = true, .sets = std::move(options.evaluate.sets)};
  options.export_models = {};
  options.checkpoint = {};
  options.refill.reset();
}

master::DispatcherOptions dispatcher_options(const Job& job, const RunDirectory& directory,
                                             const comm::NodeMap& nodes) {
  const config::Experiment& experiment = job.experiment;
  master::DispatcherOptions options;
  options.n_workers = job.n_workers;
  options.redistribution = master::pattern_named(experiment.experiment.redistribution);
  options.node_of_worker = nodes.node_of_worker;
  options.stop = {.total_steps = experiment.experiment.total_steps,
                  .total_epochs = experiment.experiment.total_epochs,
                  .total_seconds = experiment.experiment.total_seconds};
  const config::EvaluateConfig& evaluate = experiment.evaluate;
  options.evaluate.frequency = frequency_of(evaluate);
  options.evaluate.at_start = evaluate.at_start;
  options.evaluate.at_end = evaluate.at_end;
  options.evaluate.sets = evaluated_sets(job);
  options.evaluate.stop_at_accuracy = evaluate.stop_at_accuracy;
  if (const std::optional<config::BestMetric> best = config::best_metric_in(evaluate)) {
    options.evaluate.best_metric =
        experiment.find_evaluation_set(best->set)->metric_prefix() + best->metric;
    options.evaluate.best_metric_falls = best->falls();
  }
  options.evaluate.stop_after = evaluate.stop_after;
  const config::ExportConfig& models = experiment.export_;
  options.export_models.frequency = frequency_of(models);
  options.export_models.at_end = models.at_end;
  options.export_models.directory = directory.models().string();
  const config::CheckpointConfig& checkpoint = experiment.checkpoint;
  options.checkpoint.frequency = frequency_of(checkpoint);
  options.checkpoint.at_end = options.checkpoint.frequency.is_ever();
  options.checkpoint.directory = directory.checkpoints().string();
  options.residency = residency_of(job);
  options.costs = call_costs(job);
  options.refill = refill_options(job);
  if (job.only_evaluates) restrict_to_evaluation(options);
  return options;
}

/// Whether any worker's published progress has changed since the last time that was asked.
class WorkersProgress {
 public:
  WorkersProgress(std::filesystem::path directory, int n_workers)
      : directory_(std::move(directory)), n_workers_(n_workers) {}

  bool has_any() {
    bool moved = false;
    for (int worker = 0; worker < n_workers_; ++worker) {
      const auto state = worker::read_state(worker::state_file(directory_, worker));
      const uint64_t progress = state ? state->progress : 0;
      const auto [known, is_new] = known_.try_emplace(worker, progress);
      moved |= is_new || known->second != progress;
      known->second = progress;
    }
    return moved;
  }

 private:
  std::filesystem::path directory_;
  int n_workers_;
  std::map<int, uint64_t> known_;
};

void note_instruction_sets(const Start& start) {
  if (compute_on_gpus(start.instruction_sets)) {
    base::log_warning(
        "models compute on GPUs, which this version was shown to do on simulated ones alone "
        "(docs/gpu.md): compare a first run with one of experiment.device = cpu");
  }
  if (!start.master) return;
  const std::filesystem::path& checkpoint = start.point.checkpoint;
  const auto changed = changed_instruction_sets(
      checkpoint::read_manifest(checkpoint).instruction_sets, start.instruction_sets);
  if (changed) base::log_warning(base::concat(checkpoint.filename().string(), " ", *changed));
}

int run_master(const Start& start, const comm::MpiSession& mpi, const comm::NodeMap& nodes) {
  const Job& job = start.job;
  const RunDirectory directory = run_directory_of(job.experiment);
  const auto channel = comm::make_mpi_control_channel(mpi.world(), nodes);
  make_worker_communicator(mpi.world(), nodes, {});  // collective; the master gets none

  note_instruction_sets(start);
  for (const std::string& choice : start.choices) base::log_info(choice);
  TrainingLog training_log(job, directory, start.master ? &*start.master : nullptr,
                           start.instruction_sets);
  BackgroundLog log(training_log);
  TimeLimit limit(end_of_slurm_job(), log, base::wall_seconds);
  WorkersProgress progress(directory.state(), job.n_workers);
  const comm::Activity activity;  // never in a wait: its watchdog only tells that it moves
  const worker::Watchdog watchdog(activity, {.directory = directory.state(),
                                             .worker = worker::kMaster,
                                             .n_workers = job.n_workers,
                                             .host = mpi.host(),
                                             .deadline = {},
                                             .on_stall = {}});
  master::Dispatcher dispatcher(job.graph, job.make_order(),
                                dispatcher_options(job, directory, nodes));
  if (start.master) dispatcher.restore(start.master->state);
  const master::StopReason reason = master::run_steps(
      dispatcher, *channel, limit,
      {.deadline_seconds = job.experiment.experiment.deadline_seconds,
       .stop_requested = [&limit] { return is_stop_requested() || limit.is_near(); },
       .any_progress = [&progress] { return progress.has_any(); }});
  return static_cast<int>(reason == master::StopReason::kStopRequested ? ExitCode::kStoppedOnPurpose
                                                                       : ExitCode::kDone);
}

/// Takes the indices of the data out of `start`: of large files of text they are a table of the
/// rows.
int run_worker(Start& start, const comm::MpiSession& mpi, const comm::NodeMap& nodes,
               c10::Device device) {
  const Job& job = start.job;
  const config::ExperimentSection& section = job.experiment.experiment;
  const RunDirectory directory = run_directory_of(job.experiment);
  const int worker = nodes.worker_of_rank[static_cast<size_t>(mpi.rank())];
  base::set_log_prefix(base::concat("worker ", worker));
  base::set_log_file_of_problems(directory.log());
  stay_near_gpu(device);  // before there are threads that would stay elsewhere
  at::set_num_threads(section.threads_per_rank);

  comm::Activity activity;
  const std::chrono::duration<double> deadline(section.deadline_seconds);
  const auto channel = comm::make_mpi_worker_channel(mpi.world());
  // The watchdog knows whether peers move and ends a stall at the deadline; the communicators'
  // own deadline is the net below it, for a peer that moves for ever and never comes.
  comm::CommunicatorRegistry registry = comm::CommunicatorRegistry::create(
      worker::group_for(
          device, make_worker_communicator(mpi.world(), nodes,
                                           {.deadline = 10 * deadline, .activity = &activity})),
      graph::plan_communicators(graph::replicas_of(job.graph), job.n_workers));
  const worker::Watchdog watchdog(activity, {.directory = directory.state(),
                                             .worker = worker,
                                             .n_workers = job.n_workers,
                                             .host = mpi.host(),
                                             .deadline = deadline,
                                             .on_stall = {}});
  metrics::TraceWriter trace(directory.trace() / base::concat("worker-", worker, ".json"), worker,
                             base::concat("worker ", worker, " on ", mpi.host()));
  std::optional<worker::ModelWorker> model_worker;
  try {
    const worker::GpuName gpu = worker::GpuName::of(device);
    worker::naming_lost_gpu(gpu, mpi.host(), [&] {
      model_worker.emplace(worker::WorkerJob{.experiment = job.experiment,
                                             .graph = job.graph,
                                             .indices = std::move(start.job.indices),
                                             .training = job.training_places(),
                                             .tokenizer = job.tokenizer(),
                                             .run_directory = directory.root,
                                             .host = mpi.host(),
                                             .worker = worker,
                                             .node_of_worker = nodes.node_of_worker,
                                             .n_steps = job.n_steps,
                                             .resume = start.point.checkpoint,
                                             .device = device,
                                             .residency = residency_of(job),
                                             .kept_though_idle = kept_though_idle(job)},
                           registry, &trace);
    });
  } catch (const std::exception& error) {
    worker::serve_error(*channel, error, worker, &activity);
    return static_cast<int>(ExitCode::kCallFailed);
  }
  worker::serve_requests(*channel, *model_worker, worker, &activity);
  channel->drain(std::chrono::seconds(30));
  return static_cast<int>(ExitCode::kDone);
}

/// Runs `work` on rank 0; false on all ranks when it threw, after rank 0 has printed the error and
/// `exit_code` is set. Collective.
template <class Work>
bool on_rank_0(const comm::MpiSession& mpi, int& exit_code, const Work& work) {
  if (mpi.rank() == 0) {
    try {
      work();
    } catch (const std::exception& error) {
      exit_code = static_cast<int>(exit_code_of(error));
      tell(error, exit_code);
    }
  }
  MPI_Bcast(&exit_code, 1, MPI_INT, 0, mpi.world());
  return exit_code == 0;
}

/// All ranks: rank 0 checks, the others learn whether there is something to do, and together they
/// find the checkpoint to go on from. Nothing: rank 0 has printed why, and exit_code says it.
std::optional<Start> agree_to_start(const config::TrainOptions& options,
                                    const std::optional<ModelToEvaluate>& evaluated,
                                    const comm::MpiSession& mpi, const comm::NodeMap& nodes,
                                    int& exit_code) {
  std::optional<Prepared> prepared;
  if (!on_rank_0(mpi, exit_code, [&] { prepared = prepare(options, evaluated, mpi); })) {
    return std::nullopt;
  }
  const std::vector<worker::WorkerGpus> gpus = gpus_of_workers(mpi.world(), nodes);
  std::string bytes;
  if (!on_rank_0(mpi, exit_code, [&] {
        worker::check_gpus(prepared->job.experiment.experiment.device, gpus);
        prepared->choices = fit_into_gpus(prepared->job, gpus);
        bytes = pack_job(prepared->job);
      })) {
    return std::nullopt;
  }
  bytes = broadcast_text(mpi.world(), std::move(bytes));
  Start start;
  start.job = mpi.rank() == 0 ? std::move(prepared->job) : unpack_job(std::move(bytes));
  if (mpi.rank() == 0) {
    start.lock = std::move(prepared->lock);
    start.choices = std::move(prepared->choices);
  }
  try {
    start.point =
        newest_whole_checkpoint(mpi.world(), prepared ? std::move(prepared->candidates)
                                                      : std::vector<std::filesystem::path>{});
  } catch (const Error& error) {  // on all ranks
    exit_code = error.exit_code();
    if (mpi.rank() == 0) tell(error, exit_code);
    return std::nullopt;
  }
  if (!on_rank_0(mpi, exit_code, [&] {
        note_stop_signals();  // from here on a stop leaves a run that can go on
        start.master = open_run_directory(start.job, options, start.point, *start.lock);
      })) {
    return std::nullopt;
  }
  return start;
}

}  // namespace

int run_mpi_job(const config::TrainOptions& options,
                const std::optional<ModelToEvaluate>& evaluated) {
  algorithm::Spawner::start();  // while there is one thread and no MPI
  const comm::MpiSession mpi(nullptr, nullptr);
  if (mpi.rank() > 0) ignore_stop_signals();  // rank 0 decides for all
  try {
    check_rank_versions(mpi);
    int exit_code = 0;
    const comm::NodeMap nodes = comm::map_nodes(mpi.world());
    std::optional<Start> start = agree_to_start(options, evaluated, mpi, nodes, exit_code);
    if (!start) return exit_code;
    const config::ExperimentSection& section = start->job.experiment.experiment;
    const c10::Device device =
        mpi.rank() == 0 ? c10::Device(c10::kCPU)
                        : worker::choose_model_device(section.device, own_gpus(mpi.rank(), nodes));
    start->instruction_sets =
        instruction_sets_of_workers(mpi.world(), nodes, device, worker::amx_of(section));
    if (mpi.rank() == 0) {
      exit_code = run_master(*start, mpi, nodes);
    } else {
      worker::naming_lost_gpu(worker::GpuName::of(device), mpi.host(),
                              [&] { exit_code = run_worker(*start, mpi, nodes, device); });
    }
    MPI_Bcast(&exit_code, 1, MPI_INT, 0, mpi.world());  // every rank says why the job ended
    if (mpi.rank() == 0) base::log_to_file(exit_text(exit_code));
    return exit_code;
  } catch (const Error& error) {
    abort_with(error.what(), error.exit_code());
  } catch (const std::exception& error) {
    abort_with(error.what(), static_cast<int>(exit_code_of(error)));
  }
}

int run_train(std::span<const std::string> arguments) {
  const config::TrainOptions options = config::parse_train_options(arguments);
  if (options.help && options.metrics_markdown) {
    std::cout << metrics::metrics_markdown();
    return 0;
  }
  if (options.help) {
    const config::InterfaceSchemas schemas = algorithm::interface_schemas();
    std::cout << (options.markdown
                      ? config::configuration_markdown(schemas)
                      : base::concat("orrery train CONFIG: trains as CONFIG says, under mpirun\n\n",
                                     config::train_options_help(),
                                     "\nconfiguration keys, with their defaults\n",
                                     config::configuration_help(schemas)));
    return 0;
  }
  return run_mpi_job(options, std::nullopt);
}

}  // namespace orrery::cli
