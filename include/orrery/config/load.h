// From a configuration file to an Experiment, with every mistake found. Rank 0 reads the user's
// file; the other ranks read the resolved text that it sends.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "orrery/config/document.h"  // Problem
#include "orrery/config/experiment.h"

namespace orrery::config {

struct LoadResult {
  Experiment experiment;          ///< a key with a problem has its default
  std::vector<Problem> problems;  ///< all mistakes, in order of the checks; empty: usable
  std::vector<Problem> notices;   ///< keys that were written with their old names
};

/// Reads `file`, its includes and the overrides. Never throws for a mistake of the user. Local.
LoadResult load_experiment(const std::filesystem::path& file, std::span<const std::string> sets,
                           const InterfaceSchemas& interfaces);

/// The same from text, such as resolved_config().
LoadResult load_experiment_text(const std::string& text, const std::filesystem::path& file,
                                const InterfaceSchemas& interfaces);

/// `key: text`, at the place where the key was written.
Problem problem_of(const Experiment& experiment, const std::string& key, const std::string& text);

/// For checks that come after the reader's: drops problems from `n_read` on that concern a key
/// among the first `n_read`. Such a key was read as its default, so they only follow from the first
/// fault.
void drop_consequences(std::vector<Problem>& problems, size_t n_read);

/// Throws one ConfigError that lists all problems, if there are any.
void throw_if_problems(const std::vector<Problem>& problems);

/// Every key of the experiment with its value, paths absolute, the options of all calls included;
/// reading it gives the same experiment.
std::string resolved_config(const Experiment& experiment, const InterfaceSchemas& interfaces);

/// The fields of a section by its name in a file: `experiment`, `model.actor`, ...; none for a name
/// that no section has. Of a call those that all calls have.
Schema schema_of_section(std::string_view section);

/// What `orrery train --help` prints about configuration keys.
std::string configuration_help(const InterfaceSchemas& interfaces);

/// docs/configuration.md.
std::string configuration_markdown(const InterfaceSchemas& interfaces);

}  // namespace orrery::config
