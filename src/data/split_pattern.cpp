#include "split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>  // reverse
#include <utility>    // exchange

#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // ConfigError, DataError
#include "orrery/base/text.h"   // concat

namespace orrery::data {

namespace {

using base::concat;

/// The property White_Space, and word characters as Oniguruma has them: PCRE2's \s has U+180E in
/// addition, its \w lacks combining marks.
constexpr std::string_view kSpaces = R"(\p{Z}\x09-\x0d\x{85})";
constexpr std::string_view kWordCharacters = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

[[noreturn]] void refuse(const std::string& pattern, std::size_t at, std::string_view problem) {
  throw ConfigError(
      concat("the pattern ", pattern, " cannot be used: ", problem, " at character ", at + 1),
      {.expected = "a pattern that means the same in Oniguruma and PCRE2",
       .got = {},
       .advice = "write it in other words"});
}

/// The pattern in PCRE2's words.
std::string rewritten(const std::string& pattern) {
  std::string result;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      const std::string_view set = escaped == 's' || escaped == 'S'   ? kSpaces
                                   : escaped == 'w' || escaped == 'W' ? kWordCharacters
                                                                      : std::string_view();
      if (std::string_view("hHRXKGgkyYO").find(escaped) != std::string_view::npos) {
        refuse(pattern, i - 1, concat("\\", escaped));
      }
      if (set.empty()) {
        result += c;
        result += escaped;
        const std::size_t end = pattern.find('}', i);
        if (i + 1 < pattern.size() && pattern[i + 1] == '{' && end != std::string::npos) {
          result += pattern.substr(i + 1, end - i);  // \p{L}, \x{85}
          i = end;
        }
      } else if (escaped == 's' || escaped == 'w') {
        result += in_class ? std::string(set) : concat("[", set, "]");
      } else if (!in_class) {
        result += concat("[^", set, "]");
      } else {
        refuse(pattern, i - 1, concat("\\", escaped, " in [ ]"));
      }
      continue;
    }
    if (in_class) {
      if (c == '[') {
        const std::size_t end = pattern.find(":]", i);
        if (i + 1 >= pattern.size() || pattern[i + 1] != ':' || end == std::string::npos) {
          refuse(pattern, i, "[ in [ ]");
        }
        result += pattern.substr(i, end + 2 - i);
        i = end + 1;
        continue;
      }
      if (c == '&' && i + 1 < pattern.size() && pattern[i + 1] == '&') refuse(pattern, i, "&&");
      in_class = c != ']';
    } else if (c == '[') {
      in_class = true;
      result += c;
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') result += pattern[++i];
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') refuse(pattern, i + 1, "] first in [ ]");
      continue;
    } else if (c == '}' && i + 1 < pattern.size() && pattern[i + 1] == '+') {
      refuse(pattern, i, "}+");  // possessive in one, repeated in the other
    }
    result += c;
  }
  return result;
}

std::string message_of(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
using MatchData = std::unique_ptr<pcre2_match_data, FreeMatchData>;

/// Backtracking steps for one match: a hostile pattern ends with an error instead of never.
constexpr uint32_t kMatchLimit = 10'000'000;
constexpr uint32_t kHeapLimitKib = 64 << 10;
constexpr std::size_t kMaxPatternBytes = 1 << 16;

}  // namespace

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct SplitPattern::Code {
  std::string pattern;
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  ~Code() {
    pcre2_match_context_free(context);
    pcre2_code_free(code);
  }
};

SplitPattern::SplitPattern(const std::string& pattern) : code_(std::make_unique<Code>()) {
  if (pattern.size() > kMaxPatternBytes) refuse(pattern.substr(0, 40), 0, "it is too long");
  code_->pattern = pattern;
  const std::string text = rewritten(pattern);
  int error = 0;
  PCRE2_SIZE at = 0;
  // MULTILINE: ^ and $ match at lines in Oniguruma's default syntax.
  code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                              &error, &at, nullptr);
  if (code_->code == nullptr) refuse(pattern, at, message_of(error));
  pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE);  // where there is none: it interprets
  code_->context = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(code_->context, kMatchLimit);
  pcre2_set_heap_limit(code_->context, kHeapLimitKib);
}

