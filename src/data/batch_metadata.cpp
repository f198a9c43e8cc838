#include "orrery/data/batch_metadata.h"

#include <algorithm>  // sort, adjacent_find
#include <set>
#include <utility>  // move

#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // CallError
#include "orrery/base/index.h"
#include "orrery/base/text.h"  // concat, join

namespace orrery::data {

namespace {

using base::concat;

std::string key_list(const std::vector<KeyMetadata>& keys) {
  std::vector<std::string> names;
  for (const KeyMetadata& key : keys) names.push_back(key.key);
  return names.empty() ? "no keys" : base::join(names, ", ");
}

void check_count(std::string_view what, std::size_t count, std::size_t n_ids) {
  if (count == n_ids) return;
  throw CallError(concat("batch: ", what, " does not fit the samples"),
                  {.expected = concat("an entry for each of ", base::counted(n_ids, "sample")),
                   .got = concat(count),
                   .advice = "every key and extra of a batch covers all its ids"});
}

void check_unique(std::vector<SampleId> ids) {
  std::sort(ids.begin(), ids.end());
  const auto twice = std::adjacent_find(ids.begin(), ids.end());
  if (twice == ids.end()) return;
  throw CallError("batch: a sample comes twice",
                  {.expected = "each id once",
                   .got = concat("id ", twice->value, " more than once"),
                   .advice = "parts of one batch must not overlap"});
}

void check_indices(std::span<const int> indices, std::size_t n) {
  std::vector<bool> seen(n, false);
  for (const int index : indices) {
    if (index < 0 || static_cast<std::size_t>(index) >= n) {
      throw CallError(
          "batch: sample index out of range",
          {.expected = concat("0 to ", n, ", exclusive"), .got = concat(index), .advice = {}});
    }
    if (seen[base::index(index)]) {
      throw CallError(
          "batch: a sample is chosen twice",
          {.expected = "each index once", .got = concat(index, " again"), .advice = {}});
    }
    seen[base::index(index)] = true;
  }
}

std::vector<IndexRange> ranges_of(const std::vector<int>& sizes) {
  std::vector<IndexRange> ranges;
  int begin = 0;
  for (const int size : sizes) {
    ranges.push_back({begin, begin + size});
    begin += size;
  }
  return ranges;
}

}  // namespace

std::vector<IndexRange> SplitSpec::resolve(int n) const {
  if (!sizes && !ranges) {
    throw CallError("batch: split without sizes or ranges",
                    {.expected = "one of them", .got = "neither", .advice = {}});
  }
  const std::vector<IndexRange> parts = sizes ? ranges_of(*sizes) : *ranges;
  if (sizes && ranges && parts != *ranges) {
    throw CallError("batch: split sizes and ranges disagree",
                    {.expected = concat("the ranges of the ", sizes->size(), " sizes"),
                     .got = concat(ranges->size(), " other ranges"),
                     .advice = "give only one of them"});
  }
  int end = 0;
  for (const IndexRange& part : parts) {
    const bool fits = part.begin == end && (sizes ? part.end >= end : part.end > end);
    if (!fits) {
      throw CallError("batch: split with a gap, an overlap or an empty range",
                      {.expected = concat("a range from ", end),
                       .got = concat(part.begin, " to ", part.end),
                       .advice = {}});
    }
    end = part.end;
  }
  if (end != n) {
    throw CallError("batch: split does not cover the samples",
                    {.expected = concat(base::counted(n, "sample"), " in all parts together"),
                     .got = concat(end),
                     .advice = "what no part holds would be lost"});
  }
  return parts;
}

const KeyMetadata* BatchMetadata::find(std::string_view key) const {
  for (const KeyMetadata& entry : keys) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

KeyMetadata* BatchMetadata::find(std::string_view key) {
  return const_cast<KeyMetadata*>(std::as_const(*this).find(key));
}

const KeyMetadata& BatchMetadata::at(std::string_view key) const {
  const KeyMetadata* found = find(key);
  if (found == nullptr) {
    throw CallError(concat("batch: no key ", key),
                    {.expected = std::string(key),
                     .got = key_list(keys),
                     .advice = "check the inputs of the call and who writes this key"});
  }
  return *found;
}

void BatchMetadata::check() const {
  check_unique(ids);
  std::set<std::string_view> names;
  for (const KeyMetadata& key : keys) {
    if (!names.insert(key.key).second) {
      throw CallError(concat("batch: key ", key.key, " comes twice"),
                      {.expected = "each key once", .got = key_list(keys), .advice = {}});
    }
    check_count(concat("key ", key.key), key.lengths.size(), size());
    for (const int32_t length : key.lengths.flat()) {
      if (length < 0) {
        throw CallError(concat("batch: key ", key.key, " has a negative length"),
                        {.expected = "0 or more", .got = concat(length), .advice = {}});
      }
    }
  }
  for (const auto& [name, texts] : extra) check_count(concat("extra ", name), texts.size(), size());
}

BatchMetadata BatchMetadata::select(std::span<const std::string> wanted) const {
  BatchMetadata result{.ids = ids, .keys = {}, .extra = extra};
  for (const std::string& key : wanted) {
    if (!result.contains(key)) result.keys.push_back(at(key));
  }
  return result;
}

BatchMetadata BatchMetadata::select_samples(std::span<const int> indices) const {
  check_indices(indices, size());
  BatchMetadata result;
  result.ids.reserve(indices.size());
  for (const int index : indices) result.ids.push_back(ids[base::index(index)]);
  result.keys.reserve(keys.size());
  for (const KeyMetadata& key : keys) {
    result.keys.push_back({key.key, key.dtype, key.trailing_shape, key.lengths.select(indices)});
  }
  for (const auto& [name, texts] : extra) {
    std::vector<std::string>& chosen = result.extra[name];
    for (const int index : indices) chosen.push_back(texts[base::index(index)]);
  }
  return result;
}

BatchMetadata BatchMetadata::slice(IndexRange range) const {
  if (range.begin < 0 || range.end < range.begin || static_cast<std::size_t>(range.end) > size()) {
    throw CallError("batch: slice out of range",
                    {.expected = concat("a range within 0 to ", size()),
                     .got = concat(range.begin, " to ", range.end),
                     .advice = {}});
  }
  const auto begin = static_cast<std::size_t>(range.begin);
  const auto end = static_cast<std::size_t>(range.end);
  BatchMetadata result;
  result.ids.assign(ids.begin() + range.begin, ids.begin() + range.end);
  for (const KeyMetadata& key : keys) {
    result.keys.push_back({key.key, key.dtype, key.trailing_shape, key.lengths.slice(begin, end)});
  }
  for (const auto& [name, texts] : extra) {
    result.extra[name].assign(texts.begin() + range.begin, texts.begin() + range.end);
  }
  return result;
}

BatchMetadata BatchMetadata::reorder(std::span<const int> order) const {
  check_count("the new order", order.size(), size());
  return select_samples(order);
}

BatchMetadata BatchMetadata::remap(const std::map<std::string, std::string>& new_names) const {
  BatchMetadata result = *this;
  for (KeyMetadata& key : result.keys) {
    if (const auto found = new_names.find(key.key); found != new_names.end()) {
      key.key = found->second;
    }
  }
  result.check();
  return result;
}

namespace {

void append_key(KeyMetadata& whole, const KeyMetadata& part) {
  if (part.dtype != whole.dtype || part.trailing_shape != whole.trailing_shape) {
    throw CallError(concat("batch: parts disagree about key ", whole.key),
                    {.expected = concat(name(whole.dtype), " with trailing shape [",
                                        base::join(whole.trailing_shape, ", "), "]"),
                     .got = concat(name(part.dtype), " with trailing shape [",
                                   base::join(part.trailing_shape, ", "), "]"),
                     .advice = "all workers must produce a key in the same type and shape"});
  }
  whole.lengths.append(part.lengths);
}

}  // namespace

BatchMetadata gather(std::span<const BatchMetadata> parts,
                     const std::optional<std::vector<std::string>>& wanted) {
  if (parts.empty()) {
    throw CallError("batch: gather of nothing",
                    {.expected = "at least one part", .got = "none", .advice = {}});
  }
  BatchMetadata result = wanted ? parts[0].select(*wanted) : parts[0];
  for (const BatchMetadata& part : parts.subspan(1)) {
    result.ids.insert(result.ids.end(), part.ids.begin(), part.ids.end());
    for (KeyMetadata& key : result.keys) append_key(key, part.at(key.key));
    for (auto& [name, texts] : result.extra) {
      const auto found = part.extra.find(name);
      if (found == part.extra.end()) {
        texts.insert(texts.end(), part.size(), "null");
      } else {
        texts.insert(texts.end(), found->second.begin(), found->second.end());
      }
    }
  }
  result.check();
  return result;
}

std::vector<int> minibatch_sizes(int n, int n_parts) {
  if (n < 0 || n_parts < 1) {
    throw CallError("minibatches: impossible count",
                    {.expected = "at least 1 minibatch of 0 or more samples",
                     .got = concat(n_parts, " of ", base::counted(n, "sample")),
                     .advice = {}});
  }
  std::vector<int> sizes(static_cast<std::size_t>(n_parts), n / n_parts);
  for (int i = 0; i < n % n_parts; ++i) ++sizes[base::index(i)];
  return sizes;
}

}  // namespace orrery::data
