#include "golden_file.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <stdexcept>

#include "orrery/base/error.h"

namespace orrery::golden {

namespace {

using nlohmann::json;

// ORRERY_GOLDEN_SOURCE_DIR comes from CMake: tests/golden of this checkout.
constexpr const char* kCompiledInDirectory = ORRERY_GOLDEN_SOURCE_DIR;

/// What says nothing that could be compared.
const std::set<std::string> kCommentary = {"name", "note", "quirk", "tag", "expect", "has_ties"};

std::filesystem::path directory_of(const char* variable, const std::string& otherwise) {
  const char* chosen = std::getenv(variable);
  return chosen != nullptr && *chosen != '\0' ? chosen : otherwise;
}

bool is_own(const std::string& file) {
  const std::filesystem::path path = directory() / file;
  return path.parent_path() == kCompiledInDirectory ||
         path.parent_path() == kCompiledInDirectory + std::string("_objectives");
}

/// The section, or no cases.
const json& section_of(const std::string& file, const std::string& section) {
  static const json kNoCases = json::array();
  const json& whole = load(file);
  if (!whole.contains(section)) {
    std::cout << "golden " << file << " has no section " << section << '\n';
    return kNoCases;
  }
  const json& cases = whole.at(section);
  if (!cases.is_array()) throw std::runtime_error(file + ' ' + section + " is not a list of cases");
  return cases;
}

std::string name_of(const json& fields, std::size_t place) {
  if (!fields.contains("name")) return "#" + std::to_string(place);
  return fields.at("name").is_string() ? fields.at("name").get<std::string>()
                                       : fields.at("name").dump();
}

bool is_refused(const json& fields) {
  return fields.contains("expect") && fields.at("expect").is_object() &&
         fields.at("expect").contains("error");
}

/// How the check of one case went.
struct Outcome {
  testing::TestPartResultArray results;
  bool threw_error = false;  ///< of orrery
  std::string thrown;        ///< its text, or that of any other exception

  bool has_failed() const {
    for (int i = 0; i < results.size(); ++i) {
      if (results.GetTestPartResult(i).failed()) return true;
    }
    return false;
  }

  std::string first_failure() const {
    for (int i = 0; i < results.size(); ++i) {
      if (results.GetTestPartResult(i).failed()) return results.GetTestPartResult(i).summary();
    }
    return thrown;
  }

  void report() const {
    for (int i = 0; i < results.size(); ++i) {
      const testing::TestPartResult& one = results.GetTestPartResult(i);
      if (!one.failed()) continue;
      std::string message = one.message();
      if (message.starts_with("Failed\n")) message.erase(0, 7);  // comes back by itself
      ADD_FAILURE_AT(one.file_name() == nullptr ? "?" : one.file_name(), one.line_number())
          << message;
    }
  }
};

Outcome* running = nullptr;

void run_case(const Case& item, bool is_refused_case, const std::function<void(const Case&)>& check,
              Outcome& outcome) {
  running = &outcome;
  testing::ScopedFakeTestPartResultReporter reporter(
      testing::ScopedFakeTestPartResultReporter::INTERCEPT_ALL_THREADS, &outcome.results);
  SCOPED_TRACE(item.name + (item.quirk.empty() ? "" : " [quirk " + item.quirk + "]"));
  bool threw = true;
  try {
    check(item);
    threw = false;
  } catch (const Error& error) {
    outcome.threw_error = true;
    outcome.thrown = error.what();
  } catch (const std::exception& error) {
    outcome.thrown = error.what();
  }
  if (is_refused_case) {
    if (!outcome.threw_error) {
      ADD_FAILURE() << (threw ? "an orrery::Error is expected; what came: "
                              : "the call was accepted, and an error is expected")
                    << outcome.thrown;
    }
  } else if (threw) {
    ADD_FAILURE() << "the case threw: " << outcome.thrown;
  }
  running = nullptr;
}

std::string first_lines(const std::string& text) {
  std::string line = text.substr(0, text.find("\nGoogle Test trace"));
  for (char& c : line) c = c == '\n' ? ' ' : c;
  return line.substr(0, 200);
}

/// The walk over one section.
class Walk {
 public:
  Walk(std::string file, std::string section, const SectionOptions& options)
      : file_(std::move(file)), section_(std::move(section)), options_(options) {}

