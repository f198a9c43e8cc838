#include "orrery/data/chat_template.h"

#include <utility>
#include <vector>

#include "chat_expression.h"
#include "orrery/base/text.h"

namespace orrery::data {

namespace {

using base::concat;
using Value = nlohmann::json;

/// A part of the template's text: what stands there, or the inside of a mark.
struct Piece {
  enum class Kind { kText, kPrint, kStatement };
  Kind kind = Kind::kText;
  std::string text;
  int64_t line = 1;
};

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/// Where the mark that begins at `at` ends: its last two characters. Texts within it do not count.
size_t end_of_mark(std::string_view text, size_t at) {
  const char opening = text[at + 1];
  if (opening == '#') return text.find("#}", at + 2);
  const char closing = opening == '{' ? '}' : '%';
  char quote = '\0';
  for (size_t i = at + 2; i + 1 < text.size(); ++i) {
    if (quote != '\0') {
      if (text[i] == '\\') {
        ++i;
      } else if (text[i] == quote) {
        quote = '\0';
      }
    } else if (text[i] == '\'' || text[i] == '"') {
      quote = text[i];
    } else if (text[i] == closing && text[i + 1] == '}') {
      return i;
    }
  }
  return std::string_view::npos;
}

/// Spaces before a block go where the line has nothing else (lstrip_blocks); `-` takes all.
/// `starts_line`: `text` begins where a line does.
void strip_before(std::string& text, bool starts_line, bool is_print, char sign) {
  if (sign == '-') {
    while (!text.empty() && is_space(text.back())) text.pop_back();
  } else if (!is_print && sign != '+') {
    size_t end = text.size();
    while (end > 0 && (text[end - 1] == ' ' || text[end - 1] == '\t')) --end;
    if (end == 0 ? starts_line : text[end - 1] == '\n') text.resize(end);
  }
}

/// The text of a template in pieces, with the spaces that Jinja leaves there when blocks are
/// trimmed, as transformers has it.
class PieceReader {
 public:
  explicit PieceReader(const ChatTemplateText& source) : source_(source) {
    for (size_t i = 0; i < source.text.size(); ++i) {  // line ends as Jinja has them
      const char c = source.text[i];
      if (c == '\r' && i + 1 < source.text.size() && source.text[i + 1] == '\n') continue;
      text_ += c == '\r' ? '\n' : c;
    }
    if (text_.ends_with('\n')) text_.pop_back();
  }

  std::vector<Piece> all() {
    while (at_ < text_.size()) next();
    return std::move(pieces_);
  }

 private:
  void next() {
    const size_t mark = next_mark();
    std::string before = text_.substr(at_, mark - at_);
    if (mark == text_.size()) {
      add(Piece::Kind::kText, std::move(before));
      at_ = mark;
      return;
    }
    count_lines(at_, mark);
    const char opening = text_[mark + 1];
    const bool is_print = opening == '{';
    const size_t end = end_of_mark(text_, mark);
    if (end == std::string::npos) fail(concat("a mark {", opening, " without an end"));
    size_t first = mark + 2, last = end;
    const char sign = first < last ? text_[first] : ' ';
    const bool starts_line = at_ == 0 || text_[at_ - 1] == '\n';
    strip_before(before, starts_line, is_print, sign);
    add(Piece::Kind::kText, std::move(before));
    if (sign == '-' || sign == '+') ++first;
    const char closing_sign = last > first ? text_[last - 1] : ' ';
    if (closing_sign == '-' || closing_sign == '+') --last;
    if (opening != '#') {
      add(is_print ? Piece::Kind::kPrint : Piece::Kind::kStatement,
          std::string(base::trim(text_.substr(first, last - first))));
    }
    count_lines(mark, end);
    at_ = end + 2;
    if (closing_sign == '-') {
      while (at_ < text_.size() && is_space(text_[at_])) line_ += text_[at_++] == '\n' ? 1 : 0;
    } else if (!is_print && closing_sign != '+' && at_ < text_.size() && text_[at_] == '\n') {
      ++at_;  // trim_blocks
      ++line_;
    }
  }

  void count_lines(size_t first, size_t end) {
    const std::string_view part = std::string_view(text_).substr(first, end - first);
    line_ += std::count(part.begin(), part.end(), '\n');
  }

  size_t next_mark() const {
    for (size_t i = at_; i + 1 < text_.size(); ++i) {
      if (text_[i] == '{' && (text_[i + 1] == '{' || text_[i + 1] == '%' || text_[i + 1] == '#')) {
        return i;
      }
    }
    return text_.size();
  }

