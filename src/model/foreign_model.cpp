#include "orrery/model/foreign_model.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::model {

namespace {

namespace fs = std::filesystem;
using base::concat;

constexpr const char* kExpected = "a directory with config.json and safetensors files";

[[noreturn]] void refuse(const fs::path& path, const std::string& got, const std::string& advice) {
  throw ConfigError(concat("model ", path.string()),
                    {.expected = kExpected, .got = got, .advice = advice});
}

std::string begin_of(const fs::path& file, size_t n) {
  std::ifstream in(file, std::ios::binary);
  std::string text(n, '\0');
  in.read(text.data(), static_cast<std::streamsize>(n));
  text.resize(static_cast<size_t>(in.gcount()));
  return text;
}

bool is_lfs_pointer(const fs::path& file) {
  constexpr std::string_view kBegin = "version https://git-lfs";
  return begin_of(file, kBegin.size()) == kBegin;
}

void refuse_file(const fs::path& path) {
  if (begin_of(path, 4) == "GGUF") {
    refuse(path, "a GGUF file", "use the Hugging Face directory that it was made from");
  }
  refuse(path, "a file", concat("name its directory: ", path.parent_path().string()));
}

/// The hub's cache: models--org--name/snapshots/HASH/config.json.
void refuse_cache(const fs::path& path) {
  std::error_code ignored;
  const fs::path snapshots = path / "snapshots";
  if (!fs::is_directory(snapshots, ignored)) return;
  std::vector<std::string> inside;
  for (const auto& entry : fs::directory_iterator(snapshots, ignored)) {
    inside.push_back(entry.path().string());
  }
  if (inside.empty()) return;
  std::sort(inside.begin(), inside.end());
  refuse(path, "a folder of the hub's cache", concat("name ", base::join(inside, " or ")));
}

}  // namespace

void refuse_foreign_model(const fs::path& path) {
  std::error_code error;
  if (fs::is_regular_file(path, error)) refuse_file(path);
  if (!fs::is_directory(path, error) || fs::exists(path / "manifest.json", error)) return;
  const bool has_config = fs::exists(path / "config.json", error);
  if (!has_config) refuse_cache(path);
  std::string other;
  bool has_safetensors = false;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    const bool is_safetensors = name.ends_with(".safetensors");
    has_safetensors |= is_safetensors;
    if ((is_safetensors || name == "config.json") && is_lfs_pointer(entry.path())) {
      refuse(path, concat(name, ", a pointer of git LFS instead of the file"),
             "git lfs pull in that directory");
    }
    for (const char* ending : {".gguf", ".bin", ".pt", ".pth", ".msgpack", ".h5", ".onnx"}) {
      if (name.ends_with(ending) && name != "training_args.bin") other = std::max(other, name);
    }
  }
  if (has_safetensors || other.empty()) return;
  refuse(path, concat("weights as ", other),
         "write them as safetensors: python3 -c 'import transformers as t; "
         "t.AutoModelForCausalLM.from_pretrained(\"DIR\").save_pretrained(\"NEW\", "
         "safe_serialization=True)', and copy the tokenizer's files");
}

}  // namespace orrery::model