SplitPattern::~SplitPattern() = default;
SplitPattern::SplitPattern(SplitPattern&&) noexcept = default;
SplitPattern& SplitPattern::operator=(SplitPattern&&) noexcept = default;

bool SplitPattern::matches_empty() const {
  uint32_t result = 0;
  pcre2_pattern_info(code_->code, PCRE2_INFO_MATCHEMPTY, &result);
  return result != 0;
}

std::vector<SplitPattern::Range> SplitPattern::ranges(std::string_view text) const {
  std::vector<Range> ranges;
  const MatchData data(pcre2_match_data_create(1, nullptr));
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  std::size_t from = 0;
  std::size_t covered = 0;
  bool has_matched = false;
  while (from <= text.size()) {
    int count = pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, data.get(),
                            code_->context);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT) {
      count = pcre2_match(code_->code, subject, text.size(), from,
                          PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data.get(), code_->context);
    }
    if (count == PCRE2_ERROR_NOMATCH) break;
    if (count < 0) {
      throw DataError(concat("splitting a text of ", base::counted(text.size(), "byte"),
                             " with the pattern ", code_->pattern, ": ", message_of(count)),
                      {.expected = concat("at most ", kMatchLimit, " steps a match"),
                       .got = "more",
                       .advice = "shorten the text"});
    }
    const PCRE2_SIZE* match = pcre2_get_ovector_pointer(data.get());
    const std::size_t begin = match[0];
    const std::size_t end = match[1];
    if (begin >= end && has_matched && end == covered) {
      // An empty match right behind the last one does not count: go on with the next character.
      ++from;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xc0) == 0x80) ++from;
      continue;
    }
    if (begin > covered) ranges.push_back({covered, begin, false});
    if (end > begin) ranges.push_back({begin, end, true});
    covered = std::max(covered, end);
    from = std::max(from, end);
    has_matched = true;
  }
  if (covered < text.size()) ranges.push_back({covered, text.size(), false});
  return ranges;
}

std::vector<std::string_view> split_text(std::string_view text, const SplitPattern& pattern,
                                         SplitBehavior behavior, SplitInvert invert) {
  using Range = SplitPattern::Range;
  std::vector<Range> ranges = pattern.ranges(text);
  if (invert == SplitInvert::kYes) {
    for (Range& range : ranges) range.is_match = !range.is_match;
  }
  if (behavior == SplitBehavior::kMergedWithNext) std::reverse(ranges.begin(), ranges.end());
  std::vector<Range> pieces;
  bool was_match = false;
  for (const Range& range : ranges) {
    const bool follows_match = std::exchange(was_match, range.is_match);
    bool joins = false;
    if (behavior == SplitBehavior::kRemoved && range.is_match) continue;
    if (behavior == SplitBehavior::kContiguous) {
      joins = range.is_match == follows_match;
    } else if (behavior == SplitBehavior::kMergedWithPrevious ||
               behavior == SplitBehavior::kMergedWithNext) {
      joins = range.is_match && !follows_match;
    }
    if (!joins || pieces.empty()) {
      pieces.push_back(range);
    } else if (behavior == SplitBehavior::kMergedWithNext) {
      pieces.back().begin = range.begin;
    } else {
      pieces.back().end = range.end;
    }
  }
  if (behavior == SplitBehavior::kMergedWithNext) std::reverse(pieces.begin(), pieces.end());
  std::vector<std::string_view> result;
  result.reserve(pieces.size());
  for (const Range& piece : pieces) {
    result.push_back(text.substr(piece.begin, piece.end - piece.begin));
  }
  return result;
}

std::string pattern_of_literal(std::string_view literal) {
  std::string pattern;
  for (const char c : literal) {
    if (std::string_view("\\^$.[]|()?*+{}#-").find(c) != std::string_view::npos) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

}  // namespace orrery::data
