// The life of a checkpoint's directory, `checkpoints/step-00000040`:
//
//   step-00000040.partial   files of all ranks are written and synced
//   + manifest.json         size and hash of each
//   step-00000040           renamed: from here on it is a checkpoint
//   latest -> step-00000040 a pointer for people; what is newest is read off the names
//
// A crash at any moment leaves a partial directory, which the next save of that step replaces, or a
// whole checkpoint. Rank 0 makes and publishes; every rank writes and reads its own files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "orrery/checkpoint/manifest.h"

namespace orrery::checkpoint {

/// The step of a folder with the name of a checkpoint or an export, `step-` and a number; nothing
/// of any other, such as `step-00000001-good` or `step-00000004.damaged`.
std::optional<int64_t> step_of(const std::filesystem::path& path);

/// What has such a name in a folder of checkpoints or exports, by step, the oldest first: a link
/// too, also one to nothing. Throws OutputError when the folder cannot be listed.
std::vector<std::filesystem::path> step_folders(const std::filesystem::path& root);

/// Says that an old folder which is a link goes as a link: what it leads to is in a folder that
/// somebody chose, and stays. Nothing of any other.
void warn_of_old_link(const std::filesystem::path& old);

/// Where the files of a checkpoint are written before it is published.
std::filesystem::path partial_directory(const std::filesystem::path& directory);

/// Removes what attempts to write left below `root`: before any rank writes.
void remove_partial(const std::filesystem::path& root);

/// Writes the manifest, renames the directory into place, moves `latest`, and removes all but the
/// newest `keep` checkpoints; of a link to one that was moved only the link. Throws
/// CheckpointError.
void publish(const std::filesystem::path& directory, const Manifest& manifest, int keep);

/// Every directory below `root` that has the name of a checkpoint, or a link to one that was moved,
/// newest first, sound or not; none where there is no `root`. Throws OutputError when it cannot be
/// listed or such a link leads nowhere.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& root);

/// What is wrong with a file of a checkpoint, or nothing: missing, another size, another hash.
/// Reads all of it. Throws OutputError when it is there and cannot be read, which is no damage.
std::optional<std::string> problem_of(const std::filesystem::path& directory,
                                      const FileRecord& record);

/// Re-reads everything: manifest, sizes, hashes, and every number against the hash that was taken
/// before it was written. Returns what is wrong, one line each; empty: all is well.
std::vector<std::string> verify(const std::filesystem::path& directory);

}  // namespace orrery::checkpoint
