#include "orrery/algorithm/minibatches.h"

#include <numeric>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/hash.h"
#include "orrery/base/index.h"
#include "orrery/base/philox.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

data::SequenceBatch by_sequence(const data::SequenceBatch& batch) {
  const size_t n = batch.meta.at("packed_input_ids").lengths.n_sequences();
  data::SequenceBatch result;
  for (size_t i = 0; i < n; ++i) result.meta.ids.push_back({i});
  for (const data::KeyMetadata& key : batch.meta.keys) {
    if (key.lengths.n_sequences() != n) {
      throw ShapeError(
          base::concat("key ", key.key, " has no entry for each sequence"),
          {.expected = base::concat(base::counted(n, "sequence"), ", as packed_input_ids"),
           .got = base::concat(key.lengths.n_sequences()),
           .advice = {}});
    }
    result.set(key.key, batch.at(key.key), data::NestedLengths::of_single(key.lengths.flat()));
  }
  return result;
}

std::vector<int> minibatch_order(const MinibatchKey& key, int n) {
  std::vector<int> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const uint64_t stream =
      base::hash64(base::concat("minibatches ", key.step, " ", key.reuse, " ", key.data_rank));
  for (int i = n - 1; i > 0; --i) {
    const uint64_t j = base::philox_below(key.seed, stream, static_cast<uint64_t>(i),
                                          static_cast<uint64_t>(i) + 1);
    std::swap(order[base::index(i)], order[j]);
  }
  return order;
}

std::vector<std::vector<int>> cut_minibatches(const std::vector<int>& order, int n_parts) {
  std::vector<std::vector<int>> parts;
  auto begin = order.begin();
  for (const int size : data::minibatch_sizes(static_cast<int>(order.size()), n_parts)) {
    parts.emplace_back(begin, begin + size);
    begin += size;
  }
  return parts;
}

std::vector<std::vector<int>> minibatches_of(const data::SequenceBatch& batch,
                                             const CallContext& call, int64_t n_minibatches,
                                             int64_t ppo_epochs) {
  std::vector<std::vector<int>> all;
  for (int64_t reuse = 0; reuse < ppo_epochs; ++reuse) {
    const std::vector<int> order = minibatch_order(
        {.seed = call.seed, .step = call.step, .reuse = reuse, .data_rank = call.data_rank},
        static_cast<int>(batch.size()));
    for (std::vector<int>& part : cut_minibatches(order, static_cast<int>(n_minibatches))) {
      all.push_back(std::move(part));
    }
  }
  return all;
}

}  // namespace orrery::algorithm
