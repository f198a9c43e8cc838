#include "orrery/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/terminal.h"
#include "orrery/base/text.h"

namespace orrery::base {

namespace {

struct Log {
  std::shared_ptr<spdlog::sinks::stderr_sink_mt> console =
      std::make_shared<spdlog::sinks::stderr_sink_mt>();
  spdlog::logger logger{"orrery", console};
  std::shared_ptr<spdlog::sinks::basic_file_sink_mt> file;
  std::filesystem::path file_of_problems;  // not opened yet
  std::mutex mutex;                        // all but the console
  std::string prefix;

  Log() {
    // A progress line that is rewritten may stand there, of this process or another one: it is not
    // torn but erased, and its writer shows it again.
    logger.set_pattern(concat(is_seen_on_terminal() ? "\r\x1b[K" : "", "%H:%M:%S %^%l%$ %v"));
    logger.flush_on(spdlog::level::info);
    logger.set_error_handler([this](const std::string& problem) {
      static std::atomic<bool> told = false;
      if (told.exchange(true)) return;
      std::fprintf(stderr,
                   "orrery: warning: the log file cannot be written (%s): later lines are "
                   "on standard error only; the job goes on\n",
                   problem.c_str());
    });
  }
};

Log& log() {
  static Log instance;
  return instance;
}

/// With the mutex held. Throws OutputError.
void open_file(Log& out, const std::filesystem::path& file) {
  try {
    out.file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file.string());
    out.file->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
    out.logger.sinks() = {out.console, out.file};
  } catch (const spdlog::spdlog_ex& error) {
    throw OutputError(concat("log file ", file.string(), ": ", error.what()));
  }
}

void write(spdlog::level::level_enum level, std::string_view text) {
  Log& out = log();
  std::scoped_lock lock(out.mutex);
  if (level >= spdlog::level::warn && !out.file_of_problems.empty()) {
    try {
      open_file(out, std::exchange(out.file_of_problems, {}));
      out.file->set_level(spdlog::level::warn);
    } catch (const OutputError& error) {
      out.logger.log(spdlog::level::warn, "{}", error.what());
    }
  }
  const std::string line = out.prefix.empty() ? std::string(text) : concat(out.prefix, ": ", text);
  out.logger.log(level, "{}", line);
}

}  // namespace

void log_info(std::string_view text) { write(spdlog::level::info, text); }
void log_warning(std::string_view text) { write(spdlog::level::warn, text); }
void log_error(std::string_view text) { write(spdlog::level::err, text); }

void log_to_file(std::string_view text) {
  Log& out = log();
  std::scoped_lock lock(out.mutex);
  if (out.file == nullptr) return;
  out.console->set_level(spdlog::level::off);
  out.logger.log(spdlog::level::info, "{}", std::string(text));
  out.console->set_level(spdlog::level::trace);
}

void set_log_prefix(const std::string& prefix) {
  Log& out = log();
  std::scoped_lock lock(out.mutex);
  out.prefix = prefix;
}

void set_log_file(const std::filesystem::path& file) {
  Log& out = log();
  std::scoped_lock lock(out.mutex);
  open_file(out, file);
}

void set_log_file_of_problems(const std::filesystem::path& file) {
  Log& out = log();
  std::scoped_lock lock(out.mutex);
  out.file_of_problems = file;
}

}  // namespace orrery::base
