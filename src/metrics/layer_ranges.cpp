#include "orrery/metrics/layer_ranges.h"

#include <algorithm>

#include "nvtx_range.h"
#include "orrery/base/text.h"

namespace orrery::metrics {

LayerRanges::LayerRanges(std::string_view pass, int64_t first, int64_t n_layers)
    : is_heard_(is_nvtx_heard()),
      pass_(pass),
      first_(first),
      n_layers_(n_layers),
      group_size_(std::max<int64_t>(1, (n_layers + kMostGroups - 1) / kMostGroups)) {}

LayerRanges::~LayerRanges() {
  if (group_ != kNone) pop_nvtx_range();
}

void LayerRanges::open(int64_t group) {
  if (group == group_) return;
  if (group_ != kNone) pop_nvtx_range();
  group_ = group;
  const int64_t begin = group * group_size_;
  const int64_t last = std::min(begin + group_size_, n_layers_) - 1;
  push_nvtx_range(begin == last
                      ? base::concat(pass_, ": layer ", first_ + begin)
                      : base::concat(pass_, ": layers ", first_ + begin, "-", first_ + last));
}

}  // namespace orrery::metrics
