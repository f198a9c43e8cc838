// A configuration as text: sections, keys and values with the place where each was written. Knows
// nothing of what the keys mean. (Boost.ProgramOptions reads INI files too, but tells no line and
// has no include; docs/decisions/0200.)
//
//   include = graphs/grpo.cfg      # before the first section; relative to this file
//   [call.actor_gen]
//   n_seqs = 32                    # comments begin with # or ; at a line's start or after a blank
//   answers = "a # b"              ; in quotes # and ; are text, and "" is one quote
//
// A file may say each key once; it overrides what its includes say, and a later include overrides
// an earlier one. A value ends with its line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/config/schema.h"  // Position

namespace orrery::config {

/// A mistake of the user. Line 0: the file as a whole, or `--set`.
struct Problem {
  std::string file;
  int line = 0;
  std::string text;
  std::string key = {};  ///< that it is about, `call.actor_gen.n_seqs`; empty: no single one

  /// `grpo.cfg:12: unknown key ...`
  std::string message() const;
};

struct Entry {
  std::string section;
  std::string key;
  std::string value;
  Position where;
  /// What a relative path in `value` is relative to.
  std::filesystem::path folder;
  /// The key as it was written, if that is an old name of `key` (renamed_keys.h).
  std::string old_name = {};
};

struct SectionStart {
  std::string name;
  Position where;
};

// What a file may ask for is bounded, so that no file takes more time or memory than it is worth.
inline constexpr int kDeepestInclude = 16;                      ///< files inside each other
inline constexpr int kMostFiles = 256;                          ///< includes that are read
inline constexpr uint64_t kMostFileBytes = uint64_t{16} << 20;  ///< of one file
inline constexpr size_t kMostSections = 1000;                   ///< of all files together

class Document {
 public:
  std::vector<SectionStart> sections;  ///< each once, in order of first appearance
  std::vector<Entry> entries;          ///< each key of a section once: the value that counts

  const SectionStart* find_section(std::string_view name) const;
  const Entry* find(std::string_view section, std::string_view key) const;

  /// Keeps the first of a name.
  void add_section(SectionStart section);
  /// Keeps the last of a section and key.
  void put(Entry entry);
  /// All of `over`, which counts more.
  void merge(const Document& over);

 private:
  std::map<std::string, size_t, std::less<>> section_places_;
  std::map<std::string, size_t, std::less<>> entry_places_;  // by section, NUL, key
};

/// Reads a file and its includes. Mistakes are appended to `problems`, all of them; so is what is
/// beyond the bounds above.
Document read_document(const std::filesystem::path& file, std::vector<Problem>& problems);

/// The same from text, as if it stood in `file`.
Document parse_document(const std::string& text, const std::filesystem::path& file,
                        std::vector<Problem>& problems);

/// A value as it must be written to be read back: in quotes where it would lose something.
std::string quoted_if_needed(const std::string& value);

/// Applies overrides `section.key=value`; the key is what follows the last dot before `=`. Their
/// values are taken as they are, without quotes or comments; paths are relative to the working
/// directory.
void apply_sets(Document& document, std::span<const std::string> sets,
                std::vector<Problem>& problems);

}  // namespace orrery::config
