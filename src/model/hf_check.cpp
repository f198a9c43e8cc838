#include "orrery/model/hf_check.h"

#include <algorithm>  // equal
#include <cstddef>
#include <span>

#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "orrery/model/safetensors.h"

namespace orrery::model {

namespace fs = std::filesystem;

namespace {

constexpr const char* kHead = "lm_head.weight";

/// The name under which the files have the embedding.
std::string embedding_in(const SafetensorsDirectory& stored) {
  for (const char* name :
       {"model.embed_tokens.weight", "embed_tokens.weight",
        "language_model.model.embed_tokens.weight", "model.language_model.embed_tokens.weight",
        "transformer.wte.weight", "wte.weight"}) {
    if (stored.tensors().contains(name)) return name;
  }
  return {};
}

/// Whether two ranges of bytes differ. Of long ones only some ranges are looked at: weights
/// that were trained apart differ everywhere.
bool differ(std::span<const std::byte> a, std::span<const std::byte> b) {
  constexpr size_t kWhole = size_t{16} << 20;
  constexpr size_t kPiece = size_t{16} << 10;
  constexpr size_t kPieces = 512;
  if (a.size() != b.size()) return true;
  if (a.size() <= kWhole) return !std::equal(a.begin(), a.end(), b.begin());
  for (size_t i = 0; i < kPieces; ++i) {
    const size_t at = (a.size() - kPiece) / (kPieces - 1) * i;
    const auto piece = a.subspan(at, kPiece);
    if (!std::equal(piece.begin(), piece.end(), b.begin() + static_cast<std::ptrdiff_t>(at))) {
      return true;
    }
  }
  return false;
}

bool has_other_head(const SafetensorsDirectory& stored) {
  const std::string embedding = embedding_in(stored);
  if (embedding.empty() || !stored.tensors().contains(kHead)) return false;
  const SafetensorsFile& of_head = *stored.tensors().at(kHead);
  const SafetensorsFile& of_embedding = *stored.tensors().at(embedding);
  const StoredTensor& head = of_head.tensors().at(kHead);
  const StoredTensor& other = of_embedding.tensors().at(embedding);
  return head.dtype != other.dtype || head.shape != other.shape ||
         differ(of_head.bytes(kHead), of_embedding.bytes(embedding));
}

/// Files of `directory` whose names pass.
template <class Passes>
std::vector<std::string> files_of(const fs::path& directory, const Passes& passes) {
  std::vector<std::string> names;
  for (const fs::path& entry : base::list_folder(directory)) {
    std::string name = entry.filename().string();
    if (passes(name)) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace

std::vector<std::string> unused_in_hf_directory(const fs::path& directory,
                                                const Architecture& architecture) {
  std::vector<std::string> remarks;
  if (base::exists(directory / "model.safetensors") &&
      base::exists(directory / "model.safetensors.index.json")) {
    remarks.emplace_back(
        "there is a model.safetensors beside model.safetensors.index.json: the former is read, the "
        "index and its files are not; remove whichever is left over from an earlier model");
  }
  const std::vector<std::string> adapters =
      files_of(directory, [](const std::string& name) { return name.starts_with("adapter_"); });
  if (!adapters.empty()) {
    remarks.push_back(base::concat("adapters are not applied (", base::join(adapters, ", "),
                                   "): merge them into the weights first"));
  }
  const std::vector<std::string> others = files_of(directory, [](const std::string& name) {
    return name.starts_with("pytorch_model") && name.ends_with(".bin");
  });
  if (!others.empty()) {
    remarks.push_back(base::concat("weights in another format are not read (",
                                   base::join(others, ", "), "): those in safetensors are"));
  }
  if (architecture.tie_embeddings && has_other_head(SafetensorsDirectory(directory))) {
    remarks.emplace_back(
        "lm_head.weight differs from the embedding, but tie_word_embeddings of config.json says "
        "that the head is the embedding: lm_head.weight is not used; set tie_word_embeddings to "
        "false if it was trained");
  }
  return remarks;
}

}  // namespace orrery::model
