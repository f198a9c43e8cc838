#include "foreign_format.h"

#include <array>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "orrery/base/error.h"  // DataError
#include "orrery/base/file.h"
#include "orrery/base/text.h"  // concat

namespace orrery::data {

namespace {

using base::concat;

constexpr size_t kLookedAt = 4096;

struct Form {
  std::string what;
  std::string advice;
};

struct Signature {
  std::string_view bytes;
  const char* what;
  const char* advice;  ///< FILE stands for the path
};

constexpr const char* kPandas =
    "python3 -c 'import pandas; pandas.read_parquet(\"FILE\").to_json(\"FILE.jsonl\", "
    "orient=\"records\", lines=True)'";
constexpr const char* kDatasets =
    "python3 -c 'import datasets; datasets.Dataset.from_file(\"FILE\").to_json(\"FILE.jsonl\")'";

constexpr std::array<Signature, 11> kSignatures = {{
    {"PAR1", "a Parquet file", kPandas},
    {"ARROW1", "an Arrow file", kDatasets},
    {"\xFF\xFF\xFF\xFF", "an Arrow stream", kDatasets},
    {"\x1F\x8B", "compressed with gzip", "gunzip -k FILE"},
    {"\x28\xB5\x2F\xFD", "compressed with zstd", "zstd -d FILE"},
    {"BZh", "compressed with bzip2", "bunzip2 -k FILE"},
    {"\xFD\x37zXZ", "compressed with xz", "unxz -k FILE"},
    {"PK\x03\x04", "a zip archive", "unzip FILE"},
    {"version https://git-lfs", "a pointer of git LFS, not the file itself", "git lfs pull"},
    {"<!DOCTYPE", "a web page", "download the file itself, not the page about it"},
    {"<html", "a web page", "download the file itself, not the page about it"},
}};

std::string with_path(std::string text, const std::string& path) {
  for (size_t at = 0; (at = text.find("FILE", at)) != std::string::npos; at += path.size()) {
    text.replace(at, 4, path);
  }
  return text;
}

/// The first line that is not blank, without blanks around it.
std::string_view first_line(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = base::trim(text.substr(0, end));
    if (!line.empty()) return line;
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return {};
}

std::optional<Form> form_of(const std::string& path, std::string_view begin) {
  for (const Signature& signature : kSignatures) {
    if (begin.starts_with(signature.bytes)) {
      return Form{signature.what, with_path(signature.advice, path)};
    }
  }
  const std::string_view line = first_line(begin);
  if (line.starts_with('[')) {
    return Form{"one JSON list", with_path("jq -c '.[]' FILE > FILE.jsonl", path)};
  }
  if (line == "{") {
    return Form{"JSON objects over several lines", with_path("jq -c . FILE > FILE.jsonl", path)};
  }
  const bool is_table = path.ends_with(".csv") || path.ends_with(".tsv");
  if (is_table && !line.starts_with('{')) {
    const char* const separator = path.ends_with(".tsv") ? ", sep=\"\\t\"" : "";
    return Form{path.ends_with(".tsv") ? "a table with tabs" : "a table with commas",
                with_path(concat("python3 -c 'import pandas; pandas.read_csv(\"FILE\"", separator,
                                 ").to_json(\"FILE.jsonl\", orient=\"records\", lines=True)'"),
                          path)};
  }
  return std::nullopt;
}

/// Some files in the folder that could be meant.
std::string files_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const std::filesystem::path& entry : base::list_folder(folder)) {
    const std::string name = entry.filename().string();
    if (name.ends_with(".jsonl") || name.ends_with(".json") || name.ends_with(".h5")) {
      names.push_back(name);
    }
  }
  if (names.size() > 5) names.resize(5);
  return base::join(names, ", ");
}

}  // namespace

void refuse_foreign_format(const std::string& path) {
  if (base::is_folder(path)) {
    const std::string files = files_in(path);
    throw DataError(
        concat("data set ", path, " is a folder"),
        {.expected = "a file of JSON lines or of tokens",
         .got = files.empty() ? "a folder" : concat("a folder with ", files),
         .advice = files.empty()
                       ? "write one JSON object a line into a file (datasets: .to_json(FILE))"
                       : "name one of its files; several are several [dataset.X]"});
  }
  if (!base::exists(path)) return;  // who opens it tells
  if (const auto form = form_of(path, base::read_beginning(path, kLookedAt))) {
    throw DataError(concat("data file ", path, " has a form that is not read"),
                    {.expected = "JSON lines: one object { ... } a line",
                     .got = form->what,
                     .advice = concat("convert it: ", form->advice)});
  }
}

}  // namespace orrery::data
