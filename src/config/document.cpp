#include "orrery/config/document.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "orrery/config/renamed_keys.h"

namespace orrery::config {

namespace fs = std::filesystem;

std::string Problem::message() const {
  if (line > 0) return base::concat(file, ":", line, ": ", text);
  return file.empty() ? text : base::concat(file, ": ", text);
}

namespace {

std::string place_of(std::string_view section, std::string_view key) {
  std::string place(section);
  place += '\0';
  return place.append(key);
}

}  // namespace

const SectionStart* Document::find_section(std::string_view name) const {
  const auto found = section_places_.find(name);
  return found == section_places_.end() ? nullptr : &sections[found->second];
}

const Entry* Document::find(std::string_view section, std::string_view key) const {
  const auto found = entry_places_.find(place_of(section, key));
  return found == entry_places_.end() ? nullptr : &entries[found->second];
}

void Document::add_section(SectionStart section) {
  if (section_places_.emplace(section.name, sections.size()).second) {
    sections.push_back(std::move(section));
  }
}

void Document::put(Entry entry) {
  const auto [place, is_new] =
      entry_places_.emplace(place_of(entry.section, entry.key), entries.size());
  if (is_new) {
    entries.push_back(std::move(entry));
  } else {
    entries[place->second] = std::move(entry);
  }
}

void Document::merge(const Document& over) {
  for (const SectionStart& section : over.sections) add_section(section);
  for (const Entry& entry : over.entries) put(entry);
}

namespace {

/// The line without its comment. A '#' or ';' inside a word is part of the value.
std::string_view without_comment(std::string_view line) {
  for (size_t i = 0; i < line.size(); ++i) {
    const bool begins_word = i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t';
    if ((line[i] == '#' || line[i] == ';') && begins_word) return line.substr(0, i);
  }
  return line;
}

/// The value of `text`, which begins with a quote; nothing if the quotes do not match.
std::optional<std::string> read_quoted(std::string_view text) {
  std::string value;
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] != '"') {
      value += text[i];
    } else if (i + 1 < text.size() && text[i + 1] == '"') {
      value += text[i++];
    } else {
      const std::string_view rest = base::trim(text.substr(i + 1));
      if (rest.empty() || rest.front() == '#' || rest.front() == ';') return value;
      return std::nullopt;
    }
  }
  return std::nullopt;
}

/// Old names are replaced before files are laid over each other: the later file counts, whatever
/// name it knows.
Entry named_today(Entry entry) {
  std::string written = entry.key;
  if (use_todays_name(entry.section, entry.key, entry.value)) entry.old_name = std::move(written);
  return entry;
}

using ReadIncluded = std::function<Document(const fs::path& file, const Position& from)>;

/// Takes the lines of one file, in order.
class FileParser {
 public:
  FileParser(fs::path file, ReadIncluded read_included, std::vector<Problem>& problems)
      : file_(std::move(file)), read_included_(std::move(read_included)), problems_(problems) {}

  void add_line(std::string_view raw) {
    ++number_;
    if (number_ == 1 && raw.starts_with("\xEF\xBB\xBF")) raw.remove_prefix(3);
    if (raw.find('\0') != std::string_view::npos) {
      if (!std::exchange(has_nul_, true)) problem("contains a NUL byte: not a text file");
      return;
    }
    const std::string_view line = base::trim(without_comment(raw));
    if (line.empty()) return;
    if (line.front() == '[') return begin_section(line);
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) {
      return problem(base::concat("'", line, "' is neither a [section] nor `key = value`"));
    }
    const std::string key(base::trim(line.substr(0, equals)));
    if (key.empty()) return problem("there is no key before '='");
    const std::string_view quoted = base::trim(raw.substr(raw.find('=') + 1));
    if (!quoted.starts_with('"')) {
      return add_key(key, std::string(base::trim(line.substr(equals + 1))));
    }
    if (const auto value = read_quoted(quoted)) return add_key(key, *value);
    problem(base::concat("the quotes of ", quoted, " do not match: write \"...\", with \"\" for a ",
                         "quote inside"));
  }

  /// What the file and its includes say.
  Document finish() {
    included_.merge(own_);
    return std::move(included_);
  }

 private:
  enum class In { kNoSection, kSection, kUnreadableSection };

  void problem(const std::string& text) { problems_.push_back({file_.string(), number_, text}); }

  void begin_section(std::string_view line) {
    const bool is_closed = line.size() > 1 && line.back() == ']';
    section_ = is_closed ? base::trim(line.substr(1, line.size() - 2)) : std::string_view();
    if (section_.empty()) {
      // Its keys belong to nothing that is known: they are passed over.
      in_ = In::kUnreadableSection;
      return problem(base::concat("'", line, "' is not a section: write [name]"));
    }
    in_ = In::kSection;
    own_.add_section({section_, {file_.string(), number_}});
    if (own_.sections.size() > kMostSections) {
      in_ = In::kUnreadableSection;
      if (!std::exchange(has_too_many_sections_, true)) {
        problem(base::concat("more than ", kMostSections, " sections"));
      }
    }
  }

  void add_key(const std::string& key, const std::string& value) {
    const Position here{file_.string(), number_};
    if (in_ == In::kUnreadableSection) return;
    if (in_ == In::kNoSection && key == "include") {
      return included_.merge(read_included_(file_.parent_path() / value, here));
    }
    if (in_ == In::kNoSection) {
      return problem(base::concat("key ", key, " stands before any [section]; only include may"));
    }
    if (key == "include") {
      return problem("include must stand before the first [section]");
    }
    const Entry entry = named_today({section_, key, value, here, file_.parent_path()});
    if (!seen_.emplace(section_, entry.key).second) {
      return problem(
          base::concat("key ", section_, ".", entry.key, " is given twice in this file"));
    }
    own_.put(entry);
  }

  fs::path file_;
  ReadIncluded read_included_;
  std::vector<Problem>& problems_;
  Document included_;
  Document own_;
  In in_ = In::kNoSection;
  std::string section_;
  std::set<std::pair<std::string, std::string>> seen_;
  int number_ = 0;
  bool has_nul_ = false;
  bool has_too_many_sections_ = false;
};

