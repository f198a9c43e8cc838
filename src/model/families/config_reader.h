// The fields of a config.json, read one by one; what is wrong with them is collected. Private to
// src/model. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "orrery/base/json.h"
#include "orrery/base/text.h"

namespace orrery::model {

/// Reads fields and collects what is wrong with them.
class ConfigReader {
 public:
  explicit ConfigReader(const nlohmann::json& object) : object_(object) {}

  const nlohmann::json* find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  /// Also when it is null, which is not the same as absent.
  bool has(const char* key) const { return object_.contains(key); }

  /// Of GPT-2 and others whose files spell a size in one of two ways.
  int64_t integer(const char* key, const char* other_key, int64_t fallback) {
    return find(key) != nullptr ? integer(key, fallback) : integer(other_key, fallback);
  }

  int64_t integer(const char* key, int64_t fallback) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return fallback;
    if (value->is_number_integer()) return value->get<int64_t>();
    problem(key, "an integer", *value);
    return fallback;
  }

  double number(const char* key, double fallback) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return fallback;
    if (value->is_number()) return value->get<double>();
    problem(key, "a number", *value);
    return fallback;
  }

  bool flag(const char* key, bool fallback) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return fallback;
    if (value->is_boolean()) return value->get<bool>();
    problem(key, "true or false", *value);
    return fallback;
  }

  std::string text(const char* key, const char* fallback) {
    const nlohmann::json* value = find(key);
    if (value == nullptr) return fallback;
    if (value->is_string()) return value->get<std::string>();
    problem(key, "a string", *value);
    return fallback;
  }

  void problem(const std::string& key, const std::string& expected, const nlohmann::json& got) {
    problems_.push_back(base::concat(key, " is ", got.dump(), ", supported is ", expected));
  }

  std::vector<std::string>& problems() { return problems_; }

 private:
  const nlohmann::json& object_;
  std::vector<std::string> problems_;
};

}  // namespace orrery::model
