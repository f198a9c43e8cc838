// One row of a data set, as the master orders it and a worker reads it.
#pragma once

#include <cstdint>

#include "orrery/data/sample_id.h"

namespace orrery::data {

struct RowRef {
  int32_t dataset = 0;  // place of its section among the configuration's [dataset.*] sections
  int64_t row = 0;      // row of that data set's index
  int64_t epoch = 0;    // how many times the data set was gone through before, from 0
  SampleId id;          // the handle given to this (dataset, row, epoch)

  bool operator==(const RowRef&) const = default;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(dataset, row, epoch, id);
  }
};

}  // namespace orrery::data
