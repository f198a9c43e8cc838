// A model function call: one node of the dataflow graph, with everything that planning needs and
// nothing that only the algorithm needs (its options stay in config::CallConfig). Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/config/experiment.h"  // config::KeyBinding
#include "orrery/graph/layout.h"

namespace orrery::graph {

enum class CallKind { kGenerate, kInference, kTrainStep };

/// `generate`, `inference` or `train_step`, as written in configurations.
std::string_view name_of(CallKind kind);

/// Kind of that name, or nothing.
std::optional<CallKind> call_kind_named(std::string_view name);

struct Call {
  std::string name = {};
  CallKind kind = CallKind::kInference;
  std::string interface = {};
  std::string role = {};
  /// Index of its layout among the role's distinct layouts; the trained one, else the first, is 0.
  int replica = 0;
  std::vector<config::KeyBinding> inputs = {};
  std::vector<config::KeyBinding> outputs = {};
  int64_t n_seqs = 0;  ///< samples taken by one run of the call
  Layout layout = {};
  int64_t max_tokens_per_micro_batch = 0;  ///< 0 = no limit
  int64_t n_micro_batches = 1;
  bool log_return_value = false;
  std::string post_realloc =
      {};          ///< role that receives this role's parameters after the call, or empty
  double eta = 1;  ///< dst = eta·src + (1−eta)·dst of that transfer
  /// False for roles without parameters (rule rewards): nothing to load, move or release.
  bool has_parameters = true;
};

}  // namespace orrery::graph
