#include "text_normalizer.h"

#include <utf8proc.h>  // normal forms

#include <algorithm>  // all_of, any_of, max
#include <cstdlib>    // free

#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/text.h"   // concat

namespace orrery::data {

namespace {

using Kind = NormalizerStep::Kind;

bool is_unicode_form(Kind kind) { return kind != Kind::kPrepend && kind != Kind::kReplace; }

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

int options_of(Kind form) {
  switch (form) {
    case Kind::kNfc:
      return UTF8PROC_COMPOSE;
    case Kind::kNfd:
      return UTF8PROC_DECOMPOSE;
    case Kind::kNfkc:
      return UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
    case Kind::kNfkd:
      return UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
    case Kind::kPrepend:
    case Kind::kReplace:
      break;
  }
  return 0;
}

std::string in_form(std::string text, Kind form) {
  if (is_ascii(text)) return text;
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &result,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | options_of(form)));
  if (size < 0) return text;  // only if memory is short: the text is UTF-8
  std::string copy(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
  std::free(result);  // utf8proc's rule
  return copy;
}

}  // namespace

SplitPattern replace_pattern(const std::string& pattern) {
  SplitPattern result(pattern);
  if (!result.matches_empty()) return result;
  throw ConfigError(base::concat("the pattern ", pattern, " of a Replace step cannot be used"),
                    {.expected = "a pattern that matches at least one character",
                     .got = "one that matches between any two",
                     .advice = "write it in other words"});
}

std::string replaced(std::string_view text, const SplitPattern& pattern, std::string_view content) {
  std::string result;
  result.reserve(text.size());
  for (const SplitPattern::Range& range : pattern.ranges(text)) {
    result += range.is_match ? content : text.substr(range.begin, range.end - range.begin);
  }
  return result;
}

TextNormalizer::TextNormalizer(const std::vector<NormalizerStep>& steps) {
  for (const NormalizerStep& step : steps) {
    std::optional<SplitPattern> pattern;
    if (step.kind == Kind::kReplace) pattern = replace_pattern(step.pattern);
    steps_.push_back({step, std::move(pattern)});
  }
}

std::string TextNormalizer::apply(std::string text) const {
  for (const auto& [step, pattern] : steps_) {
    if (step.kind == Kind::kReplace) {
      text = replaced(text, *pattern, step.content);
    } else if (step.kind == Kind::kPrepend) {
      if (!text.empty()) text.insert(0, step.content);
    } else {
      text = in_form(std::move(text), step.kind);
    }
  }
  return text;
}

bool TextNormalizer::has_unicode_form() const {
  return std::any_of(steps_.begin(), steps_.end(),
                     [](const Step& step) { return is_unicode_form(step.step.kind); });
}

int64_t TextNormalizer::symbols_at_most(
    int64_t n, int64_t n_parts, const std::function<int64_t(std::string_view)>& cost) const {
  for (const auto& [step, pattern] : steps_) {
    if (step.kind == Kind::kPrepend) {
      n += n_parts * cost(step.content);
    } else if (step.kind == Kind::kReplace) {
      n *= std::max<int64_t>(cost(step.content), 1);
    }
  }
  return n;
}

}  // namespace orrery::data
