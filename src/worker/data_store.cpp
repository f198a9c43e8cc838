#include "orrery/worker/data_store.h"

#include <vector>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // CallError
#include "orrery/base/text.h"   // concat

namespace orrery::worker {

void DataStore::put(const data::SequenceBatch& batch) {
  for (const data::KeyMetadata& key : batch.meta.keys) {
    const auto found = batch.data.find(key.key);
    if (found == batch.data.end()) continue;  // a key without data: nothing to hold
    int64_t begin = 0;
    for (std::size_t i = 0; i < batch.meta.ids.size(); ++i) {
      const int64_t length = key.lengths.total(i);
      samples_[batch.meta.ids[i]][key.key] = found->second.narrow(0, begin, length);
      begin += length;
    }
  }
}

const at::Tensor& DataStore::slice(data::SampleId id, const data::KeyMetadata& key,
                                   int64_t length) const {
  const auto sample = samples_.find(id);
  if (sample == samples_.end()) {
    throw CallError(base::concat("sample ", id.value, " is not on this worker (key ", key.key, ")"),
                    {.expected = "the sample, held here or moved here by the data transfer",
                     .got = base::counted(samples_.size(), "other sample"),
                     .advice = "this is a fault of the master's plan: report it"});
  }
  const auto found = sample->second.find(key.key);
  if (found == sample->second.end()) {
    throw CallError(base::concat("sample ", id.value, " has no key ", key.key, " on this worker"),
                    {.expected = key.key,
                     .got = base::counted(sample->second.size(), "other key"),
                     .advice = "this is a fault of the master's plan: report it"});
  }
  if (found->second.size(0) != length) {
    throw CallError(
        base::concat("sample ", id.value, ", key ", key.key, ": length differs"),
        {.expected = base::concat(base::counted(length, "row"), ", as the master's metadata says"),
         .got = base::counted(found->second.size(0), "row"),
         .advice = "check that the interface returns lengths that match its data"});
  }
  return found->second;
}

data::SequenceBatch DataStore::gather(const data::BatchMetadata& wanted) const {
  data::SequenceBatch batch;
  batch.meta = wanted;
  for (const data::KeyMetadata& key : wanted.keys) {
    std::vector<at::Tensor> slices;
    slices.reserve(wanted.ids.size());
    for (std::size_t i = 0; i < wanted.ids.size(); ++i) {
      slices.push_back(slice(wanted.ids[i], key, key.lengths.total(i)));
    }
    if (!slices.empty()) batch.data[key.key] = at::cat(slices);
  }
  return batch;
}

std::optional<data::SequenceBatch> DataStore::find(std::span<const data::SampleId> ids,
                                                   std::span<const std::string> keys) const {
  data::SequenceBatch batch;
  batch.meta.ids.assign(ids.begin(), ids.end());
  for (const std::string& key : keys) {
    std::vector<at::Tensor> slices;
    std::vector<int32_t> lengths;
    for (const data::SampleId id : ids) {
      if (!has(id, key)) return std::nullopt;
      slices.push_back(samples_.at(id).at(key));
      lengths.push_back(static_cast<int32_t>(slices.back().size(0)));
    }
    if (!slices.empty()) batch.set(key, at::cat(slices), data::NestedLengths::of_single(lengths));
  }
  return batch;
}

bool DataStore::has(data::SampleId id, const std::string& key) const {
  const auto sample = samples_.find(id);
  return sample != samples_.end() && sample->second.contains(key);
}

void DataStore::clear(std::span<const data::SampleId> ids) {
  for (const data::SampleId id : ids) samples_.erase(id);
}

}  // namespace orrery::worker
