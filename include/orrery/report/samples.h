// The samples of a run directory and which of them a page shows. Local; plain values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::report {

class ScriptText;

/// Where an answer stands in the files of samples/, and what choosing needs to know of it.
struct SamplePlace {
  int64_t step = 0;
  uint64_t record = 0;  ///< hash of data set and record, or of the prompt where there is none
  uint64_t offset = 0;  ///< of its line in the file
  uint32_t length = 0;  ///< of its line, bytes
  uint32_t file = 0;    ///< index into SampleIndex::files
  float reward = 0;     ///< NaN: it has none
};

struct SampleIndex {
  std::vector<std::filesystem::path> files;
  std::vector<SamplePlace> places;    ///< by step; within it by file, then by line
  std::vector<std::string> problems;  ///< damaged lines, the first of them, with file and line
  int64_t n_problems = 0;
};

/// Steps `first` to `last`, both included.
struct StepRange {
  int64_t first = 0;
  int64_t last = INT64_MAX;
};

/// Reads all lines of RUN/samples/step-*.jsonl once. A last line without its end is still being
/// written and left out. No such folder: an empty index. Throws OutputError when a file cannot be
/// read.
SampleIndex index_samples(const std::filesystem::path& run, const StepRange& steps = {});

struct SampleLimits {
  size_t samples = 20'000;
  uint64_t bytes = 40'000'000;  ///< of the lines together
  size_t changed = 50;          ///< records of which the largest changes are shown
};

/// What `choose_samples` does, for people.
std::string choice_text(const SampleLimits& limits);

/// Which answers a page shows, ascending: all where they fit. Else, with equal shares for the
/// steps: of each step the first, last, best and worst one, then others drawn by a hash of their
/// place, so that the choice is the same every time; and all answers of the first and last step of
/// the records whose mean reward changed most. With more steps than a share of four each can be had
/// for, evenly spaced ones, the first and the last among them. Pure.
std::vector<size_t> choose_samples(const std::vector<SamplePlace>& places,
                                   const SampleLimits& limits);

/// One answer as the files have it.
struct Sample {
  int64_t step = 0;
  int64_t id = 0;
  int64_t member = 0;
  std::string prompt = {}, response = {}, answer = {}, finish = {}, failed = {}, dataset = {},
              record = {};
  std::optional<double> reward = {};
  std::vector<std::string> tokens = {};  ///< of the response, where recorded
  std::vector<double> log_probs = {};    ///< of these tokens, natural logarithms, where recorded
};

/// A line of samples/, or nothing, with why in `problem`.
std::optional<Sample> parse_sample(std::string_view line, std::string& problem);

/// The line at a place. Throws OutputError.
std::string read_sample_line(const SampleIndex& index, const SamplePlace& place);

/// Texts longer than this are cut, with a mark that says so.
inline constexpr size_t kMostTextBytes = 20'000;

/// The chosen answers as the page's script reads them.
void write_samples(ScriptText& out, const SampleIndex& index, const std::vector<size_t>& chosen);

}  // namespace orrery::report
