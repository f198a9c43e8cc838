#include "resume.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <system_error>

#include "broadcast_text.h"
#include "gather_texts.h"
#include "model_exports.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/log.h"
#include "orrery/base/pointer.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/directory.h"
#include "orrery/metrics/jsonl_writer.h"
#include "orrery/metrics/tensorboard.h"
#include "resume_rules.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

/// Whether two paths are one folder, however they are written.
bool are_same(const fs::path& a, const fs::path& b) {
  return base::exists(a) && base::exists(b) && fs::equivalent(a, b);
}

[[noreturn]] void refuse(const std::string& resume, const std::string& got) {
  throw ConfigError(base::concat("--resume ", resume),
                    {.expected = "auto, off, a checkpoint, or a run directory with one",
                     .got = got,
                     .advice = "look into RUN/checkpoints"});
}

/// Checkpoints that `path` (links followed) means, newest first: itself, or those of a run.
std::vector<fs::path> checkpoints_at(const fs::path& path, const std::string& resume) {
  if (!base::is_folder(path)) refuse(resume, "a file");
  if (base::exists(path / "manifest.json")) return {path};
  for (const fs::path& root : {path / "checkpoints", path}) {
    std::vector<fs::path> found = checkpoint::list_checkpoints(root);
    if (!found.empty()) return found;
  }
  refuse(resume, "a folder without a checkpoint");
}

/// What a rank knows of a checkpoint. Damage that one has found is damage, whatever others could
/// not read.
enum class State : int { kWhole, kUnreadable, kDamaged };

struct Finding {
  State state = State::kWhole;
  std::string text = {};
};

/// What is wrong with `file` of a checkpoint. Rank 0 decides what is missing: where another rank
/// does not see what rank 0 sees, its machine lacks the file system or shows an older state of it.
Finding fault_of(const fs::path& file, int rank, const std::string& text) {
  const bool is_missing_here = rank != 0 && !base::exists(file);
  return {is_missing_here ? State::kUnreadable : State::kDamaged,
          base::concat("rank ", rank, ": ", text, "\n")};
}

/// The part of one rank: each reads some of the files. Throws what keeps it from reading them.
Finding read_part(const fs::path& directory, int rank, int n_ranks) {
  checkpoint::Manifest manifest;
  try {
    manifest = checkpoint::read_manifest(directory);
  } catch (const CheckpointError& error) {
    return fault_of(directory / "manifest.json", rank, error.what());
  }
  Finding all;
  for (size_t i = 0; i < manifest.files.size(); ++i) {
    const fs::path file = directory / manifest.files[i].name;
    std::optional<std::string> problem;
    if (static_cast<int>(i % static_cast<size_t>(n_ranks)) == rank) {
      problem = checkpoint::problem_of(directory, manifest.files[i]);
    } else if (rank == 0 && !base::exists(file)) {
      problem = file.string() + ": No such file or directory";
    }
    if (!problem) continue;
    const Finding fault = fault_of(file, rank, *problem);
    all.state = std::max(all.state, fault.state);
    all.text += fault.text;
  }
  return all;
}

Finding look_at_part(const fs::path& directory, int rank, int n_ranks) {
  try {
    return read_part(directory, rank, n_ranks);
  } catch (const std::exception& error) {
    return {State::kUnreadable, base::concat("rank ", rank, ": ", error.what(), "\n")};
  }
}

/// Moves a checkpoint out of the list of checkpoints; it is not lost.
fs::path put_aside(const fs::path& checkpoint, std::string_view suffix) {
  const fs::path aside = base::free_name(checkpoint, suffix);
  std::error_code error;
  fs::rename(checkpoint, aside, error);
  if (!error) return aside;
  throw OutputError(base::concat(checkpoint.string(), ": cannot be renamed to ",
                                 aside.filename().string(), ": ", error.message()));
}

