#include "json_record.h"

#include <algorithm>  // any_of
#include <array>
#include <cctype>  // isdigit
#include <charconv>
#include <limits>
#include <optional>
#include <utility>  // swap

#include "conversation.h"
#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/json.h"
#include "orrery/base/text.h"  // concat
#include "orrery/data/utf8.h"

namespace orrery::data {

namespace {

using base::concat;
using nlohmann::json;

/// Numbers that are taken as the text that stands for them.
enum class Numbers { kNone, kIntegers, kAll };

/// A field that is wanted, and where its text goes.
struct Wanted {
  const std::string* name = nullptr;
  std::string* text = nullptr;
  Numbers takes = Numbers::kNone;
  bool takes_booleans = false;
  bool is_there = false;
};

constexpr std::size_t kMostFields = 8;

/// Takes the wanted fields of the outermost object and stops at the first thing wrong.
class FieldReader final : public nlohmann::json_sax<json> {
 public:
  explicit FieldReader(std::array<Wanted, kMostFields>& fields) : fields_(fields) {}

  const std::string& problem() const { return problem_; }

  bool null() override { return begin_value("null", Null::kMeansAbsent); }
  bool boolean(bool value) override {
    if (depth_ == 1 && current_ != nullptr && current_->takes_booleans) {
      std::string written = value ? "true" : "false";
      return string(written);
    }
    return begin_value("true or false", Null::kNo);
  }
  /// Of the parser, negative ones: zero is one that was written -0.
  bool number_integer(number_integer_t value) override {
    return number(value == 0 ? "-0" : std::to_string(value), Numbers::kIntegers);
  }
  bool number_unsigned(number_unsigned_t value) override {
    return number(std::to_string(value), Numbers::kIntegers);
  }
  bool number_float(number_float_t, const string_t& written) override {
    const bool has_digits_only = written.find_first_not_of("-0123456789") == std::string::npos;
    return number(written, has_digits_only ? Numbers::kIntegers : Numbers::kAll);
  }
  bool string(string_t& value) override {
    if (depth_ == 0) return not_an_object("a text");
    if (Wanted* field = take_field()) {
      std::swap(*field->text, value);
      field->is_there = true;
    }
    return true;
  }
  bool binary(binary_t&) override { return begin_value("binary data", Null::kNo); }
  bool start_object(std::size_t) override {
    if (depth_ > 0 && !begin_value("an object", Null::kNo)) return false;
    ++depth_;
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override {
    if (!begin_value("a list", Null::kNo)) return false;
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ != 1) return true;
    current_ = nullptr;
    for (Wanted& field : fields_) {
      if (field.name == nullptr || *field.name != name) continue;
      if (field.is_there) return fail(concat("field \"", name, "\" comes twice"));
      current_ = &field;
    }
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // The library's text begins with its own numbering of errors and lines.
    std::string_view text = error.what();
    if (const std::size_t colon = text.find(": "); colon != std::string_view::npos) {
      text.remove_prefix(colon + 2);
    }
    return fail(concat("not valid JSON at column ", position, ": ", text));
  }

 private:
  enum class Null { kMeansAbsent, kNo };

  bool fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }
  bool not_an_object(std::string_view got) {
    return fail(concat("expected an object { ... }, got ", got));
  }
  /// The wanted field whose value begins now, if it is one.
  Wanted* take_field() { return depth_ == 1 ? std::exchange(current_, nullptr) : nullptr; }

  bool begin_value(std::string_view got, Null null) {
    if (depth_ == 0) return not_an_object(got);
    const Wanted* field = take_field();
    if (field == nullptr || null == Null::kMeansAbsent) return true;
    return fail(concat("field \"", *field->name, "\" must be a text, got ", got));
  }
  bool number(std::string written, Numbers kind) {
    if (depth_ == 1 && current_ != nullptr && current_->takes >= kind) return string(written);
    return begin_value("a number", Null::kNo);
  }

  std::array<Wanted, kMostFields>& fields_;
  Wanted* current_ = nullptr;
  int depth_ = 0;
  std::string problem_;
};

/// Why these bytes cannot be a line of JSON text, whatever they say.
std::string problem_with_bytes(std::string_view line) {
  if (const std::size_t zero = line.find('\0'); zero != std::string_view::npos) {
    return concat("a NUL byte at column ", zero + 1,
                  " (binary data, UTF-16, or a file that was cut off)");
  }
  if (const auto wrong = first_invalid_utf8(line)) {
    return concat("not UTF-8: byte ", static_cast<int>(static_cast<unsigned char>(line[*wrong])),
                  " at column ", *wrong + 1);
  }
  return {};
}

/// What a label says, or why it says nothing.
std::string read_label(const std::string& text, const std::string& field, bool& is_good) {
  is_good = text == "true" || text == "1";
  if (is_good || text == "false" || text == "0") return {};
  return concat("field \"", field, "\" must be true or false (or 1 or 0), got ", text);
}

std::string read_margin(const std::string& text, const std::string& field, double& margin) {
  const char* const end = text.data() + text.size();
  const auto [behind, error] = std::from_chars(text.data(), end, margin);
  const bool is_number = error == std::errc() && behind == end && margin >= 0;
  if (is_number && margin <= std::numeric_limits<float>::max()) return {};
  return concat("field \"", field, "\" must be a number from 0 to 3.4e38 (fp32), got ", text);
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

void skip_spaces(std::string_view text, std::size_t& at) {
  while (at < text.size() && is_space(text[at])) ++at;
}

/// One value of valid JSON text without the spaces between its parts; `at` goes behind it.
std::string compact_value(std::string_view text, std::size_t& at) {
  std::string value;
  int depth = 0;
  bool is_in_text = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (is_in_text) {
      value += c;
      if (c == '\\' && at + 1 < text.size()) value += text[++at];
      if (c == '"') is_in_text = false;
    } else if (!is_space(c)) {
      if (depth == 0 && (c == ',' || c == ':' || c == '}')) return value;  // what comes next
      value += c;
      is_in_text = c == '"';
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') --depth;
    }
  }
  return value;
}

}  // namespace

