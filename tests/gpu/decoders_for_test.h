// Small decoders of every kind, on the CPU and, with the same parameters, on a GPU.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "orrery/model/decoder.h"
#include "orrery/model/packed_tokens.h"
#include "shards_for_test.h"

namespace orrery::model {

inline PackedTokens some_tokens(int64_t vocab_size) {
  const std::vector<int32_t> lengths{5, 1, 12, 2, 21};
  return pack_tokens((at::arange(41) * 7 + 3) % vocab_size, lengths);
}

/// On a GPU, with the parameters of `cpu`.
inline Decoder on_gpu(const Decoder& cpu, int gpu, Shard shard = {}) {
  Decoder decoder(cpu.architecture(), cpu.parameters().dtype(),
                  at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu)), shard);
  decoder.parameters().values().copy_(cpu.parameters().values());
  return decoder;
}

inline Decoder on_cpu(const std::string& kind, at::ScalarType dtype, Shard shard = {}) {
  Decoder decoder(parallel::four_layers(kind), dtype, at::kCPU, shard);
  parallel::disturb(decoder.parameters());
  return decoder;
}

}  // namespace orrery::model
