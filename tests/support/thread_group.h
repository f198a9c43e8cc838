// Where the threads of a group meet. No tensors' meaning here: a meeting shows every rank what all
// ranks brought, and lets none go before all have looked; a letter goes from one rank to another.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::comm {

/// Ranks that did not come in time.
struct Missing {
  std::vector<int> ranks;
  bool is_empty() const { return ranks.empty(); }
};

class ThreadGroup {
 public:
  using Clock = std::chrono::steady_clock;

  /// What one rank brings to a meeting.
  struct Contribution {
    std::string_view operation;
    at::Tensor in;   // read by others
    int colour = 0;  // split
    int key = 0;     // split
  };

  explicit ThreadGroup(int size)
      : size_(size),
        contributions_(static_cast<std::size_t>(size)),
        here_(static_cast<std::size_t>(size), false) {}

  /// Waits until all ranks have come with their contributions, shows all of them to `look` (which
  /// runs on every rank at the same time and may only read), and returns when all have looked.
  /// Returns the ranks that did not come (or stay) until `deadline`; then the group is of no use.
  Missing meet(int rank, Contribution contribution, Clock::time_point deadline,
               const std::function<void(const std::vector<Contribution>&)>& look);

  struct Letter {
    int from = -1;
    int to = -1;
    at::Tensor tensor;  // the sender's own
    bool is_taken = false;
  };

  /// Leaves a letter for its receiver, who may be elsewhere still.
  void post(const std::shared_ptr<Letter>& letter);
  /// Oldest letter from one rank to another, null when there is none. It stays until taken().
  std::shared_ptr<Letter> find(int from, int to);
  /// The receiver has copied the letter.
  void taken(const std::shared_ptr<Letter>& letter);
  /// Waits until a letter is posted or taken after `seen` (see changes()), at most until
  /// `deadline`.
  void wait_for_mail(uint64_t seen, Clock::time_point deadline);
  uint64_t changes();
  bool is_taken(const Letter& letter);

  /// Group of a colour in the split that is under way: all ranks that ask get the same.
  std::shared_ptr<ThreadGroup> subgroup(int colour, int size);
  void forget_subgroups();

 private:
  Missing half_meeting(std::unique_lock<std::mutex>& lock, int rank, Clock::time_point deadline);

  int size_;
  std::mutex mutex_;
  std::condition_variable changed_;

  // A meeting has two halves: arriving (contributions are set) and leaving (they have been read).
  std::vector<Contribution> contributions_;  // by rank
  std::vector<bool> here_;                   // by rank
  int n_here_ = 0;
  uint64_t half_meetings_ = 0;  // finished

  std::list<std::shared_ptr<Letter>> letters_;
  uint64_t mail_changes_ = 0;
  std::map<int, std::shared_ptr<ThreadGroup>> subgroups_;
};

}  // namespace orrery::comm
