// Which experts a token goes through. The same function for training and generation, so that both
// choose alike. Private to src/model.
#pragma once

#include <cstdint>

namespace orrery::model {

template <class T>
struct RouteArgs {
  T* logits = nullptr;       // [n_rows, n_experts]; probabilities on return
  int64_t* index = nullptr;  // [n_rows, per_token] the largest first; of equal ones the lower index
  T* weight = nullptr;       // [n_rows, per_token]
  int64_t n_rows = 0;
  int64_t n_experts = 0;
  int64_t per_token = 0;
  bool normalise = false;  // the weights of a row sum to 1
};

template <class T>
void route(const RouteArgs<T>& args);

}  // namespace orrery::model
