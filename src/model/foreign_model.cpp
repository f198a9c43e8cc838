#include "orrery/model/foreign_model.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
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

bool is_lfs_pointer(const fs::path& file) {
  constexpr std::string_view kBegin = "version https://git-lfs";
  return base::read_beginning(file, kBegin.size()) == kBegin;
}

void refuse_file(const fs::path& path) {
  if (base::read_beginning(path, 4) == "GGUF") {
    refuse(path, "a GGUF file", "use the Hugging Face directory that it was made from");
  }
  refuse(path, "a file", concat("name its directory: ", path.parent_path().string()));
}

/// The hub's cache: models--org--name/snapshots/HASH/config.json.
void refuse_cache(const fs::path& path) {
  const fs::path snapshots = path / "snapshots";
  if (!base::is_folder(snapshots)) return;
  std::vector<std::string> inside;
  for (const fs::path& entry : base::list_folder(snapshots)) inside.push_back(entry.string());
  if (inside.empty()) return;
  refuse(path, "a folder of the hub's cache", concat("name ", base::join(inside, " or ")));
}

}  // namespace

void refuse_foreign_model(const fs::path& path) {
  if (base::is_file(path)) refuse_file(path);
  if (!base::is_folder(path) || base::exists(path / "manifest.json")) return;
  if (!base::exists(path / "config.json")) refuse_cache(path);
  std::string other;
  bool has_safetensors = false;
  for (const fs::path& entry : base::list_folder(path)) {
    const std::string name = entry.filename().string();
    const bool is_safetensors = name.ends_with(".safetensors");
    has_safetensors |= is_safetensors;
    if ((is_safetensors || name == "config.json") && is_lfs_pointer(entry)) {
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