/// Exported models of steps after `step` are no part of a run that an older checkpoint goes on
/// with.
void put_newer_exports_aside(const RunDirectory& directory, int64_t step) {
  const std::vector<fs::path> all = checkpoint::step_folders(directory.models());
  const auto newer = std::partition_point(all.begin(), all.end(), [&](const fs::path& exported) {
    return *checkpoint::step_of(exported) <= step;
  });
  if (newer == all.end()) return;
  for (auto exported = newer; exported != all.end(); ++exported) {
    const fs::path aside = put_aside(*exported, ".abandoned");
    base::log_warning(base::concat("model ", exported->filename().string(), " is kept as ",
                                   aside.filename().string(), ": the run goes on after step ",
                                   step));
  }
  const fs::path latest = directory.models() / "latest";
  if (newer == all.begin()) return base::remove_pointer(latest);
  base::point(latest, *std::prev(newer));
}

/// Checkpoints newer than the one that is used are no part of the run that goes on, nor are its
/// models where one of them was whole.
void put_newer_aside(const RunDirectory& directory, const ResumePoint& point, int64_t step) {
  const auto is_damaged = [&](const fs::path& path) {
    return std::find(point.damaged.begin(), point.damaged.end(), path) != point.damaged.end();
  };
  std::vector<fs::path> newer = checkpoint::list_checkpoints(directory.checkpoints());
  newer.erase(std::find(newer.begin(), newer.end(), point.checkpoint), newer.end());
  if (newer.empty()) return;
  // First: while a newer checkpoint is there, a job that is killed here is seen to be unfinished.
  if (!std::all_of(newer.begin(), newer.end(), is_damaged))
    put_newer_exports_aside(directory, step);
  for (const fs::path& other : newer) {
    const fs::path aside = put_aside(other, is_damaged(other) ? ".damaged" : ".abandoned");
    base::log_warning(base::concat(
        "checkpoint ", other.filename().string(), " is kept as ", aside.filename().string(), ": ",
        is_damaged(other) ? "it is damaged" : base::concat("the run goes on after step ", step)));
  }
  base::point(directory.checkpoints() / "latest", point.checkpoint);
}

/// The traces so far move to a folder of their own: each attempt has a timeline.
void keep_traces(const RunDirectory& directory, int64_t step) {
  fs::path until;
  for (const fs::path& file : base::list_folder(directory.trace())) {
    if (file.extension() != ".json") continue;
    metrics::remove_torn_line(file);
    if (until.empty()) {
      until = base::free_name(directory.trace() / base::concat("until-step-", step), "");
      fs::create_directories(until);
    }
    fs::rename(file, until / file.filename());
  }
}

/// Of a folder of files such as step-00000040-rank-0.jsonl.
void drop_answers_after(const fs::path& folder, int64_t step) {
  for (const fs::path& file : base::list_folder(folder)) {
    const std::string name = file.filename().string();
    if (!name.starts_with("step-") || file.extension() != ".jsonl") continue;
    if (std::atoll(name.c_str() + 5) > step) {
      fs::remove(file);
    } else {
      metrics::remove_torn_line(file);
    }
  }
}

}  // namespace

std::vector<fs::path> resume_candidates(const std::string& resume, const RunDirectory& directory) {
  if (resume == "off") return {};
  std::vector<fs::path> own = checkpoint::list_checkpoints(directory.checkpoints());
  if (resume == "auto") return own;
  if (!base::exists(resume)) refuse(resume, "no such folder");
  const fs::path path = fs::canonical(resume);
  std::vector<fs::path> named = checkpoints_at(path, resume);
  bool all_own = true;
  for (fs::path& checkpoint : named) {  // by the run's own name for it
    const auto same = std::find_if(
        own.begin(), own.end(), [&](const fs::path& other) { return are_same(other, checkpoint); });
    all_own = all_own && same != own.end();
    if (same != own.end()) checkpoint = *same;
  }
  if (all_own) return named;
  for (const fs::path& one : {base::without_slash(resume), named.front()}) {
    if (!are_same(fs::absolute(one).parent_path(), directory.checkpoints())) continue;
    refuse(resume, base::concat(one.filename().string(),
                                ", which was put aside: give it its name step-NUMBER back"));
  }
  if (own.empty()) return named;
  base::log_info(
      base::concat("this run has checkpoints of its own and goes on from them; --resume ", resume,
                   " is where it began"));
  return own;
}