  void run(const json& fields, std::size_t place, const std::function<void(const Case&)>& check) {
    static const json kNothing = json::object();
    const json& expected = fields.contains("expect") ? fields.at("expect") : kNothing;
    Case item{.name = name_of(fields, place),
              .quirk = {},
              .fields = {fields, "", read_},
              .expected = {expected, "expect.", read_}};
    bool is_known = true;
    if (fields.contains("quirk") && fields.at("quirk").is_string()) {
      item.quirk = fields.at("quirk").get<std::string>();
      const auto found = options_.quirks.find(item.quirk);
      is_known = found != options_.quirks.end();
      if (is_known) item.choice = found->second.choice;
      if (item.choice == Quirk::kLeftOut) {
        return leave_out(item.quirk + ": " + found->second.reason);
      }
    }
    if (const std::string reason = why_left_out(item); !reason.empty()) return leave_out(reason);

    const bool refused = is_refused(fields) && item.choice != Quirk::kOurs;
    Outcome outcome;
    run_case(item, refused, check, outcome);
    if (!is_known && outcome.has_failed()) {
      return leave_out("the tag " + item.quirk + " is not in the test's table, and case " +
                       item.name + " differs: " + first_lines(outcome.first_failure()));
    }
    ++count_.ran;
    outcome.report();
    if (!refused) note_fields(fields, expected);
  }

  Count finish() {
    // A set that is given may lack cases of a section; the one in this repository does not.
    EXPECT_TRUE(count_.ran + count_.left_out > 0 || !is_own(file_))
        << file_ << ' ' << section_ << " has no case";
    std::string unread;
    for (const auto& [field, n] : seen_) {
      if (read_.contains(field)) continue;
      unread += (unread.empty() ? "" : ", ") + field + " (" + std::to_string(n) + ")";
    }
    std::cout << "golden " << std::filesystem::path(file_).filename().string() << ' ' << section_
              << ": ran " << count_.ran << ", left out " << count_.left_out << '\n';
    for (const auto& [reason, n] : reasons_) {
      std::cout << "  left out " << n << ": " << reason << '\n';
    }
    if (!unread.empty()) std::cout << "  not compared (cases): " << unread << '\n';
    return count_;
  }

  void leave_out(const std::string& reason) {
    ++count_.left_out;
    ++reasons_[reason];
  }

 private:
  std::string why_left_out(const Case& item) const {
    if (!options_.leave_out_if) return "";
    try {
      return options_.leave_out_if(item);
    } catch (const std::exception& error) {
      ADD_FAILURE() << item.name << ": " << error.what();
      return std::string("a field is missing: ") + error.what();
    }
  }

  void note_fields(const json& fields, const json& expected) {
    for (const auto& [field, value] : fields.items()) {
      if (!kCommentary.contains(field)) ++seen_[field];
    }
    if (!expected.is_object()) return;
    for (const auto& [field, value] : expected.items()) ++seen_["expect." + field];
  }

  std::string file_, section_;
  const SectionOptions& options_;
  Count count_;
  std::map<std::string, int> reasons_;
  std::map<std::string, int> seen_;  // field -> cases that have it
  FieldsRead read_;
};

template <class T, class Convert>
std::vector<T> converted(const json& array, Convert convert) {
  if (!array.is_array()) return {static_cast<T>(convert(array))};
  std::vector<T> out;
  out.reserve(array.size());
  for (const json& entry : array) out.push_back(static_cast<T>(convert(entry)));
  return out;
}

template <class T>
void expect_all_close(std::span<const T> got, const json& expected, const std::string& what,
                      const Tolerance& tolerance) {
  const std::vector<double> numbers = doubles(expected);
  ASSERT_EQ(got.size(), numbers.size()) << what;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    expect_close(static_cast<double>(got[i]), numbers[i], what + " at " + std::to_string(i),
                 tolerance);
  }
}

}  // namespace

void FieldsRead::add(const std::string& field) {
  const std::lock_guard lock(mutex_);
  fields_.insert(field);
}

