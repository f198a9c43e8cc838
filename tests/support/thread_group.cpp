#include "thread_group.h"

#include <utility>

namespace orrery::comm {

Missing ThreadGroup::half_meeting(std::unique_lock<std::mutex>& lock, int rank,
                                  Clock::time_point deadline) {
  here_[static_cast<std::size_t>(rank)] = true;
  const uint64_t this_half = half_meetings_;
  if (++n_here_ == size_) {
    n_here_ = 0;
    here_.assign(here_.size(), false);
    ++half_meetings_;
    changed_.notify_all();
    return {};
  }
  if (changed_.wait_until(lock, deadline, [&] { return half_meetings_ != this_half; })) return {};
  Missing missing;
  for (int r = 0; r < size_; ++r) {
    if (!here_[static_cast<std::size_t>(r)]) missing.ranks.push_back(r);
  }
  return missing;
}

Missing ThreadGroup::meet(int rank, Contribution contribution, Clock::time_point deadline,
                          const std::function<void(const std::vector<Contribution>&)>& look) {
  std::unique_lock lock(mutex_);
  contributions_[static_cast<std::size_t>(rank)] = std::move(contribution);
  if (Missing missing = half_meeting(lock, rank, deadline); !missing.is_empty()) return missing;
  lock.unlock();
  look(contributions_);  // nobody writes before all have left
  lock.lock();
  return half_meeting(lock, rank, deadline);
}

void ThreadGroup::post(const std::shared_ptr<Letter>& letter) {
  const std::lock_guard lock(mutex_);
  letters_.push_back(letter);
  ++mail_changes_;
  changed_.notify_all();
}

std::shared_ptr<ThreadGroup::Letter> ThreadGroup::find(int from, int to) {
  const std::lock_guard lock(mutex_);
  for (const std::shared_ptr<Letter>& letter : letters_) {
    if (letter->from == from && letter->to == to) return letter;
  }
  return nullptr;
}

void ThreadGroup::taken(const std::shared_ptr<Letter>& letter) {
  const std::lock_guard lock(mutex_);
  letter->is_taken = true;
  letters_.remove(letter);
  ++mail_changes_;
  changed_.notify_all();
}

void ThreadGroup::wait_for_mail(uint64_t seen, Clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [&] { return mail_changes_ != seen; });
}

uint64_t ThreadGroup::changes() {
  const std::lock_guard lock(mutex_);
  return mail_changes_;
}

bool ThreadGroup::is_taken(const Letter& letter) {
  const std::lock_guard lock(mutex_);
  return letter.is_taken;
}

std::shared_ptr<ThreadGroup> ThreadGroup::subgroup(int colour, int size) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<ThreadGroup>& group = subgroups_[colour];
  if (!group) group = std::make_shared<ThreadGroup>(size);
  return group;
}

void ThreadGroup::forget_subgroups() {
  const std::lock_guard lock(mutex_);
  subgroups_.clear();
}

}  // namespace orrery::comm
