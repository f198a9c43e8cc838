// Mutated files: each is read or refused with CheckpointError, never a crash, and no tensor is
// believed that the file has no bytes for. 4,000 of them here, 120,000 under the sanitizers, where
// a read past the mapping is seen; ORRERY_MUTATIONS sets another number.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "mutated_text.h"
#include "orrery/base/error.h"
#include "orrery/model/safetensors.h"
#include "temporary_directory.h"

namespace orrery::model {
namespace {

#ifdef __SANITIZE_ADDRESS__
const uint64_t kMutations = n_mutations(120'000);
#else
const uint64_t kMutations = n_mutations(4'000);
#endif

std::string sound_file() {
  const std::string header = R"({"__metadata__":{"format":"pt"},)"
                             R"("a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                             R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},)"
                             R"("c":{"dtype":"F64","shape":[],"data_offsets":[32,40]},)"
                             R"("d":{"dtype":"F16","shape":[0,7],"data_offsets":[40,40]}})";
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + std::string(40, '\1');
}

const std::vector<std::string> kPieces =
    json_pieces({"F32", "F99", "18446744073709551615", "4294967296", "\"shape\"", "\"dtype\"",
                 "\"data_offsets\"", "[0,0]", "\"a\":{}", "__metadata__", std::string(300, '[')});

std::string mutated(const std::string& sound, uint64_t mutation) {
  Draws draws(mutation);
  std::string file = sound;
  const size_t n_changes = 1 + draws.below(4);
  for (size_t change = 0; change < n_changes && !file.empty(); ++change) {
    if (draws.below(7) < 6) {
      change_text(file, kPieces, draws);
    } else {  // another header length
      const uint64_t lengths[] = {0, 1, 8, file.size(), file.size() - 8, ~uint64_t{0}, 1ull << 63};
      const uint64_t length = lengths[draws.below(std::size(lengths))];
      if (file.size() >= 8) std::memcpy(file.data(), &length, 8);
    }
    // Half of the time the length follows the header, so that the parser sees more than its edge.
    if (file.size() > 48 && draws.below(2) == 0) {
      const uint64_t length = file.size() - 8 - 40;
      std::memcpy(file.data(), &length, 8);
    }
  }
  return file;
}

/// Reads all tensors of the file. Tells whether it was refused.
bool is_refused(const std::filesystem::path& path, size_t file_size) {
  try {
    const SafetensorsFile file(path);
    for (const auto& [name, stored] : file.tensors()) {
      const std::span<const std::byte> bytes = file.bytes(name);
      EXPECT_LE(bytes.size(), file_size);
      EXPECT_EQ(static_cast<int64_t>(bytes.size()), stored.end - stored.begin);
      int64_t numel = 1;
      for (const int64_t n : stored.shape) numel *= n;
      if (numel > static_cast<int64_t>(file_size)) {
        ADD_FAILURE() << name << " has more numbers than the file has bytes";
        continue;
      }
      at::Tensor into = at::empty(stored.shape, at::kFloat);
      try {
        file.read_into(name, into);
      } catch (const CheckpointError&) {
        // An integer type: no weights.
      }
    }
    return false;
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
    return true;
  }
}

TEST(SafetensorsFuzz, MutatedFilesAreReadOrRefusedByName) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory.path() / "x.safetensors";
  const std::string sound = sound_file();
  uint64_t refused = 0;
  for (uint64_t mutation = 0; mutation < kMutations; ++mutation) {
    const std::string content = mutated(sound, mutation);
    std::ofstream(path, std::ios::binary | std::ios::trunc)
        .write(content.data(), static_cast<std::streamsize>(content.size()));
    refused += is_refused(path, content.size()) ? 1 : 0;
    if (HasFailure()) {
      FAIL() << "mutation " << mutation;
    }
  }
  // Both happen, or the mutations are no good.
  EXPECT_GT(refused, kMutations / 2);
  EXPECT_LT(refused, kMutations);
  std::printf("%llu of %llu mutated files refused\n", static_cast<unsigned long long>(refused),
              static_cast<unsigned long long>(kMutations));
}

}  // namespace
}  // namespace orrery::model
