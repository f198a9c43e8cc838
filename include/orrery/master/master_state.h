// What of the master must survive a resume. Plain values; the sequence buffer and the storage
// tracker are empty at the end of a step, but for groups that dynamic sampling carries over, and
// need not be kept.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "orrery/data/data_order.h"
#include "orrery/master/best_model.h"
#include "orrery/master/frequency_control.h"
#include "orrery/master/refill.h"  // RefillState

namespace orrery::master {

struct MasterState {
  int64_t steps_done = 0;
  double seconds = 0;           ///< of training, over all resumed parts
  bool target_reached = false;  ///< an evaluation gave what was asked for
  int64_t evaluated_at = -1;    ///< step after which it was done last; -1: never
  int64_t exported_at = -1;
  FrequencyControl::State evaluate, export_models, checkpoint;
  BestModel::State best;
  std::map<std::string, int64_t> role_versions;  ///< of each role's replica 0
  data::DataOrder::State order;                  ///< before the next step's samples
  /// Of dynamic sampling; `order` is then behind its upcoming prompts.
  std::optional<RefillState> refill = {};
};

}  // namespace orrery::master
