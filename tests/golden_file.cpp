#include "golden_file.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <set>
#include <stdexcept>

namespace orrery::golden {

namespace {

using nlohmann::json;

// ORRERY_GOLDEN_SOURCE_DIR comes from CMake: tests/golden of this checkout.
constexpr const char* kCompiledInDirectory = ORRERY_GOLDEN_SOURCE_DIR;

std::filesystem::path directory_of(const char* variable, const std::string& otherwise) {
  const char* chosen = std::getenv(variable);
  return chosen != nullptr && *chosen != '\0' ? chosen : otherwise;
}

void print_summary(const std::string& file, const std::string& section, const Count& count,
                   const std::map<std::string, int>& reasons) {
  std::cout << "golden " << std::filesystem::path(file).filename().string() << ' ' << section
            << ": ran " << count.ran << ", left out " << count.left_out << '\n';
  for (const auto& [reason, n] : reasons) std::cout << "  left out " << n << ": " << reason << '\n';
}

std::string name_of(const json& fields, std::size_t place) {
  if (fields.contains("name")) return fields["name"].get<std::string>();
  return "#" + std::to_string(place);
}

void run_case(const Case& item, const std::function<void(const Case&)>& check) {
  SCOPED_TRACE(item.name + (item.quirk.empty() ? "" : " [quirk " + item.quirk + "]"));
  try {
    check(item);
  } catch (const std::exception& error) {
    ADD_FAILURE() << "the case threw: " << error.what();
  }
}

template <class T, class Convert>
std::vector<T> converted(const json& array, Convert convert) {
  std::vector<T> out;
  out.reserve(array.size());
  for (const json& entry : array) out.push_back(static_cast<T>(convert(entry)));
  return out;
}

}  // namespace

bool Case::expects_error() const {
  const json& expected = expect();
  return expected.is_object() && expected.contains("error");
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
  const json& cases = load(file).at(section);
  Count count;
  std::map<std::string, int> reasons;
  std::set<std::string> names;
  const auto leave_out = [&](const std::string& reason) {
    ++count.left_out;
    ++reasons[reason];
  };
  for (std::size_t place = 0; place < cases.size(); ++place) {
    const json& fields = cases[place];
    Case item{.name = name_of(fields, place), .quirk = {}, .fields = fields};
    names.insert(item.name);
    if (item.has("quirk")) {
      item.quirk = fields["quirk"].get<std::string>();
      const auto found = options.quirks.find(item.quirk);
      if (found == options.quirks.end()) {
        ADD_FAILURE() << file << ' ' << section << ' ' << item.name << ": quirk " << item.quirk
                      << " has no entry in the test's table";
        continue;
      }
      item.choice = found->second.choice;
      if (item.choice == Quirk::kLeftOut) {
        leave_out(item.quirk + ": " + found->second.reason);
        continue;
      }
    }
    if (const auto found = options.left_out.find(item.name); found != options.left_out.end()) {
      leave_out(item.name + ": " + found->second);
      continue;
    }
    if (options.leave_out_if) {
      if (const std::string reason = options.leave_out_if(item); !reason.empty()) {
        leave_out(reason);
        continue;
      }
    }
    ++count.ran;
    run_case(item, check);
  }
  for (const auto& [name, reason] : options.left_out) {
    EXPECT_TRUE(names.contains(name)) << file << ' ' << section << " has no case " << name;
  }
  EXPECT_GT(count.ran + count.left_out, 0) << file << ' ' << section << " is empty";
  print_summary(file, section, count, reasons);
  return count;
}

Count leave_out_section(const std::string& file, const std::string& section,
                        const std::string& reason) {
  const Count count{.ran = 0, .left_out = static_cast<int>(load(file).at(section).size())};
  print_summary(file, section, count, {{reason, count.left_out}});
  return count;
}

int n_failures() {
  const auto* const result = ::testing::UnitTest::GetInstance()->current_test_info()->result();
  int n = 0;
  for (int i = 0; i < result->total_part_count(); ++i) {
    n += result->GetTestPartResult(i).failed() ? 1 : 0;
  }
  return n;
}

double to_double(const json& number) {
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

}  // namespace orrery::golden