ResumePoint newest_whole_checkpoint(MPI_Comm world, std::vector<fs::path> candidates) {
  int rank = 0, n_ranks = 1;
  MPI_Comm_rank(world, &rank);
  MPI_Comm_size(world, &n_ranks);
  std::string names;
  for (const fs::path& candidate : candidates) names += candidate.string() + "\n";
  names = broadcast_text(world, std::move(names));
  ResumePoint point;
  for (size_t begin = 0; begin < names.size();) {
    const size_t end = names.find('\n', begin);
    const fs::path directory = names.substr(begin, end - begin);
    begin = end + 1;
    const Finding own = look_at_part(directory, rank, n_ranks);
    int finding = static_cast<int>(own.state);
    MPI_Allreduce(MPI_IN_PLACE, &finding, 1, MPI_INT, MPI_MAX, world);
    if (finding == static_cast<int>(State::kWhole)) {
      point.checkpoint = directory;
      return point;
    }
    // Of ranks that found damage none tells what it merely could not read.
    const std::string all =
        base::join(gather_texts(world, static_cast<int>(own.state) == finding ? own.text : ""), "");
    if (finding == static_cast<int>(State::kUnreadable)) {
      throw OutputError(base::concat("checkpoint ", directory.string(),
                                     " cannot be read, so nothing is known of it:\n", all),
                        {.expected = "a checkpoint that every rank can read",
                         .got = "",
                         .advice = "mend what keeps it from being read, or move it away to go on "
                                   "from the one before"});
    }
    point.damaged.push_back(directory);
    if (rank == 0) {
      base::log_warning(base::concat("checkpoint ", directory.filename().string(),
                                     " is damaged and is not used:\n", all));
    }
  }
  if (point.damaged.empty()) return {};
  throw CheckpointError("no checkpoint of this run is whole",
                        {.expected = "one of the last checkpoints to be as it was written",
                         .got = base::concat(point.damaged.size(), " damaged"),
                         .advice = "--resume off begins again; the run so far is kept"});
}

ConfigChanges check_same_experiment(const fs::path& checkpoint, const std::string& before,
                                    const std::string& now,
                                    const std::vector<std::string>& accept) {
  constexpr size_t kShown = 5;
  ConfigChanges changes = compare_configs(before, now, algorithm::interface_schemas(), accept);
  for (const std::string& note : changes.noted) {
    base::log_warning(base::concat("changed since ", checkpoint.filename().string(), ": ", note));
  }
  std::vector<std::string> differing = changes.never;
  differing.insert(differing.end(), changes.refused.begin(), changes.refused.end());
  if (differing.empty()) return changes;
  const std::string got =
      base::counted(static_cast<int64_t>(differing.size()), "key differs", "keys differ");
  const size_t n_left = differing.size() - std::min(differing.size(), kShown);
  differing.resize(differing.size() - n_left);
  if (n_left > 0) differing.push_back(base::concat("and ", n_left, " more"));
  throw ConfigError(base::concat("this is not the experiment that ", checkpoint.string(),
                                 " belongs to:\n  ", base::join(differing, "\n  ")),
                    {.expected = "the same experiment",
                     .got = got,
                     .advice = base::concat(
                         "set another experiment.name; or --resume off to begin again (the run "
                         "so far is kept)",
                         changes.never.empty() ? "; or set them back, or allow each change by "
                                                 "--accept KEY[,KEY...]"
                                               : "")});
}

void continue_run_directory(const RunDirectory& directory, const ResumePoint& point, int64_t step) {
  make_folders(directory);
  checkpoint::remove_partial(directory.checkpoints());
  put_newer_aside(directory, point, step);
  metrics::drop_records_after(directory.metrics(), step);
  metrics::drop_events_after(directory.tensorboard(), step);
  base::end_last_line(directory.log());
  drop_answers_after(directory.samples(), step);
  for (const fs::path& set : base::list_folder(directory.evaluations())) {
    if (base::is_folder(set)) drop_answers_after(set, step);
  }
  keep_traces(directory, step);
  for (const fs::path& file : base::list_folder(directory.failed_answers())) {
    metrics::remove_torn_line(file);
  }
}

}  // namespace orrery::cli
