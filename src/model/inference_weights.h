// The weights of a shard as generation reads them: every matrix in panels
// (kernels/packed_gemm.h), all of them in one block in the order in which a token meets them, so
// that what is asked for ahead of one matmul is the beginning of the next.
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

/// The weight of a norm as it multiplies (1 + w where the model has that), and its bias.
template <class T>
struct NormWeights {
  std::vector<T> weight;
  std::vector<T> bias;  // empty: none
};

template <class T>
class InferenceWeights {
 public:
  struct Mlp {
    PackedMatrix<T> up;  // gate and up, or up alone
    PackedMatrix<T> down;
  };
  struct Layer {
    int64_t window = 0;  // of its attention; 0: none
    NormWeights<T> input_norm, post_attention_norm;
    std::vector<T> q_norm, k_norm;
    PackedMatrix<T> qkv, output;
    Mlp mlp;                      // in a layer without experts
    PackedMatrix<T> router;       // in a layer of experts, and what follows
    int64_t first_expert = 0;     // expert of `experts` 0
    std::vector<Mlp> experts;     // of this tensor rank
    Mlp shared;                   // of the shared expert, where there is one
    PackedMatrix<T> shared_gate;  // n_out 0: no shared expert

    bool has_experts() const { return router.packed != nullptr; }
  };

  /// Packs the weights as they are now: about the cost of copying them.
  explicit InferenceWeights(const Decoder& decoder);

  std::vector<Layer> layers;
  NormWeights<T> final_norm;     // last stage
  PackedMatrix<T> head;          // last stage
  const T* embedding = nullptr;  // [own V, H] in the decoder's flat buffer; first stage
  const T* positions = nullptr;  // [positions, H] likewise; null: rotary positions

 private:
  PackedMatrix<T> pack(const Decoder& decoder, const std::string& first_name, int64_t n_out,
                       int64_t n_in, const std::string& first_bias = {});
  Mlp pack_mlp(const Decoder& decoder, const Architecture& a, const std::string& prefix,
               int64_t width, bool has_bias);
  void pack_experts(const Decoder& decoder, const Architecture& a, const std::string& prefix,
                    Layer& layer);

  base::LargeMemory memory_;
  T* next_ = nullptr;  // where the next matrix goes
};

/// A text that is another one when any parameter is: tells whether packed weights are still good.
/// Reads them all, at about the memory's rate.
std::string fingerprint(const Decoder& decoder);

}  // namespace orrery::model