bool FieldsRead::contains(const std::string& field) const {
  const std::lock_guard lock(mutex_);
  return fields_.contains(field) || (field.starts_with("expect.") && fields_.contains("expect.*"));
}

const json& Fields::at(const std::string& field) const {
  read_->add(prefix_ + field);
  if (prefix_ == "expect." && !contains(field) && contains("error")) {
    throw std::runtime_error("the call was accepted, and an error is expected");
  }
  return object_->at(field);
}

bool Fields::has(const std::string& field) const {
  return object_->contains(field) && !object_->at(field).is_null();
}

const json& Fields::whole() const {
  read_->add(prefix_ + "*");
  return *object_;
}

std::filesystem::path directory() {
  return directory_of("ORRERY_GOLDEN_DIR", kCompiledInDirectory);
}

std::filesystem::path objectives_directory() {
  return directory_of("ORRERY_OBJECTIVES_DIR", kCompiledInDirectory + std::string("_objectives"));
}

const json& load(const std::string& file) {
  static std::map<std::string, std::unique_ptr<json>> loaded;
  std::unique_ptr<json>& entry = loaded[file];
  if (entry == nullptr) {
    const std::filesystem::path path = directory() / file;
    std::ifstream in(path);
    if (!in) throw std::runtime_error("cannot read golden vectors " + path.string());
    entry = std::make_unique<json>(json::parse(in));
  }
  return *entry;
}

Count for_each_case(const std::string& file, const std::string& section,
                    const std::function<void(const Case&)>& check, const SectionOptions& options) {
  const json& cases = section_of(file, section);
  Walk walk(file, section, options);
  for (std::size_t place = 0; place < cases.size(); ++place) walk.run(cases[place], place, check);
  return walk.finish();
}

Count leave_out_section(const std::string& file, const std::string& section,
                        const std::string& reason) {
  const SectionOptions options;
  const json& cases = section_of(file, section);
  Walk walk(file, section, options);
  for (std::size_t place = 0; place < cases.size(); ++place) walk.leave_out(reason);
  return walk.finish();
}

bool case_has_failed() { return running != nullptr && running->has_failed(); }

void throw_problem(const std::string& problem) {
  if (!problem.empty()) throw CallError(problem, {.expected = {}, .got = {}, .advice = {}});
}

double to_double(const json& number) {
  if (number.is_boolean()) return number.get<bool>() ? 1 : 0;
  if (!number.is_string()) return number.get<double>();
  const std::string text = number.get<std::string>();
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  return std::stod(text);
}

int64_t to_int64(const json& number) {
  if (number.is_boolean()) return number.get<bool>() ? 1 : 0;
  if (number.is_string()) return std::stoll(number.get<std::string>());
  return number.get<int64_t>();
}

std::vector<double> doubles(const json& array) { return converted<double>(array, to_double); }
std::vector<float> floats(const json& array) { return converted<float>(array, to_double); }
std::vector<int64_t> integers(const json& array) { return converted<int64_t>(array, to_int64); }
std::vector<int32_t> int32s(const json& array) { return converted<int32_t>(array, to_int64); }
std::vector<uint8_t> bytes(const json& array) { return converted<uint8_t>(array, to_int64); }

bool is_close(double got, double expected, const Tolerance& tolerance) {
  if (std::isnan(expected)) return std::isnan(got);
  if (std::isinf(expected)) return got == expected;
  return std::abs(got - expected) <= tolerance.absolute + tolerance.relative * std::abs(expected);
}

void expect_close(double got, double expected, const std::string& what,
                  const Tolerance& tolerance) {
  EXPECT_TRUE(is_close(got, expected, tolerance))
      << what << ": expected " << expected << ", got " << got << ", the difference is "
      << std::abs(got - expected);
}

void expect_close(double got, const json& expected, const std::string& what,
                  const Tolerance& tolerance) {
  expect_close(got, to_double(expected), what, tolerance);
}

void expect_close(std::span<const double> got, const json& expected, const std::string& what,
                  const Tolerance& tolerance) {
  expect_all_close(got, expected, what, tolerance);
}

void expect_close(std::span<const float> got, const json& expected, const std::string& what,
                  const Tolerance& tolerance) {
  expect_all_close(got, expected, what, tolerance);
}

}  // namespace orrery::golden
