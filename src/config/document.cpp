#include "orrery/config/document.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"

namespace orrery::config {

namespace fs = std::filesystem;

std::string Problem::message() const {
  if (line > 0) return base::concat(file, ":", line, ": ", text);
  return file.empty() ? text : base::concat(file, ": ", text);
}

const SectionStart* Document::find_section(std::string_view name) const {
  for (const SectionStart& section : sections) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

const Entry* Document::find(std::string_view section, std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.section == section && entry.key == key) return &entry;
  }
  return nullptr;
}

namespace {

void put(Document& document, Entry entry) {
  for (Entry& existing : document.entries) {
    if (existing.section == entry.section && existing.key == entry.key) {
      existing = std::move(entry);
      return;
    }
  }
  document.entries.push_back(std::move(entry));
}

void add_section(Document& document, SectionStart section) {
  if (document.find_section(section.name) == nullptr) {
    document.sections.push_back(std::move(section));
  }
}

/// The line without its comment. A '#' or ';' inside a word is part of the value.
std::string_view without_comment(std::string_view line) {
  for (size_t i = 0; i < line.size(); ++i) {
    const bool begins_word = i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t';
    if ((line[i] == '#' || line[i] == ';') && begins_word) return line.substr(0, i);
  }
  return line;
}

class Reader {
 public:
  explicit Reader(std::vector<Problem>& problems) : problems_(problems) {}

  Document read_file(const fs::path& file, const Position& included_from) {
    const auto refuse = [&](const std::string& text) {
      problems_.push_back({included_from.file, included_from.line, text});
      return Document();
    };
    std::error_code error;
    const fs::path real = fs::weakly_canonical(file, error);
    if (std::find(open_.begin(), open_.end(), real) != open_.end()) {
      return refuse(base::concat("include = ", file.string(),
                                 " leads back to a file that includes "
                                 "this one"));
    }
    if (fs::is_directory(file, error)) {
      return refuse(base::concat(file.string(), " is a folder, not a configuration file"));
    }
    std::string text;
    try {
      text = base::read_file(file);
    } catch (const Error& failure) {
      return refuse(failure.what());
    }
    open_.push_back(real);
    Document document = parse(text, file);
    open_.pop_back();
    return document;
  }

  Document parse(const std::string& text, const fs::path& file) {
    Document included;
    Document own;
    std::string section;
    std::set<std::pair<std::string, std::string>> seen;
    int number = 0;
    if (text.find('\0') != std::string::npos) {
      problems_.push_back({file.string(), 0, "contains NUL bytes: not a text file"});
      return own;
    }
    for (const std::string& raw : base::split(text, '\n')) {
      ++number;
      std::string_view line = raw;
      if (number == 1 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
      line = base::trim(without_comment(line));
      if (line.empty()) continue;
      const Position here{file.string(), number};
      const auto problem = [&](const std::string& what) {
        problems_.push_back({here.file, here.line, what});
      };
      if (line.front() == '[') {
        const std::string_view name = base::trim(line.substr(1, line.size() - 2));
        if (line.back() != ']' || name.empty()) {
          problem(base::concat("'", line, "' is no section: write [name]"));
          continue;
        }
        section = name;
        add_section(own, {section, here});
        continue;
      }
      const size_t equals = line.find('=');
      if (equals == std::string_view::npos) {
        problem(base::concat("'", line, "' is neither a [section] nor `key = value`"));
        continue;
      }
      const std::string key(base::trim(line.substr(0, equals)));
      const std::string value(base::trim(line.substr(equals + 1)));
      if (key.empty()) {
        problem("there is no key before '='");
        continue;
      }
      if (section.empty() && key == "include") {
        merge(included, read_file(file.parent_path() / value, here));
        continue;
      }
      if (section.empty()) {
        problem(base::concat("key ", key, " stands before any [section]; only include may"));
        continue;
      }
      if (!seen.emplace(section, key).second) {
        problem(base::concat("key ", section, ".", key, " is given twice in this file"));
        continue;
      }
      put(own, {section, key, value, here, file.parent_path()});
    }
    merge(included, own);
    return included;
  }

 private:
  static void merge(Document& base, const Document& over) {
    for (const SectionStart& section : over.sections) add_section(base, section);
    for (const Entry& entry : over.entries) put(base, entry);
  }

  std::vector<Problem>& problems_;
  std::vector<fs::path> open_;  // files being read, outermost first
};

}  // namespace

Document read_document(const fs::path& file, std::vector<Problem>& problems) {
  return Reader(problems).read_file(file, {});
}

Document parse_document(const std::string& text, const fs::path& file,
                        std::vector<Problem>& problems) {
  return Reader(problems).parse(text, file);
}

void apply_sets(Document& document, std::span<const std::string> sets,
                std::vector<Problem>& problems) {
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
    add_section(document, {section, {source, 0}});
    put(document, {section,
                   name.substr(dot + 1),
                   std::string(base::trim(set.substr(equals + 1))),
                   {source, 0},
                   fs::current_path()});
  }
}

}  // namespace orrery::config
