#include "text_file.h"

#include <unistd.h>  // access

#include <algorithm>  // count_if
#include <cmath>
#include <iostream>
#include <sstream>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr const char* kTokenForm = "{\"sequences\": [[ids...], ...]}";

std::string read_input(const fs::path& file) {
  const std::string kind = base::special_kind(file);
  std::string reason = kind == "a folder" ? "it is a directory" : base::concat("it is ", kind);
  if (kind.empty()) {
    try {
      return base::read_file(file);
    } catch (const OutputError& error) {
      reason = error.what();
    }
  }
  throw DataError(
      base::concat("cannot read ", file.string()),
      {.expected = "an input file", .got = reason, .advice = "check the path and its permissions"});
}

[[noreturn]] void refuse(const std::string& where, const std::string& expected,
                         const std::string& got) {
  throw DataError(where, {.expected = expected, .got = got, .advice = ""});
}

std::string shown(const json& value) {
  std::string text = base::json_line(value);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

json parse(const std::string& text, const std::string& where, const char* expected) {
  auto [value, problem] = base::parse_json(text);
  if (!problem.empty()) refuse(where, expected, problem);
  return std::move(value);
}

std::vector<int64_t> ids_of(const json& value, const std::string& where) {
  if (!value.is_array()) refuse(where, "a list of token ids", shown(value));
  std::vector<int64_t> ids;
  ids.reserve(value.size());
  for (const json& id : value) {
    const bool fits = id.is_number_integer() &&
                      !(id.is_number_unsigned() && id.get<uint64_t>() > uint64_t{1} << 62);
    if (!fits) {
      refuse(base::concat(where, "[", ids.size(), "]"), "a token id, an integer", shown(id));
    }
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

}  // namespace

void check_sequences(const TokenSequences& sequences, const TokenLimits& limits,
                     const std::vector<std::string>& places) {
  for (size_t i = 0; i < sequences.size(); ++i) {
    const std::vector<int64_t>& ids = sequences[i];
    if (ids.empty()) refuse(places[i], "at least one token", "none");
    if (static_cast<int64_t>(ids.size()) > limits.max_length) {
      refuse(places[i],
             base::concat("at most ", base::counted(limits.max_length, "token"), " (",
                          limits.length_reason, ")"),
             base::counted(ids.size(), "token"));
    }
    for (size_t t = 0; t < ids.size(); ++t) {
      if (ids[t] >= 0 && ids[t] < limits.vocab_size) continue;
      refuse(base::concat(places[i], "[", t, "]"),
             base::concat("a token id from 0 to ", limits.vocab_size - 1,
                          ", the vocabulary of the model"),
             base::concat(ids[t]));
    }
  }
}

TokenSequences read_token_file(const fs::path& file, const TokenLimits& limits) {
  const json parsed = parse(read_input(file), file.string(), kTokenForm);
  if (!parsed.is_object()) refuse(file.string(), kTokenForm, shown(parsed));
  const auto found = parsed.find("sequences");
  if (found == parsed.end()) {
    refuse(file.string(), kTokenForm, "an object without \"sequences\"");
  }
  if (!found->is_array())
    refuse(base::concat(file.string(), ": sequences"), "a list of lists of token ids",
           shown(*found));
  if (found->empty())
    refuse(base::concat(file.string(), ": sequences"), "at least one sequence", "none");
  TokenSequences sequences;
  std::vector<std::string> places;
  for (const json& value : *found) {
    places.push_back(base::concat(file.string(), ": sequences[", sequences.size(), "]"));
    sequences.push_back(ids_of(value, places.back()));
  }
  check_sequences(sequences, limits, places);
  return sequences;
}

std::vector<std::string> read_prompt_file(const fs::path& file) {
  std::istringstream in(read_input(file));
  std::vector<std::string> prompts;
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (number == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
    if (base::trim(line).empty()) continue;
    const std::string where = base::concat(file.string(), ":", number);
    const json record = parse(line, where, "{\"prompt\": \"text\"}");
    if (!record.is_object()) refuse(where, "{\"prompt\": \"text\"}", shown(record));
    const auto prompt = record.find("prompt");
    if (prompt == record.end()) refuse(where, "a field \"prompt\"", "none");
    if (!prompt->is_string()) refuse(where, "\"prompt\" as text", shown(*prompt));
    if (prompt->get<std::string>().empty()) refuse(where, "a prompt", "an empty one");
    prompts.push_back(prompt->get<std::string>());
  }
  if (prompts.empty()) refuse(file.string(), "at least one line {\"prompt\": \"text\"}", "none");
  return prompts;
}

void check_output(const fs::path& file) {
  if (file == "-") return;
  const std::string kind = base::special_kind(file);
  std::string reason;
  if (kind == "a folder") {
    reason = "it is a directory";
  } else if (!kind.empty()) {
    if (::access(file.c_str(), W_OK) != 0) reason = base::concat(kind, " that cannot be written");
  } else {
    const fs::path target = base::link_target(file);
    const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
    if (!base::is_folder(folder)) {
      reason = base::concat("there is no folder ", folder.string());
    } else if (::access(folder.c_str(), W_OK) != 0) {
      reason = base::concat("the folder ", folder.string(), " cannot be written");
    }
  }
  if (reason.empty()) return;
  throw ConfigError(base::concat("--out ", file.string()),
                    {.expected = "a file in a folder that exists and can be written",
                     .got = reason,
                     .advice = "make the folder first"});
}

void write_output(const fs::path& file, const std::string& text) {
  if (file != "-") {
    base::publish_file(file, text);
    return;
  }
  std::cout << text << std::flush;
  if (!std::cout) throw OutputError("cannot write to standard output");
}

void JsonLists::begin(const std::string& name) {
  text_ += base::concat(text_.empty() ? "{" : "],\n ", base::json_line(json(name)), ": [");
  has_elements_ = false;
}

void JsonLists::add(std::string_view element) {
  if (has_elements_) text_ += ",\n ";
  text_ += element;
  has_elements_ = true;
}

void JsonLists::count(std::span<const double> values) {
  n_not_finite_ += std::count_if(values.begin(), values.end(),
                                 [](double value) { return !std::isfinite(value); });
}

void JsonLists::number(double value) {
  count({&value, 1});
  add(base::json_line(json(value)));
}

void JsonLists::text(const std::string& value) { add(base::json_line(json(value))); }

void JsonLists::numbers(std::span<const double> values) {
  count(values);
  add(base::json_line(json(values)));
}

void JsonLists::integers(std::span<const int64_t> values) { add(base::json_line(json(values))); }

void JsonLists::rows(std::span<const double> values, int64_t n_columns) {
  count(values);
  // Row by row: logits of a long sequence are large enough without a second form of them.
  std::string text = "[";
  for (size_t begin = 0; begin < values.size(); begin += static_cast<size_t>(n_columns)) {
    if (begin > 0) text += ',';
    text += base::json_line(json(values.subspan(begin, static_cast<size_t>(n_columns))));
  }
  add(text + "]");
}

std::string JsonLists::take() { return std::move(text_) + "]}\n"; }

}  // namespace orrery::cli
