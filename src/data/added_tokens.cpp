#include "added_tokens.h"

#include <utf8proc.h>  // categories of characters

#include <algorithm>  // sort, max

namespace orrery::data {

namespace {

struct Character {
  int32_t code = -1;  // -1: none, or no UTF-8
  std::size_t size = 0;
};

Character first_character(std::string_view text) {
  Character result;
  const auto size = utf8proc_iterate(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
      static_cast<utf8proc_ssize_t>(std::min<std::size_t>(text.size(), 4)), &result.code);
  result.size = size > 0 ? static_cast<std::size_t>(size) : 0;
  return result;
}

Character last_character(std::string_view text) {
  std::size_t begin = text.size();
  while (begin > 0 && text.size() - begin < 4) {
    --begin;
    if ((static_cast<unsigned char>(text[begin]) & 0xc0) != 0x80) break;
  }
  return first_character(text.substr(begin));
}

bool is_space(int32_t code) {
  if (code < 0) return false;
  if ((code >= 0x09 && code <= 0x0d) || code == 0x85) return true;
  const utf8proc_category_t category = utf8proc_category(code);
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

bool is_of_word(int32_t code) {
  if (code < 0) return false;
  if (code == 0x200c || code == 0x200d) return true;  // joiners
  if (code >= 0x24b6 && code <= 0x24e9) return true;  // circled letters are alphabetic
  if (code >= 0x1f130 && code <= 0x1f189) {           // and squared ones
    return code <= 0x1f149 || (code >= 0x1f150 && code <= 0x1f169) || code >= 0x1f170;
  }
  switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return false;
  }
}

uint8_t first_byte(const AddedToken& token) { return static_cast<uint8_t>(token.content[0]); }

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    if (first_byte(a) != first_byte(b)) return first_byte(a) < first_byte(b);
    return a.content.size() > b.content.size();
  });
  for (const AddedToken& token : tokens_) ++begin_of_[first_byte(token) + std::size_t{1}];
  for (std::size_t byte = 0; byte < 256; ++byte) begin_of_[byte + 1] += begin_of_[byte];
}

const AddedToken* AddedTokenMatcher::match_at(std::string_view rest) const {
  const auto byte = static_cast<uint8_t>(rest[0]);
  for (std::size_t i = begin_of_[byte]; i < begin_of_[byte + std::size_t{1}]; ++i) {
    if (rest.starts_with(tokens_[i].content)) return &tokens_[i];
  }
  return nullptr;
}

std::vector<TextPart> AddedTokenMatcher::parts(std::string_view text) const {
  std::vector<TextPart> parts;
  std::size_t done = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const AddedToken* token = match_at(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + token->content.size();
    at = end;  // matches do not overlap, whether they are taken or not
    if (token->single_word && (is_of_word(last_character(text.substr(0, begin)).code) ||
                               is_of_word(first_character(text.substr(end)).code))) {
      continue;
    }
    if (token->strips_left) {
      while (begin > done) {
        const Character before = last_character(text.substr(0, begin));
        if (!is_space(before.code)) break;
        begin -= before.size;
      }
      begin = std::max(begin, done);
    }
    if (token->strips_right) {
      while (end < text.size()) {
        const Character behind = first_character(text.substr(end));
        if (!is_space(behind.code)) break;
        end += behind.size;
      }
    }
    if (done < begin) parts.push_back({text.substr(done, begin - done), std::nullopt});
    parts.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  if (done < text.size()) parts.push_back({text.substr(done), std::nullopt});
  return parts;
}

}  // namespace orrery::data
