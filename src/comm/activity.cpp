#include "orrery/comm/activity.h"

namespace orrery::comm {

Activity::Waiting::Waiting(Activity* activity, std::string_view operation,
                           std::string_view communicator, std::span<const int> peers)
    : activity_(activity),
      operation_(operation),
      communicator_(communicator),
      peers_(peers),
      since_(Clock::now()) {
  if (activity_ == nullptr) return;
  const std::lock_guard lock(activity_->mutex_);
  outer_ = activity_->innermost_;
  activity_->innermost_ = this;
}

Activity::Waiting::~Waiting() {
  if (activity_ == nullptr) return;
  activity_->advance();
  const std::lock_guard lock(activity_->mutex_);
  Waiting** link = &activity_->innermost_;
  while (*link != this) link = &(*link)->outer_;  // other threads' scopes may have begun since
  *link = outer_;
}

Activity::Snapshot Activity::snapshot() const {
  Snapshot snapshot;
  snapshot.progress = progress();
  const std::lock_guard lock(mutex_);
  if (innermost_ == nullptr) return snapshot;
  snapshot.is_waiting = true;
  snapshot.operation = innermost_->operation_;
  snapshot.communicator = innermost_->communicator_;
  snapshot.peers.assign(innermost_->peers_.begin(), innermost_->peers_.end());
  snapshot.since = innermost_->since_;
  return snapshot;
}

}  // namespace orrery::comm
