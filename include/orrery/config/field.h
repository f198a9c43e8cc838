// What a configuration struct says about each of its members, once: name, unit and meaning, and
// what values are allowed, and what another value means to a resumed run. Type and default come
// from the member itself. Parser, `--set`, help, documentation, the resolved file, validation and
// the comparison with a checkpoint are visitors of these lists.
//
//   template <class Visitor>
//   static void visit_fields(Visitor& field) {
//     field(&OptimizerConfig::lr, "lr", "peak learning rate",
//           in_range(0, 1).on_resume(Resume::kNoted));
//   }
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace orrery::config {

/// `key`, or `interface_key:graph_key` where an interface's name for a key differs from the
/// graph's.
struct KeyBinding {
  std::string interface_key;
  std::string graph_key;
  bool operator==(const KeyBinding&) const = default;
};

/// The binding of an interface's key; null: it has none.
const KeyBinding* find_binding(const std::vector<KeyBinding>& bindings,
                               std::string_view interface_key);

/// What a change of a key means to a run that goes on from a checkpoint.
enum class Resume {
  kFree,     ///< where and how the run computes; what it computes stays
  kNoted,    ///< how training goes on: as asked for, said in the log
  kRefused,  ///< what is trained: refused, unless --accept names the key
  kNever,    ///< another experiment: model, tokenizer, seed, order of the data, graph
};

/// Which values of a field are allowed. An empty text: all of its type.
struct Check {
  std::string text;  ///< as help shows it: `0 to 1`, `one of a, b`
  /// Why this text is not allowed, or nothing. It can be read as the field's type.
  std::function<std::optional<std::string>(const std::string& value)> problem;
  /// The value is the path of something that is read: relative to the file that states it.
  bool is_input_path = false;
  /// The path is followed by :NAME.
  bool is_function = false;
  /// An integer that is no count of anything, such as a seed: of any size.
  bool takes_any_size = false;
  /// Words that stand for themselves where a path is expected.
  std::vector<std::string> words = {};
  /// Nothing: as the struct of the field says in `kOnResume`; where it says nothing, kRefused.
  std::optional<Resume> resume = {};

  Check on_resume(Resume meaning) const;
  bool is_path(const std::string& value) const;
};

Check anything();
/// A natural number that counts nothing: of any size.
Check any_natural();
/// A count from 0 on, or one of these words.
Check count_or(std::vector<std::string> words);
Check in_range(double low, double high);
/// 0 says something else than a number does.
Check zero_or_in_range(double low, double high);
Check at_least(double low);
Check above(double low);
Check one_of(std::vector<std::string> choices);
/// Not empty, no slash, no control character: usable as the name of a folder.
Check folder_name();
/// Text with escapes for what a line of a file cannot hold: \n, \r, \t, and \\ for \ itself.
Check escaped_text();
/// Such a text with its escapes replaced. `text` has passed the check.
std::string unescaped(std::string_view text);
/// A file or folder that is read; empty: none.
Check input_path();
/// FILE.py:NAME, a Python function; empty: none.
Check python_function();
/// One of these words, or a file or folder that is read.
Check input_path_or(std::vector<std::string> words);

// Text of a value and back. The functions named read_value return why `text` is not such a value.
// Numbers read back exactly as they were written.
std::string value_text(const std::string& value);
std::string value_text(int64_t value);
std::string value_text(int value);
std::string value_text(double value);
std::string value_text(bool value);
std::string value_text(const std::vector<KeyBinding>& value);

std::optional<std::string> read_value(std::string_view text, std::string& value);
std::optional<std::string> read_value(std::string_view text, int64_t& value);
std::optional<std::string> read_value(std::string_view text, int& value);
std::optional<std::string> read_value(std::string_view text, double& value);
std::optional<std::string> read_value(std::string_view text, bool& value);
std::optional<std::string> read_value(std::string_view text, std::vector<KeyBinding>& value);

/// Why a number is larger than any of its kind can be meant to be, or nothing. Integers are counts,
/// whose product of two must fit; a number that is named seconds becomes a time of the system.
std::optional<std::string> size_problem(std::string_view name, int64_t value);
std::optional<std::string> size_problem(std::string_view name, double value);

/// Reads `text` into `value` as the field `name` with this check. Why it cannot be, or nothing.
template <class Value>
std::optional<std::string> read_field(std::string_view name, const std::string& text,
                                      const Check& check, Value& value) {
  if (auto wrong = read_value(text, value)) return wrong;
  if constexpr (std::is_arithmetic_v<Value> && !std::is_same_v<Value, bool>) {
    using Number = std::conditional_t<std::is_integral_v<Value>, int64_t, double>;
    if (!check.takes_any_size) {
      if (auto wrong = size_problem(name, Number{value})) return wrong;
    }
  }
  return check.problem ? check.problem(text) : std::nullopt;
}

template <class T>
constexpr std::string_view type_name();
template <>
constexpr std::string_view type_name<std::string>() {
  return "text";
}
template <>
constexpr std::string_view type_name<int64_t>() {
  return "integer";
}
template <>
constexpr std::string_view type_name<int>() {
  return "integer";
}
template <>
constexpr std::string_view type_name<double>() {
  return "number";
}
template <>
constexpr std::string_view type_name<bool>() {
  return "true or false";
}
template <>
constexpr std::string_view type_name<std::vector<KeyBinding>>() {
  return "keys";
}

}  // namespace orrery::config
