// The log: plain strings to standard error and, once a file is set, to the run's log.txt. The only
// global state of the program. Any thread. (spdlog stays inside log.cpp: its header and the fmt
// that LibTorch ships do not go together in one file.)
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace orrery::base {

void log_info(std::string_view text);
void log_warning(std::string_view text);
void log_error(std::string_view text);

/// To the file alone: what has another way to the screen, such as a line that is rewritten there.
void log_to_file(std::string_view text);

/// Shown in every line, such as `worker 2`; empty: nothing.
void set_log_prefix(const std::string& prefix);

/// Also appends to this file from now on. When a line cannot be written there (disk full) one
/// warning goes to standard error and the job goes on. Throws OutputError when it cannot be opened.
void set_log_file(const std::filesystem::path& file);

/// The same for warnings and errors only, and only once the first comes: most workers have none,
/// and a thousand of them need not open one file. A file that cannot be opened then is left out,
/// with a warning.
void set_log_file_of_problems(const std::filesystem::path& file);

}  // namespace orrery::base