  void add(Piece::Kind kind, std::string text) {
    if (kind == Piece::Kind::kText && text.empty()) return;
    pieces_.push_back({.kind = kind, .text = std::move(text), .line = line_});
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw ConfigError(concat(source_.origin, ": the chat template, line ", line_, ": ", what));
  }

  const ChatTemplateText& source_;
  std::string text_;
  size_t at_ = 0;
  int64_t line_ = 1;
  std::vector<Piece> pieces_;
};

/// The first word, and what follows it.
std::pair<std::string, std::string> first_word(const std::string& text) {
  const size_t end = std::min(text.find_first_of(" \t\n("), text.size());
  return {text.substr(0, end), std::string(base::trim(text.substr(end)))};
}

}  // namespace

/// A node of the template's tree: a text, an expression to print, or a statement with its blocks.
struct ChatTemplate::Block {
  enum class Kind { kText, kPrint, kSet, kIf, kFor, kAll, kUnsupported };
  Kind kind = Kind::kAll;
  std::string text = {};                    // kText; kSet, kFor: the name; kUnsupported: what it is
  std::vector<ChatExpression> values = {};  // kPrint, kSet, kFor: one; kIf: a condition each
  std::vector<Block> inside = {};           // kAll, kFor: in order; kIf: one each, then `else`
  ChatExpression filter = {};               // kFor: of the elements; empty: none

  void render(ChatScope& scope, std::string& out) const;
  void render_inside(ChatScope& scope, std::string& out) const {
    for (const Block& block : inside) block.render(scope, out);
  }
  void render_loop(ChatScope& scope, std::string& out) const;
};

void ChatTemplate::Block::render_loop(ChatScope& scope, std::string& out) const {
  const Value all = values.front()(scope);
  if (all.is_discarded() || all.is_null()) return;
  if (!all.is_array()) throw ChatTemplateError("a loop over something that is no list");
  Value elements = Value::array();
  for (const Value& element : all) {
    if (filter) {
      scope.enter();
      scope.set(text, element);
      const bool is_taken = is_true(filter(scope));
      scope.leave();
      if (!is_taken) continue;
    }
    elements.push_back(element);
  }
  const auto n = static_cast<int64_t>(elements.size());
  for (int64_t i = 0; i < n; ++i) {
    scope.enter();
    scope.set(text, elements[static_cast<size_t>(i)]);
    Value loop = {{"index", i + 1},        {"index0", i}, {"first", i == 0},
                  {"last", i + 1 == n},    {"length", n}, {"revindex", n - i},
                  {"revindex0", n - i - 1}};
    if (i > 0) loop["previtem"] = elements[static_cast<size_t>(i - 1)];
    if (i + 1 < n) loop["nextitem"] = elements[static_cast<size_t>(i + 1)];
    scope.set("loop", std::move(loop));
    render_inside(scope, out);
    scope.leave();
  }
}

void ChatTemplate::Block::render(ChatScope& scope, std::string& out) const {
  switch (kind) {
    case Kind::kText:
      out += text;
      return;
    case Kind::kPrint:
      out += printed(values.front()(scope));
      return;
    case Kind::kSet:
      scope.set(text, values.front()(scope));
      return;
    case Kind::kIf:
      for (size_t i = 0; i < inside.size(); ++i) {
        if (i < values.size() && !is_true(values[i](scope))) continue;
        inside[i].render(scope, out);
        return;
      }
      return;
    case Kind::kFor:
      return render_loop(scope, out);
    case Kind::kAll:
      return render_inside(scope, out);
    case Kind::kUnsupported:
      throw ChatTemplateError(text);
  }
}

namespace {

/// Reads pieces into a tree of ChatTemplate's blocks.
template <class Block>
class TreeReader {
 public:
  TreeReader(std::string origin, std::vector<Piece> pieces)
      : origin_(std::move(origin)), pieces_(std::move(pieces)) {}

  Block all() {
    Block root = until({});
    if (at_ < pieces_.size()) fail(concat("`", pieces_[at_].text, "` ends nothing"));
    return root;
  }

 private:
  using Kind = typename Block::Kind;

  /// All blocks up to a statement that begins with one of these words, or the end.
  Block until(const std::vector<std::string>& ends) {
    Block all{.kind = Kind::kAll};
    for (; at_ < pieces_.size(); ++at_) {
      const Piece& piece = pieces_[at_];
      if (piece.kind == Piece::Kind::kText) {
        all.inside.push_back({.kind = Kind::kText, .text = piece.text});
      } else if (piece.kind == Piece::Kind::kPrint) {
        all.inside.push_back({.kind = Kind::kPrint, .values = {parse_chat_expression(piece.text)}});
      } else {
        const std::string word = first_word(piece.text).first;
        if (std::find(ends.begin(), ends.end(), word) != ends.end()) return all;
        if (word.starts_with("end") || word == "else" || word == "elif") return all;
        all.inside.push_back(statement(piece));
      }
    }
    if (!ends.empty()) fail(concat("`", ends.back(), "` is missing"));
    return all;
  }