class Reader {
 public:
  explicit Reader(std::vector<Problem>& problems) : problems_(problems) {}

  Document read_file(const fs::path& file, const Position& included_from) {
    const auto refuse = [&](const std::string& text) {
      problems_.push_back({included_from.file, included_from.line, text});
      return Document();
    };
    if (has_too_many_files_) return Document();
    if (++n_files_ > kMostFiles) {
      has_too_many_files_ = true;
      return refuse(base::concat("more than ", kMostFiles, " files are included; the last one is ",
                                 file.string()));
    }
    if (open_.size() >= static_cast<size_t>(kDeepestInclude)) {
      return refuse(base::concat("files include each other deeper than ", kDeepestInclude,
                                 " files; the next would be ", file.string()));
    }
    std::error_code error;
    const OpenFile opened{file.lexically_normal().string(), fs::weakly_canonical(file, error)};
    for (size_t i = 0; i < open_.size(); ++i) {
      if (open_[i].real != opened.real) continue;
      std::string circle;
      for (; i < open_.size(); ++i) circle += open_[i].name + " includes ";
      return refuse(base::concat("files include each other in a circle: ", circle, opened.name));
    }
    if (const std::string kind = base::special_kind(file); !kind.empty()) {
      return refuse(base::concat(file.string(), " is ", kind, ", not a configuration file"));
    }
    std::string text;
    try {
      text = base::read_file(file, kMostFileBytes);
    } catch (const Error& failure) {
      return refuse(failure.what());
    }
    open_.push_back(opened);
    Document document = parse(text, file);
    open_.pop_back();
    return document;
  }

  Document parse(const std::string& text, const fs::path& file) {
    FileParser parser(
        file,
        [this](const fs::path& included, const Position& from) {
          return read_file(included, from);
        },
        problems_);
    for (const std::string& line : base::split(text, '\n')) parser.add_line(line);
    return parser.finish();
  }

 private:
  struct OpenFile {
    std::string name;  // as it was included
    fs::path real;
  };

  std::vector<Problem>& problems_;
  std::vector<OpenFile> open_;  // files being read, outermost first
  int n_files_ = 0;
  bool has_too_many_files_ = false;
};

}  // namespace

Document read_document(const fs::path& file, std::vector<Problem>& problems) {
  return Reader(problems).read_file(file, {});
}

Document parse_document(const std::string& text, const fs::path& file,
                        std::vector<Problem>& problems) {
  return Reader(problems).parse(text, file);
}

std::string quoted_if_needed(const std::string& value) {
  const bool has_comment = without_comment(value).size() != value.size();
  if (!has_comment && !value.starts_with('"') && base::trim(value) == value) return value;
  std::string quoted = "\"";
  for (const char c : value) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

void apply_sets(Document& document, std::span<const std::string> sets,
                std::vector<Problem>& problems) {
  std::error_code ignored;  // a working directory that is gone: paths stay relative
  const fs::path working_directory = fs::current_path(ignored);
  for (const std::string& set : sets) {
    const std::string source = "--set " + set;
    const size_t equals = set.find('=');
    const std::string name(base::trim(set.substr(0, equals)));
    const size_t dot = name.rfind('.');
    if (equals == std::string::npos || dot == std::string::npos || dot == 0 ||
        dot + 1 == name.size()) {
      problems.push_back({source, 0, "write --set section.key=value"});
      continue;
    }
    const std::string section = name.substr(0, dot);
    document.add_section({section, {source, 0}});
    document.put(named_today({section,
                              name.substr(dot + 1),
                              std::string(base::trim(set.substr(equals + 1))),
                              {source, 0},
                              working_directory}));
  }
}

}  // namespace orrery::config
