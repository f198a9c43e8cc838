// Ids of words seen before: text repeats its words, and a look-up costs less than merging anew.
// Any thread at any time; bounded.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace orrery::data {

class WordCache {
 public:
  static constexpr std::size_t kMaxWordBytes = 64;

  /// Appends the ids of `word` if it is known.
  bool append(std::string_view word, std::vector<int32_t>& ids) {
    Shard& shard = shard_of(word);
    const std::lock_guard lock(shard.mutex);
    const auto found = shard.words.find(word);
    if (found == shard.words.end()) return false;
    ids.insert(ids.end(), found->second.begin(), found->second.end());
    return true;
  }

  void remember(std::string_view word, std::span<const int32_t> ids) {
    Shard& shard = shard_of(word);
    const std::lock_guard lock(shard.mutex);
    if (shard.words.size() >= kMaxWordsPerShard) shard.words.clear();
    shard.words.emplace(word, std::vector<int32_t>(ids.begin(), ids.end()));
  }

 private:
  static constexpr std::size_t kShards = 16;  // so that two threads seldom meet
  static constexpr std::size_t kMaxWordsPerShard = 8192;

  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, std::vector<int32_t>, Hash, std::equal_to<>> words;
  };

  Shard& shard_of(std::string_view word) { return shards_[Hash()(word) % kShards]; }

  std::array<Shard, kShards> shards_;
};

}  // namespace orrery::data
