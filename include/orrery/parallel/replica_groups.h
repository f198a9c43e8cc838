// The groups that one shard of a replica communicates in. Nothing is owned.
#pragma once

#include "orrery/comm/communicator.h"

namespace orrery::parallel {

/// A group of one rank may be null, except `data` and `model`. Ranks are coordinates.
struct ReplicaGroups {
  comm::Communicator* model = nullptr;      ///< all shards, ranks (pipe, data, tensor)
  comm::Communicator* data = nullptr;       ///< same stage and tensor rank
  comm::Communicator* tensor = nullptr;     ///< same stage and data rank
  comm::Communicator* pipe = nullptr;       ///< same data and tensor rank
  comm::Communicator* embedding = nullptr;  ///< first and last stage of a pipe group, when tied

  /// Of a replica that is one shard: one group is all of them.
  static ReplicaGroups data_parallel(comm::Communicator& data) {
    return {.model = &data, .data = &data};
  }
};

}  // namespace orrery::parallel
