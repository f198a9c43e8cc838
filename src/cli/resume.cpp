#include "resume.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <string_view>
#include <system_error>

#include "broadcast_text.h"
#include "orrery/base/error.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/directory.h"
#include "orrery/metrics/jsonl_writer.h"
#include "orrery/metrics/tensorboard.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

/// `section.key` -> value, of the text that config::resolved_config() makes.
std::map<std::string, std::string> values_of(const std::string& resolved) {
  std::map<std::string, std::string> values;
  std::string section;
  for (size_t begin = 0; begin < resolved.size();) {
    const size_t end = std::min(resolved.find('\n', begin), resolved.size());
    const std::string line = resolved.substr(begin, end - begin);
    begin = end + 1;
    if (line.empty() || line[0] == '#') continue;
    if (line[0] == '[') {
      section = line.substr(1, line.find(']') - 1);
      continue;
    }
    const size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    const auto trimmed = [](std::string text) {
      text.erase(0, text.find_first_not_of(' '));
      text.erase(text.find_last_not_of(' ') + 1);
      return text;
    };
    values[base::concat(section, ".", trimmed(line.substr(0, equals)))] =
        trimmed(line.substr(equals + 1));
  }
  return values;
}

bool is_any_of(std::string_view text, std::initializer_list<std::string_view> of) {
  return std::find(of.begin(), of.end(), text) != of.end();
}

enum class Change { kFree, kNoted, kRefused };

/// What changing a key means to a run that goes on.
Change meaning_of(const std::string& key) {
  const std::string section = key.substr(0, key.find('.'));
  const std::string name = key.substr(key.rfind('.') + 1);
  if (is_any_of(section, {"layout", "checkpoint", "evaluate", "export"})) return Change::kFree;
  if (section == "experiment") {
    if (is_any_of(name, {"name", "output_dir", "total_seconds", "threads_per_rank",
                         "deadline_seconds", "redistribution"})) {
      return Change::kFree;
    }
    return is_any_of(name, {"total_steps", "total_epochs"}) ? Change::kNoted : Change::kRefused;
  }
  // Its fingerprint says whether it is the same data.
  if (section == "dataset" && name == "path") return Change::kFree;
  if (section == "call" && is_any_of(name, {"layout", "max_tokens_per_micro_batch",
                                            "n_micro_batches", "log_return_value", "concurrency",
                                            "max_failed_share", "max_failed_share_20_steps"})) {
    return Change::kFree;
  }
  // What one does about a verifier that is too slow: it decides about answers to come.
  if (section == "call" && is_any_of(name, {"timeout_seconds", "restarts"})) return Change::kNoted;
  if (section == "model" &&
      is_any_of(name, {"lr", "lr_schedule", "min_lr_ratio", "warmup_steps", "warmup_proportion",
                       "weight_decay", "beta1", "beta2", "adam_eps", "max_grad_norm",
                       "on_nonfinite", "max_skipped_updates"})) {
    return Change::kNoted;
  }
  return Change::kRefused;
}

/// Every rank's faults, as text of rank 0. Collective.
std::string gather_text(MPI_Comm world, const std::string& own) {
  int rank = 0, n_ranks = 1;
  MPI_Comm_rank(world, &rank);
  MPI_Comm_size(world, &n_ranks);
  const int size = static_cast<int>(std::min<size_t>(own.size(), 1 << 20));
  std::vector<int> sizes(static_cast<size_t>(n_ranks)), begins(static_cast<size_t>(n_ranks));
  MPI_Gather(&size, 1, MPI_INT, sizes.data(), 1, MPI_INT, 0, world);
  int total = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    begins[i] = total;
    total += sizes[i];
  }
  std::string all(static_cast<size_t>(rank == 0 ? total : 0), '\0');
  MPI_Gatherv(own.data(), size, MPI_CHAR, all.data(), sizes.data(), begins.data(), MPI_CHAR, 0,
              world);
  return all;
}

}  // namespace

std::vector<fs::path> resume_candidates(const std::string& resume, const RunDirectory& directory) {
  if (resume == "off") return {};
  if (resume == "auto") return checkpoint::list_checkpoints(directory.checkpoints());
  const fs::path path = fs::absolute(resume).lexically_normal();
  if (fs::exists(path / "manifest.json")) return {path};
  for (const fs::path& root : {path / "checkpoints", path}) {
    std::vector<fs::path> found = checkpoint::list_checkpoints(root);
    if (!found.empty()) return found;
  }
  throw ConfigError(base::concat("--resume ", resume),
                    {.expected = "auto, off, a checkpoint, or a run directory with one",
                     .got = fs::exists(path) ? "a folder without a checkpoint" : "no such folder",
                     .advice = "look into RUN/checkpoints"});
}

