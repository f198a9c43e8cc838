#include "orrery/checkpoint/manifest.h"

#include <algorithm>
#include <utility>

#include "digest.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"

namespace orrery::checkpoint {

namespace {

using Json = nlohmann::json;

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw CheckpointError(
      base::concat(where, ": ", what),
      {.expected = "the manifest of a checkpoint",
       .got = what,
       .advice = "the checkpoint is damaged; an earlier one is used if there is"});
}

bool is_file_name(const std::string& name) {
  return !name.empty() && name.size() < 200 && name[0] != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
         });
}

uint64_t parse_digest(const std::string& text, const std::string& where) {
  if (text.size() != 16 || text.find_first_not_of("0123456789abcdef") != std::string::npos) {
    refuse(where, base::concat("\"", text, "\" is no hash"));
  }
  return std::stoull(text, nullptr, 16);
}

Json to_json(const Manifest& manifest) {
  Json files = Json::array();
  for (const FileRecord& file : manifest.files) {
    files.push_back({{"name", file.name}, {"size", file.size}, {"xxh3", digest_text(file.hash)}});
  }
  Json json = {{"format", kFormat},           {"step", manifest.step},
               {"program", manifest.program}, {"config_xxh3", manifest.config_hash},
               {"layouts", manifest.layouts}, {"files", std::move(files)}};
  if (!manifest.instruction_sets.empty()) json["instruction_sets"] = manifest.instruction_sets;
  return json;
}

Manifest from_json(const Json& json, const std::string& where) {
  if (json.at("format").get<int>() > kFormat) {
    throw OutputError(base::concat(where, ": written by a newer version"),  // no damage
                      {.expected = base::concat("format ", kFormat, " or older"),
                       .got = base::concat("format ", json.at("format").get<int>()),
                       .advice = "use the version that wrote it, or a newer one"});
  }
  Manifest manifest{.step = json.at("step").get<int64_t>(),
                    .program = json.at("program").get<std::string>(),
                    .config_hash = json.at("config_xxh3").get<std::string>(),
                    .layouts = json.at("layouts").get<std::map<std::string, std::string>>()};
  if (const auto sets = json.find("instruction_sets"); sets != json.end()) {
    manifest.instruction_sets = sets->get<std::vector<std::string>>();
  }
  for (const Json& file : json.at("files")) {
    FileRecord record{.name = file.at("name").get<std::string>(),
                      .size = file.at("size").get<uint64_t>(),
                      .hash = parse_digest(file.at("xxh3").get<std::string>(), where)};
    if (!is_file_name(record.name)) {
      refuse(where, base::concat("\"", record.name, "\" is no name of a file here"));
    }
    manifest.files.push_back(std::move(record));
  }
  return manifest;
}

}  // namespace

std::string manifest_text(const Manifest& manifest) {
  const Json content = to_json(manifest);
  const std::string text = content.dump();
  const Json whole = {{"manifest", content},
                      {"xxh3", digest_text(digest_of(text.data(), text.size()))}};
  return whole.dump(1) + "\n";
}

Manifest parse_manifest(const std::string& text, const std::string& where) {
  const auto [whole, problem] = base::parse_json(text);
  if (!problem.empty()) refuse(where, problem);
  try {
    const std::string content = whole.at("manifest").dump();
    if (whole.at("xxh3").get<std::string>() !=
        digest_text(digest_of(content.data(), content.size()))) {
      refuse(where, "its hash is not that of its content");
    }
    return from_json(whole.at("manifest"), where);
  } catch (const Json::exception& error) {
    refuse(where, error.what());
  }
}

Manifest read_manifest(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / "manifest.json";
  if (!base::exists(file)) refuse(file.string(), "No such file or directory");
  if (const std::string kind = base::special_kind(file); !kind.empty()) refuse(file.string(), kind);
  return parse_manifest(base::read_file(file), file.string());
}

}  // namespace orrery::checkpoint
