#include "orrery/checkpoint/directory.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <system_error>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/fault.h"
#include "orrery/base/file.h"
#include "orrery/base/log.h"
#include "orrery/base/pointer.h"
#include "orrery/base/text.h"

namespace orrery::checkpoint {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPartial = ".partial";

void check(const std::error_code& error, const fs::path& path, const char* what) {
  if (error) throw CheckpointError(base::concat(path.string(), ": ", what, ": ", error.message()));
}

/// A checkpoint whose name may be gone after a crash is none: it becomes an attempt again.
void sync_or_take_back(const fs::path& directory, const fs::path& partial) {
  try {
    base::sync_folder(directory.parent_path());
  } catch (const OutputError&) {
    std::error_code ignored;  // the first error matters
    fs::rename(directory, partial, ignored);
    throw;
  }
}

/// Throws OutputError for a link to nothing: what it led to may be on a disk that is not mounted.
void check_leads_somewhere(const fs::path& checkpoint) {
  try {
    base::exists(checkpoint);
  } catch (const OutputError& error) {
    throw OutputError(error.what(),
                      {.expected = "a checkpoint, or a link to one",
                       .got = "",
                       .advice = "put back what it leads to, or remove this link to go on from "
                                 "the checkpoint before"});
  }
}

}  // namespace

std::optional<int64_t> step_of(const fs::path& path) {
  constexpr std::string_view kPrefix = "step-";
  const std::string name = path.filename().string();
  if (!name.starts_with(kPrefix)) return std::nullopt;
  int64_t step = 0;
  const char* const begin = name.data() + kPrefix.size();
  const char* const end = name.data() + name.size();
  const auto [last, error] = std::from_chars(begin, end, step);
  if (begin == end || *begin == '-' || last != end || error != std::errc()) return std::nullopt;
  return step;
}

std::vector<fs::path> step_folders(const fs::path& root) {
  std::vector<fs::path> found;
  for (const fs::path& entry : base::list_folder(root)) {
    if (step_of(entry)) found.push_back(entry);
  }
  std::sort(found.begin(), found.end(),
            [](const fs::path& a, const fs::path& b) { return *step_of(a) < *step_of(b); });
  return found;
}

void warn_of_old_link(const fs::path& old) {
  if (!base::is_link(old)) return;
  std::error_code ignored;
  base::log_warning(base::concat(old.string(), " is old and a link: the link is removed, ",
                                 fs::read_symlink(old, ignored).string(), " stays"));
}

namespace {

std::vector<fs::path> newest_first(const fs::path& root) {
  std::vector<fs::path> found = step_folders(root);
  std::reverse(found.begin(), found.end());
  return found;
}

/// What goes wrong here costs space, not safety.
void remove_old(const fs::path& root, int keep) {
  std::error_code ignored;
  const std::vector<fs::path> all = newest_first(root);
  for (size_t i = static_cast<size_t>(keep); i < all.size(); ++i) {
    warn_of_old_link(all[i]);
    // Renamed first: a crash in between leaves an attempt, and no checkpoint that lacks files.
    const fs::path going = partial_directory(all[i]);
    fs::remove_all(going, ignored);
    fs::rename(all[i], going, ignored);
    fs::remove_all(going, ignored);
  }
}

}  // namespace

fs::path partial_directory(const fs::path& directory) {
  fs::path partial = directory;
  partial += kPartial;
  return partial;
}

void remove_partial(const fs::path& root) {
  std::error_code ignored;
  for (const fs::path& entry : base::list_folder(root)) {
    if (entry.extension() == kPartial && step_of(entry.stem())) fs::remove_all(entry, ignored);
  }
}

void publish(const fs::path& directory, const Manifest& manifest, int keep) {
  const fs::path partial = partial_directory(directory);
  std::error_code error;
  try {
    base::fault_point("checkpoint.manifest");
    base::publish_file(partial / "manifest.json", manifest_text(manifest));
    base::fault_point("checkpoint.rename");
    fs::remove_all(directory, error);  // of an attempt that was found damaged
    check(error, directory, "cannot be removed");
    fs::rename(partial, directory, error);
    check(error, directory, "cannot be renamed into place");
    sync_or_take_back(directory, partial);
    base::fault_point("checkpoint.pointer");
    base::point(directory.parent_path() / "latest", directory);
  } catch (const OutputError& failure) {
    throw CheckpointError(failure.what());
  }
  remove_old(directory.parent_path(), keep);
}

std::vector<fs::path> list_checkpoints(const fs::path& root) {
  std::vector<fs::path> found = newest_first(root);
  for (const fs::path& checkpoint : found) check_leads_somewhere(checkpoint);
  return found;
}

std::optional<std::string> problem_of(const fs::path& directory, const FileRecord& record) {
  const fs::path file = directory / record.name;
  if (!base::exists(file)) return base::concat(file.string(), ": No such file or directory");
  if (const uint64_t size = base::file_size(file); size != record.size) {
    return base::concat(file.string(), ": has ", base::counted(size, "byte"), " instead of ",
                        record.size);
  }
  try {
    if (record_of(file).hash == record.hash) return std::nullopt;
    return base::concat(file.string(), ": its bytes are not those that were written (hash)");
  } catch (const CheckpointError& failure) {
    return failure.what();
  }
}

std::vector<std::string> verify(const fs::path& directory) {
  std::vector<std::string> problems;
  try {
    for (const FileRecord& record : read_manifest(directory).files) {
      if (const auto problem = problem_of(directory, record)) {
        problems.push_back(*problem);
      } else if (record.name.ends_with(".h5")) {
        ShardReader(directory / record.name).verify();
      }
    }
  } catch (const Error& failure) {
    problems.emplace_back(failure.what());
  }
  return problems;
}

}  // namespace orrery::checkpoint
