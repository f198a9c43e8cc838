// Reads the golden vectors of tests/golden (inputs and expected outputs recorded from another
// implementation; tests/golden/README.md says what they mean) and walks over the cases of a
// section, so that no case can be forgotten without a line in the test's output saying so.
//
// A case that carries a `quirk` tag records behaviour which this program may choose to change. A
// test states its choices in one table; a tag that the table lacks fails the test.
//
// Where the files are: environment variable ORRERY_GOLDEN_DIR, else tests/golden of the source
// tree. Numbers: see floats() and doubles() for the strings "nan", "inf" and "-inf".
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace orrery::golden {

enum class Quirk {
  kAsReference,  // we do the same: the case is compared like any other
  kOurs,         // we do something else: the test's callback checks that instead (Case::choice)
  kLeftOut,      // the case is not run; the reason is printed
};

struct QuirkChoice {
  Quirk choice = Quirk::kAsReference;
  std::string reason = {};
};

/// Tag (the text of a case's `quirk`) -> what this program does about it.
using QuirkChoices = std::map<std::string, QuirkChoice>;

/// One case. `fields` holds everything the file says about it.
struct Case {
  std::string name;   // its name, or its place in the section ("#3") when it has none
  std::string quirk;  // empty: none
  Quirk choice = Quirk::kAsReference;
  const nlohmann::json& fields;

  const nlohmann::json& operator[](const char* field) const { return fields.at(field); }
  const nlohmann::json& expect() const { return fields.at("expect"); }
  bool has(const char* field) const { return fields.contains(field) && !fields[field].is_null(); }
  bool expects_error() const;
};

struct SectionOptions {
  QuirkChoices quirks = {};
  /// Name of a case -> why it is not run. A name that the section lacks fails the test.
  std::map<std::string, std::string> left_out = {};
  /// Looked at for each case; a non-empty answer leaves the case out and is the reason printed.
  std::function<std::string(const Case&)> leave_out_if = {};
};

struct Count {
  int ran = 0;
  int left_out = 0;
};

/// The folder that holds the files.
std::filesystem::path directory();

/// The folder of the vectors of objectives (tests/golden_objectives, or ORRERY_OBJECTIVES_DIR); a
/// full path to one of its files can stand wherever a file is named.
std::filesystem::path objectives_directory();

/// The parsed file, kept for the life of the process. Throws std::runtime_error naming the path.
const nlohmann::json& load(const std::string& file);

/// Runs `check` on every case of `section` of `file` (e.g. "gae.json", "packed"), each under a
/// SCOPED_TRACE with its name; an exception that leaves `check` is a failure of that case. Prints
/// `golden FILE SECTION: ran N, left out M` and one line for each reason of leaving out.
Count for_each_case(const std::string& file, const std::string& section,
                    const std::function<void(const Case&)>& check,
                    const SectionOptions& options = {});

/// Counts a whole section as left out and prints why: for sections this program has no part for.
Count leave_out_section(const std::string& file, const std::string& section,
                        const std::string& reason);

/// Of the running test so far, those of earlier cases included: a check that stops at its case's
/// first failure compares it with what it was when the case began.
int n_failures();

/// A number, or one of the strings "nan", "inf", "-inf", or a decimal string.
double to_double(const nlohmann::json& number);
int64_t to_int64(const nlohmann::json& number);  // also decimal strings; true and false are 1, 0

/// Flat arrays; floats are read as doubles and then rounded, as the files ask for.
std::vector<double> doubles(const nlohmann::json& array);
std::vector<float> floats(const nlohmann::json& array);
std::vector<int64_t> integers(const nlohmann::json& array);
std::vector<int32_t> int32s(const nlohmann::json& array);
std::vector<uint8_t> bytes(const nlohmann::json& array);

}  // namespace orrery::golden
