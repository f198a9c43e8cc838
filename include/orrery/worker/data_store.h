// The tensors of samples that this worker holds, by (sample, key). The master knows what is here
// (its storage tracker) and says what to read, move and forget; the store only obeys and checks.
// Lives on the worker's main thread.
#pragma once

#include <ATen/core/Tensor.h>  // at::Tensor: we store them

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>

#include "orrery/data/batch_metadata.h"
#include "orrery/data/sample_id.h"
#include "orrery/data/sequence_batch.h"

namespace orrery::worker {

class DataStore {
 public:
  /// Keeps every key of every sample of `batch`, replacing what was there. The slices are views:
  /// the packed tensors live until the last of their samples is cleared. Local.
  void put(const data::SequenceBatch& batch);

  /// Packs the samples and keys that `wanted` names, in its order.
  ///   returns  data[key]: [sum of lengths, trailing...]
  /// Throws CallError naming sample and key that are missing or whose length differs. Local.
  data::SequenceBatch gather(const data::BatchMetadata& wanted) const;

  /// These keys of these samples, each with one sequence a sample; nothing unless all of them are
  /// here. Local.
  std::optional<data::SequenceBatch> find(std::span<const data::SampleId> ids,
                                          std::span<const std::string> keys) const;

  bool has(data::SampleId id, const std::string& key) const;
  /// Forgets these samples under all keys; unknown ones are ignored.
  void clear(std::span<const data::SampleId> ids);
  std::size_t size() const { return samples_.size(); }

 private:
  const at::Tensor& slice(data::SampleId id, const data::KeyMetadata& key, int64_t length) const;

  std::unordered_map<data::SampleId, std::map<std::string, at::Tensor>> samples_;
};

}  // namespace orrery::worker