  /// On return `at_` is at its last piece.
  Block statement(const Piece& piece) {
    const auto [word, rest] = first_word(piece.text);
    if (word == "set" && rest.find('=') != std::string::npos) return variable(rest);
    if (word == "if") return branches(rest);
    if (word == "for") return loop(rest);
    if (word == "generation") return inside("endgeneration");
    Block unsupported{.kind = Kind::kUnsupported, .text = concat("the statement `", word, "`")};
    if (word == "set" || word == "macro" || word == "call" || word == "filter" || word == "raw") {
      inside("end" + word);
    }
    // Whoever calls it is told.
    if (word == "macro") unsupported.kind = Kind::kAll;
    return unsupported;
  }

  Block inside(const std::string& end) {
    ++at_;
    Block block = until({end});
    want(end);
    return block;
  }

  static Block variable(const std::string& rest) {
    const size_t sign = rest.find('=');
    const std::string name(base::trim(rest.substr(0, sign)));
    if (name.find_first_of(".,( ") != std::string::npos) {
      return {.kind = Kind::kUnsupported, .text = concat("the statement `set ", name, "`")};
    }
    return {
        .kind = Kind::kSet, .text = name, .values = {parse_chat_expression(rest.substr(sign + 1))}};
  }

  Block branches(std::string condition) {
    Block block{.kind = Kind::kIf};
    for (;;) {
      ++at_;
      block.values.push_back(parse_chat_expression(condition));
      block.inside.push_back(until({"elif", "else", "endif"}));
      const auto [word, rest] = first_word(pieces_[at_].text);
      if (word == "elif") {
        condition = rest;
        continue;
      }
      if (word == "else") {
        ++at_;
        block.inside.push_back(until({"endif"}));
      }
      want("endif");
      return block;
    }
  }

  Block loop(const std::string& rest) {
    const size_t in = rest.find(" in ");
    const size_t condition = rest.find(" if ", in == std::string::npos ? 0 : in);
    Block block = inside_of_loop();
    const std::string name(base::trim(rest.substr(0, in)));
    if (in == std::string::npos || name.find_first_of(",. (") != std::string::npos) {
      return {.kind = Kind::kUnsupported, .text = concat("the loop `for ", rest, "`")};
    }
    block.kind = Kind::kFor;
    block.text = name;
    const size_t end = std::min(condition, rest.size());
    block.values = {parse_chat_expression(rest.substr(in + 4, end - in - 4))};
    if (condition != std::string::npos) {
      block.filter = parse_chat_expression(rest.substr(condition + 4));
    }
    return block;
  }

  Block inside_of_loop() {
    ++at_;
    Block block = until({"else", "endfor"});
    if (first_word(pieces_[at_].text).first == "else") {
      block = {.kind = Kind::kUnsupported, .text = "the statement `else` of a loop"};
      ++at_;
      until({"endfor"});
    }
    want("endfor");
    return block;
  }

  void want(const std::string& end) const {
    if (at_ >= pieces_.size()) fail(concat("`", end, "` is missing"));
    const std::string word = first_word(pieces_[at_].text).first;
    if (word != end) fail(concat("`", word, "` where `", end, "` was expected"));
  }

  [[noreturn]] void fail(const std::string& what) const {
    const int64_t line = pieces_.empty() ? 1 : pieces_[std::min(at_, pieces_.size() - 1)].line;
    throw ConfigError(concat(origin_, ": the chat template, line ", line, ": ", what));
  }

  std::string origin_;
  std::vector<Piece> pieces_;
  size_t at_ = 0;
};

}  // namespace

ChatTemplate::ChatTemplate(ChatTemplateText text)
    : text_(std::move(text)),
      root_(std::make_unique<const Block>(
          TreeReader<Block>(text_.origin, PieceReader(text_).all()).all())) {}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const Value& messages, GenerationPrompt prompt) const {
  ChatScope scope;
  for (const auto& [name, token] : text_.special_tokens) scope.set(name, token);
  scope.set("messages", messages);
  scope.set("tools", nullptr);
  scope.set("documents", nullptr);
  scope.set("add_generation_prompt", prompt == GenerationPrompt::kAdd);
  std::string out;
  root_->render(scope, out);
  return out;
}

}  // namespace orrery::data
