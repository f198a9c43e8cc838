// A struct's field list without its type, for code that must handle structs it does not know: the
// options of an interface are checked and documented by it before the interface exists.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/config/field.h"

namespace orrery::config {

/// Where a value was written. Line 0: not in a file (`--set`).
struct Position {
  std::string file;
  int line = 0;
};

/// A key of a call that its interface understands.
struct Option {
  std::string name;
  std::string value;
  Position where;
};

struct FieldInfo {
  std::string name;
  std::string type;
  std::string default_text;
  std::string help;
  Check check;
  Resume on_resume = Resume::kRefused;
  /// Why this text is not a value of the field, or nothing.
  std::function<std::optional<std::string>(const std::string& text)> problem;
  /// The text that value_text gives for the value of `text`, which has no problem: 6e-1 is 0.6.
  std::function<std::string(const std::string& text)> canonical;
};

using Schema = std::vector<FieldInfo>;
/// Interface name -> the options that it takes in its `[call.X]`.
using InterfaceSchemas = std::map<std::string, Schema>;

template <class T>
struct SchemaVisitor {
  Schema schema;

  template <class Value, class Owner>  // T or a base of it
  void operator()(Value Owner::*member, const char* name, const char* help, Check check = {}) {
    auto problem = [check, name](const std::string& text) -> std::optional<std::string> {
      Value ignored{};
      return read_field(name, text, check, ignored);
    };
    auto canonical = [](const std::string& text) {
      Value value{};
      read_value(text, value);
      return value_text(value);
    };
    schema.push_back({name, std::string(type_name<Value>()), value_text(T{}.*member), help, check,
                      check.resume.value_or(resume_of_others()), std::move(problem),
                      std::move(canonical)});
  }

  static constexpr Resume resume_of_others() {
    if constexpr (requires { T::kOnResume; }) return T::kOnResume;
    return Resume::kRefused;
  }
};

/// The field list of T.
template <class T>
Schema schema_of() {
  SchemaVisitor<T> visitor;
  T::visit_fields(visitor);
  return std::move(visitor.schema);
}

template <class T>
struct OptionSetter {
  T& target;
  const std::string& name;
  const std::string& text;
  bool found = false;
  std::optional<std::string> problem = {};

  template <class Value, class Owner>  // T or a base of it
  void operator()(Value Owner::*member, const char* field, const char*, const Check& check = {}) {
    if (name != field) return;
    found = true;
    problem = read_field(name, text, check, target.*member);
  }
};

/// The options as T, members that are not named keep their defaults. Throws ConfigError for an
/// unknown name or a value that is not allowed; load_experiment has checked both before.
template <class T>
T parse_options(const std::vector<Option>& options) {
  T result;
  for (const Option& option : options) {
    OptionSetter<T> setter{result, option.name, option.value};
    T::visit_fields(setter);
    if (!setter.found) {
      throw ConfigError(base::concat(option.where.file, ":", option.where.line, ": unknown option ",
                                     option.name));
    }
    if (setter.problem) {
      throw ConfigError(base::concat(option.where.file, ":", option.where.line, ": ", option.name,
                                     ": ", *setter.problem));
    }
  }
  return result;
}

}  // namespace orrery::config
