// What a pass over the layers of a model does when, as NVTX ranges beside those of the calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace orrery::metrics {

/// Ranges over groups of layers, at most kMostGroups in a pass: `forward: layers 4-7`. Where no
/// profiler listens enter() is a comparison. One thread.
class LayerRanges {
 public:
  static constexpr int64_t kMostGroups = 8;

  /// A pass over `n_layers` layers, of which the model calls the first one `first`; `pass` outlives
  /// this.
  LayerRanges(std::string_view pass, int64_t first, int64_t n_layers);
  /// Closes the range that is open.
  ~LayerRanges();
  LayerRanges(const LayerRanges&) = delete;
  LayerRanges& operator=(const LayerRanges&) = delete;

  /// Before layer `layer` of the pass, 0 to n_layers - 1, upwards or downwards.
  void enter(int64_t layer) {
    if (is_heard_) open(layer / group_size_);
  }

 private:
  static constexpr int64_t kNone = -1;
  void open(int64_t group);

  bool is_heard_;
  std::string_view pass_;
  int64_t first_;
  int64_t n_layers_;
  int64_t group_size_;
  int64_t group_ = kNone;  // whose range is open
};

}  // namespace orrery::metrics