config::DatasetKind record_kind(const config::DatasetConfig& dataset) {
  if (const auto kind = config::dataset_kind_named(dataset.kind)) return *kind;
  throw ConfigError(concat("data set ", dataset.path, ": unknown kind"),
                    {.expected = "prompts, completions, preferences or labelled",
                     .got = dataset.kind,
                     .advice = "set kind in the section of the data set"});
}

RecordParser::RecordParser(const config::DatasetConfig& dataset, const Tokenizer& tokenizer)
    : kind_(record_kind(dataset)),
      id_field_(dataset.id_field),
      system_field_(dataset.system_field),
      prompt_field_(dataset.prompt_field),
      answer_field_(dataset.answer_field),
      completion_field_(kind_ == config::DatasetKind::kPreferences ? dataset.chosen_field
                                                                   : dataset.completion_field),
      rejected_field_(dataset.rejected_field),
      margin_field_(dataset.margin_field),
      label_field_(dataset.label_field),
      conversation_(dataset.messages_field.empty()
                        ? nullptr
                        : std::make_unique<const Conversation>(dataset, tokenizer)) {}

RecordParser::~RecordParser() = default;

std::string RecordParser::parse(std::string_view line, Record& record) const {
  if (std::string problem = problem_with_bytes(line); !problem.empty()) return problem;
  record.id.clear();
  record.system.clear();
  record.prompt.clear();
  record.whole_prompt.clear();
  record.answer.clear();
  record.completion.clear();
  record.rejected.clear();
  const bool has_messages = conversation_ != nullptr;
  const bool has_completions = kind_ != config::DatasetKind::kPrompts;
  const bool has_rejected = kind_ == config::DatasetKind::kPreferences;
  const bool has_margin = has_rejected && !margin_field_.empty();
  const bool has_label = kind_ == config::DatasetKind::kLabelled;
  std::string margin, label;
  std::array<Wanted, kMostFields> fields = {
      {{.name = id_field_.empty() ? nullptr : &id_field_,
        .text = &record.id,
        .takes = Numbers::kIntegers},
       {.name = has_messages ? nullptr : &prompt_field_, .text = &record.prompt},
       {.name = has_completions ? nullptr : &answer_field_,
        .text = &record.answer,
        .takes = Numbers::kAll},
       {.name = has_completions && !has_messages ? &completion_field_ : nullptr,
        .text = &record.completion,
        .takes = Numbers::kAll},
       {.name = has_rejected ? &rejected_field_ : nullptr,
        .text = &record.rejected,
        .takes = Numbers::kAll},
       {.name = has_messages || system_field_.empty() ? nullptr : &system_field_,
        .text = &record.system},
       {.name = has_margin ? &margin_field_ : nullptr, .text = &margin, .takes = Numbers::kAll},
       {.name = has_label ? &label_field_ : nullptr,
        .text = &label,
        .takes = Numbers::kIntegers,
        .takes_booleans = true}}};

  FieldReader reader(fields);
  if (auto problem = base::scan_json(line, reader)) return *problem;
  if (!reader.problem().empty()) return reader.problem();
  record.has_id = fields[0].is_there;
  record.has_answer = fields[2].is_there;
  for (const Wanted* field : {&fields[1], &fields[3], &fields[4], &fields[6], &fields[7]}) {
    if (field->name == nullptr) continue;
    if (!field->is_there) return concat("field \"", *field->name, "\" is missing");
    if (field->text->empty()) return concat("field \"", *field->name, "\" is empty");
  }
  if (has_messages) {
    if (std::string problem = conversation_->read(line, record); !problem.empty()) return problem;
  }
  if (has_rejected && record.completion == record.rejected) {
    return concat("fields \"", completion_field_, "\" and \"", rejected_field_, "\" are equal");
  }
  if (has_margin) return read_margin(margin, margin_field_, record.margin);
  if (has_label) return read_label(label, label_field_, record.is_good);
  return {};
}

std::string RecordParser::other_fields(std::string_view line) const {
  std::string object = "{";
  std::size_t at = line.find('{') + 1;
  skip_spaces(line, at);
  while (at < line.size() && line[at] != '}') {
    const std::string key = compact_value(line, at);
    at = line.find(':', at) + 1;
    const std::string value = compact_value(line, at);
    const std::string name = key.find('\\') == std::string::npos
                                 ? key.substr(1, key.size() - 2)
                                 : base::parse_json(key).value.get<std::string>();
    if (name != system_field_ && name != prompt_field_ && name != answer_field_) {
      if (object.size() > 1) object += ',';
      object += key + ':' + value;
    }
    if (at < line.size() && line[at] == ',') ++at;
    skip_spaces(line, at);
  }
  return object + '}';
}

}  // namespace orrery::data