fs::path newest_whole_checkpoint(MPI_Comm world, std::vector<fs::path> candidates) {
  int rank = 0, n_ranks = 1;
  MPI_Comm_rank(world, &rank);
  MPI_Comm_size(world, &n_ranks);
  std::string names;
  for (const fs::path& candidate : candidates) names += candidate.string() + "\n";
  names = broadcast_text(world, std::move(names));
  size_t n_tried = 0;
  for (size_t begin = 0; begin < names.size(); ++n_tried) {
    const size_t end = names.find('\n', begin);
    const fs::path directory = names.substr(begin, end - begin);
    begin = end + 1;
    std::string faults;
    try {
      const checkpoint::Manifest manifest = checkpoint::read_manifest(directory);
      for (size_t i = static_cast<size_t>(rank); i < manifest.files.size();
           i += static_cast<size_t>(n_ranks)) {
        if (const auto problem = checkpoint::problem_of(directory, manifest.files[i])) {
          faults += *problem + "\n";
        }
      }
    } catch (const CheckpointError& error) {
      if (rank == 0) faults = base::concat(error.what(), "\n");
      // Others saw the same file; a rank that alone cannot read it has a fault of its own.
      if (rank != 0) faults = " ";
    }
    int is_bad = faults.empty() ? 0 : 1;
    MPI_Allreduce(MPI_IN_PLACE, &is_bad, 1, MPI_INT, MPI_MAX, world);
    if (is_bad == 0) return directory;
    const std::string all = gather_text(world, faults);
    if (rank == 0) {
      base::log_warning(base::concat("checkpoint ", directory.filename().string(),
                                     " is damaged and is not used:\n", all));
    }
  }
  if (n_tried == 0) return {};
  throw CheckpointError("no checkpoint of this run is whole",
                        {.expected = "one of the last checkpoints to be as it was written",
                         .got = base::concat(n_tried, " damaged"),
                         .advice = "--resume off begins again; the run so far is kept"});
}

ConfigChanges compare_configs(const std::string& before, const std::string& now) {
  const std::map<std::string, std::string> old_values = values_of(before);
  const std::map<std::string, std::string> new_values = values_of(now);
  ConfigChanges changes;
  const auto compare = [&](const std::string& key, const std::string& was, const std::string& is) {
    if (was == is) return;
    const Change change = meaning_of(key);
    if (change == Change::kFree) return;
    const std::string text = base::concat(key, ": was ", was.empty() ? "not set" : was, ", is ",
                                          is.empty() ? "not set" : is);
    (change == Change::kRefused ? changes.refused : changes.noted).push_back(text);
  };
  const auto value_in = [](const std::map<std::string, std::string>& values,
                           const std::string& key) {
    const auto found = values.find(key);
    return found == values.end() ? std::string() : found->second;
  };
  for (const auto& [key, value] : old_values) compare(key, value, value_in(new_values, key));
  for (const auto& [key, value] : new_values) {
    if (!old_values.contains(key)) compare(key, "", value);
  }
  return changes;
}

void check_same_experiment(const fs::path& checkpoint, const std::string& before,
                           const std::string& now) {
  const ConfigChanges changes = compare_configs(before, now);
  for (const std::string& note : changes.noted) {
    base::log_warning(base::concat("changed since ", checkpoint.filename().string(), ": ", note));
  }
  if (changes.refused.empty()) return;
  throw ConfigError(base::concat("this is not the experiment that ", checkpoint.string(),
                                 " belongs to:\n  ", base::join(changes.refused, "\n  ")),
                    {.expected = "the same values",
                     .got = base::concat(changes.refused.size(), " that change what is trained"),
                     .advice = "set them back; or --resume off to begin again (the run so far is "
                               "kept); or another experiment.name"});
}

void continue_run_directory(const RunDirectory& directory, const fs::path& checkpoint,
                            int64_t step) {
  make_folders(directory);
  checkpoint::remove_partial(directory.checkpoints());
  std::error_code ignored;
  if (checkpoint.parent_path() == directory.checkpoints()) {
    for (const fs::path& other : checkpoint::list_checkpoints(directory.checkpoints())) {
      if (other == checkpoint) break;  // newest first: those before it are damaged
      fs::path aside = other;
      aside += ".damaged";
      fs::remove_all(aside, ignored);
      fs::rename(other, aside, ignored);
    }
  }
  metrics::drop_records_after(directory.metrics(), step);
  metrics::drop_events_after(directory.tensorboard(), step);
  for (const auto& entry : fs::directory_iterator(directory.samples(), ignored)) {
    const std::string name = entry.path().filename().string();  // step-00000040-rank-0.jsonl
    if (name.starts_with("step-") && std::atoll(name.c_str() + 5) > step) {
      fs::remove(entry, ignored);
    }
  }
  const fs::path until = directory.trace() / base::concat("until-step-", step);
  for (const auto& entry : fs::directory_iterator(directory.trace(), ignored)) {
    if (entry.path().extension() != ".json") continue;
    fs::create_directories(until, ignored);
    fs::rename(entry.path(), until / entry.path().filename(), ignored);
  }
}

}  // namespace orrery::cli
