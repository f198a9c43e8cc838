// Which experts a token goes through. The same function for training and generation, so that both
// choose alike. Private to src/model.
#pragma once

#include "orrery/kernels/route_rows.h"

namespace orrery::model {

/// All pointers are the host's.
template <class T>
void route(const kernels::RouteRowsArgs<T>& args);

}  // namespace orrery::model
