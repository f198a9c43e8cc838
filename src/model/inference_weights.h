// The weights of a shard as generation reads them: every matrix in panels
// (kernels/packed_product.h), all of them in one block in the order in which a token meets them, so
// that what is asked for ahead of one product is the beginning of the next.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "orrery/base/large_memory.h"
#include "orrery/model/decoder.h"

namespace orrery::model {

template <class T>
struct PackedMatrix {
  const T* packed = nullptr;
  std::vector<T> bias;  // empty: none
  int64_t n_out = 0, n_in = 0;
};

template <class T>
class InferenceWeights {
 public:
  struct Layer {
    std::vector<T> input_norm, middle_norm, q_norm, k_norm;
    PackedMatrix<T> qkv, output, gate_up, down;
  };

  /// Packs the weights as they are now: about the cost of copying them.
  explicit InferenceWeights(const Decoder& decoder);

  std::vector<Layer> layers;
  std::vector<T> final_norm;     // last stage
  PackedMatrix<T> head;          // last stage
  const T* embedding = nullptr;  // [own V, H] in the decoder's flat buffer; first stage

 private:
  PackedMatrix<T> pack(const Decoder& decoder, const std::string& first_name, int64_t n_out,
                       int64_t n_in, const std::string& first_bias = {});

  base::LargeMemory memory_;
  T* next_ = nullptr;  // where the next matrix goes
};

/// A text that is another one when any parameter is: tells whether packed weights are still good.
/// Reads them all, at about the memory's rate.
std::string fingerprint(const Decoder& decoder);

}  // namespace orrery::model
