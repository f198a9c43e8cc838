#include "token_decoder.h"

#include <array>
#include <cstdio>   // snprintf
#include <utility>  // move

#include "orrery/data/utf8.h"
#include "text_normalizer.h"  // replaced

namespace orrery::data {

namespace {

using Kind = DecoderStep::Kind;

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string with_spaces(std::string_view token, std::string_view symbol, bool keeps) {
  std::string result;
  for (std::size_t at = 0; at < token.size();) {
    if (token.substr(at).starts_with(symbol)) {
      if (keeps) result += ' ';
      at += symbol.size();
    } else {
      result += token[at++];
    }
  }
  return result;
}

/// The library takes a run of bytes as a whole: text, or as many U+FFFD as there are bytes.
void end_run(std::string& run, std::string& text) {
  if (!first_invalid_utf8(run)) {
    text += run;
  } else {
    for (std::size_t i = 0; i < run.size(); ++i) text += "\xef\xbf\xbd";
  }
  run.clear();
}

}  // namespace

std::optional<uint8_t> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const int high = digit_of(token[3]), low = digit_of(token[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<uint8_t>(16 * high + low);
}

std::string token_of_byte(uint8_t byte) {
  std::array<char, 8> text = {};
  std::snprintf(text.data(), text.size(), "<0x%02X>", static_cast<unsigned>(byte));
  return text.data();
}

TokenDecoder::TokenDecoder(const std::vector<DecoderStep>& steps) {
  for (const DecoderStep& step : steps) {
    std::optional<SplitPattern> pattern;
    if (step.kind == Kind::kReplace) pattern = replace_pattern(step.pattern);
    if (step.kind == Kind::kByteFallback) has_bytes_ = true;
    if (step.kind == Kind::kStrip && step.n_at_start > 0) stripped_ = step.content;
    steps_.push_back({step, std::move(pattern)});
  }
}

std::string TokenDecoder::spelled(std::string_view token, bool is_first) const {
  std::string text(token);
  for (const auto& [step, pattern] : steps_) {
    if (step.kind == Kind::kReplace) text = replaced(text, *pattern, step.content);
    if (step.kind == Kind::kMetaspace) {
      text = with_spaces(text, step.content, !is_first || step.n_at_start == 0);
    }
  }
  return text;
}

std::string TokenDecoder::text_of(std::vector<std::string> tokens) const {
  std::string text, run;
  bool is_first = true;
  for (const std::string& token : tokens) {
    const std::string piece = spelled(token, std::exchange(is_first, false));
    const std::optional<uint8_t> byte = has_bytes_ ? byte_of_token(piece) : std::nullopt;
    if (byte) {
      run += static_cast<char>(*byte);
      continue;
    }
    end_run(run, text);
    text += piece;
  }
  end_run(run, text);
  if (!stripped_.empty() && text.starts_with(stripped_)) text.erase(0, stripped_.size());
  return text;
}

std::string TokenDecoder::bytes_of(std::string_view token) const {
  std::string piece = spelled(token, false);
  if (const auto byte = has_bytes_ ? byte_of_token(piece) : std::nullopt) {
    return std::string(1, static_cast<char>(*byte));
  }
  return piece;
}

}  // namespace orrery::data
