#include "orrery/algorithm/text_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>  // max
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

constexpr uint32_t kMostSteps = 1'000'000;
constexpr uint32_t kMostHeapKib = 64 << 10;
constexpr size_t kLongestPattern = 1 << 16;

std::string message_of(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

struct FreeMatch {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

}  // namespace

struct TextPattern::Code {
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  ~Code() {
    pcre2_match_context_free(context);
    pcre2_code_free(code);
  }
};

// Not compiled to machine code, which counts steps in another way where there is such a compiler.
TextPattern::TextPattern(const std::string& pattern) : code_(std::make_unique<Code>()) {
  int error = 0;
  PCRE2_SIZE at = 0;
  if (pattern.size() <= kLongestPattern) {
    code_->code =
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C,
                      &error, &at, nullptr);
  }
  if (code_->code == nullptr) {
    throw ConfigError(
        base::concat("'", pattern.substr(0, 100), "' is no regular expression: ",
                     pattern.size() > kLongestPattern
                         ? std::string("it is too long")
                         : base::concat("at character ", at + 1, ", ", message_of(error))));
  }
  code_->context = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(code_->context, kMostSteps);
  pcre2_set_heap_limit(code_->context, kMostHeapKib);
}

TextPattern::~TextPattern() = default;
TextPattern::TextPattern(TextPattern&&) noexcept = default;
TextPattern& TextPattern::operator=(TextPattern&&) noexcept = default;

TextPattern::Match TextPattern::match(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, FreeMatch> data(pcre2_match_data_create(1, nullptr));
  const int count = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                0, PCRE2_NO_JIT, data.get(), code_->context);
  if (count >= 0) return Match::kYes;
  return count == PCRE2_ERROR_NOMATCH ? Match::kNo : Match::kUndecided;
}

int TextPattern::n_groups() const {
  uint32_t count = 0;
  pcre2_pattern_info(code_->code, PCRE2_INFO_CAPTURECOUNT, &count);
  return static_cast<int>(count);
}

std::optional<std::string> TextPattern::last_group(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, FreeMatch> data(
      pcre2_match_data_create_from_pattern(code_->code, nullptr));
  std::optional<std::string> last;
  for (size_t begin = 0; begin <= text.size();) {
    const int count = pcre2_match(code_->code, reinterpret_cast<PCRE2_SPTR>(text.data()),
                                  text.size(), begin, PCRE2_NO_JIT, data.get(), code_->context);
    if (count == PCRE2_ERROR_NOMATCH) return last;
    if (count < 0) return std::nullopt;
    const PCRE2_SIZE* const places = pcre2_get_ovector_pointer(data.get());
    const bool took_part = count > 1 && places[2] != PCRE2_UNSET;
    last = took_part ? std::optional(std::string(text.substr(places[2], places[3] - places[2])))
                     : std::nullopt;
    begin = std::max(places[1], begin + 1);  // on, also behind an empty match
    while (begin < text.size() && (text[begin] & 0xC0) == 0x80) ++begin;  // whole characters
  }
  return last;
}

config::Check text_pattern() {
  return {.text = "a regular expression",
          .problem = [](const std::string& value) -> std::optional<std::string> {
            try {
              const TextPattern pattern(value);
            } catch (const ConfigError& error) {
              return error.what();
            }
            return std::nullopt;
          }};
}

}  // namespace orrery::algorithm
