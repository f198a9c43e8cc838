// Reads the golden vectors of tests/golden (inputs and expected outputs recorded from another
// implementation; tests/golden/README.md says what they mean) and walks over the cases of a
// section, so that no case and no recorded field can be forgotten without a line in the test's
// output saying so. Any set of vectors of the same schema will do: names of cases mean nothing.
//
// A case that carries a `quirk` tag records behaviour which this program may choose to change. A
// test states its choices in one table. A case whose tag the table lacks is run; where it differs,
// it is left out and printed.
//
// Where the files are: environment variable ORRERY_GOLDEN_DIR, else tests/golden of the source
// tree. Numbers: see floats() and doubles() for the strings "nan", "inf" and "-inf".
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
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

/// Which fields of a section's cases the test has looked at. Any thread.
class FieldsRead {
 public:
  void add(const std::string& field);
  bool contains(const std::string& field) const;

 private:
  mutable std::mutex mutex_;
  std::set<std::string> fields_;
};

/// A JSON object of a case, which remembers what was read of it.
class Fields {
 public:
  Fields(const nlohmann::json& object, std::string prefix, FieldsRead& read)
      : object_(&object), prefix_(std::move(prefix)), read_(&read) {}

  /// Throws nlohmann::json::out_of_range, naming the key, when it is missing.
  const nlohmann::json& at(const std::string& field) const;
  const nlohmann::json& operator[](const std::string& field) const { return at(field); }
  bool contains(const std::string& field) const { return object_->contains(field); }
  /// There and not null.
  bool has(const std::string& field) const;
  /// All of it, whatever it is.
  const nlohmann::json& whole() const;

 private:
  const nlohmann::json* object_;
  std::string prefix_;
  FieldsRead* read_;
};

/// One case.
struct Case {
  std::string name;   // its name, or its place in the section ("#3") when it has none
  std::string quirk;  // empty: none
  Quirk choice = Quirk::kAsReference;
  Fields fields;    // everything the file says about it
  Fields expected;  // its `expect`; an empty object when it has none

  const nlohmann::json& operator[](const std::string& field) const { return fields.at(field); }
  const Fields& expect() const { return expected; }
  bool has(const std::string& field) const { return fields.has(field); }
  /// The field, or `otherwise` when it is missing or null.
  template <class T>
  T value(const std::string& field, T otherwise) const {
    return has(field) ? fields.at(field).get<T>() : otherwise;
  }
};

struct SectionOptions {
  QuirkChoices quirks = {};
  /// Looked at for each case; a non-empty answer leaves the case out and is the reason printed. It
  /// goes by what the case says, never by its name.
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
/// SCOPED_TRACE with its name. An exception that leaves `check` is a failure of that case. A case
/// that expects an error passes when `check` throws an orrery::Error and has not failed before:
/// `check` makes the call and need not look (where the product answers with a list of problems, it
/// calls throw_problem). Prints `golden FILE SECTION: ran N, left out M`, a line for each reason of
/// leaving out, and a line with the fields that no case's check has read. A section that the file
/// lacks is one without cases.
Count for_each_case(const std::string& file, const std::string& section,
                    const std::function<void(const Case&)>& check,
                    const SectionOptions& options = {});

/// Counts a whole section as left out and prints why: for sections this program has no part for.
Count leave_out_section(const std::string& file, const std::string& section,
                        const std::string& reason);

/// Whether the check of the case that runs now has failed already.
bool case_has_failed();

/// Throws a CallError with this text unless it is empty.
void throw_problem(const std::string& problem);

/// A number, or one of the strings "nan", "inf", "-inf", or a decimal string.
double to_double(const nlohmann::json& number);
int64_t to_int64(const nlohmann::json& number);  // also decimal strings; true and false are 1, 0

/// Flat arrays; floats are read as doubles and then rounded, as the files ask for. A single number
/// is an array of one.
std::vector<double> doubles(const nlohmann::json& array);
std::vector<float> floats(const nlohmann::json& array);
std::vector<int64_t> integers(const nlohmann::json& array);
std::vector<int32_t> int32s(const nlohmann::json& array);
std::vector<uint8_t> bytes(const nlohmann::json& array);

/// |got - expected| <= absolute + relative * |expected|; by default what the files ask for.
struct Tolerance {
  double relative = 1e-5;
  double absolute = 1e-6;

  Tolerance times(double factor) const { return {relative * factor, absolute * factor}; }
};

/// Equal within the tolerance. A number that is not finite equals one of its kind (NaN, inf, -inf).
bool is_close(double got, double expected, const Tolerance& tolerance = {});
void expect_close(double got, double expected, const std::string& what,
                  const Tolerance& tolerance = {});
void expect_close(double got, const nlohmann::json& expected, const std::string& what,
                  const Tolerance& tolerance = {});
void expect_close(std::span<const double> got, const nlohmann::json& expected,
                  const std::string& what, const Tolerance& tolerance = {});
void expect_close(std::span<const float> got, const nlohmann::json& expected,
                  const std::string& what, const Tolerance& tolerance = {});

}  // namespace orrery::golden
