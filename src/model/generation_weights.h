// The weights of a shard as generation reads them. On the CPU every matrix is in panels
// (kernels/packed_gemm.h), all of them in one block in the order in which a token meets them, so
// that what is asked for ahead of one matmul is the beginning of the next; on a GPU as it lies.
// Private to src/model.
#pragma once

#include <string>

#include "orrery/base/large_memory.h"
#include "orrery/model/decoder.h"
#include "shard_weights.h"

namespace orrery::model {

class GenerationWeights {
 public:
  /// Packs the weights as they are now: about the cost of copying them. `decoder` must outlive
  /// them: its embedding and biases are read where they are. Throws std::bad_alloc.
  explicit GenerationWeights(const Decoder& decoder);

  const ShardWeights& shard() const { return shard_; }

 private:
  base::LargeMemory memory_;
  ShardWeights shard_;
};

/// A text that is another one when any parameter is: tells whether packed weights are still good.
/// Reads them all, at about the memory's rate; those of a GPU are copied to the host for it.
std::string fingerprint(const Decoder& decoder);

}  // namespace orrery::model
