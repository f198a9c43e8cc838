// What this process waits for at the moment, for a reader in another thread: the watchdog, which
// must be able to say who waits for whom while the main thread hangs inside a collective.
// Mostly one writer at a time (main thread, or autograd's device thread while the main thread
// waits); any number of readers.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::comm {

/// Published by communicators around every wait for a peer.
class Activity {
 public:
  using Clock = std::chrono::steady_clock;

  /// A copy that stays valid.
  struct Snapshot {
    bool is_waiting = false;
    std::string operation;      ///< `all_reduce`; empty when not waiting
    std::string communicator;   ///< `actor.0/tensor1`
    std::vector<int> peers;     ///< workers it waits for
    Clock::time_point since{};  ///< when it began to wait
    uint64_t progress = 0;      ///< counts finished operations and every advance()
  };

  /// From construction to destruction the writer waits inside `operation`. Of several scopes the
  /// last one that began is shown. The three arguments are not copied and must outlive the scope.
  class Waiting {
   public:
    Waiting(Activity* activity, std::string_view operation, std::string_view communicator,
            std::span<const int> peers);
    ~Waiting();
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    friend class Activity;
    Activity* activity_;  // may be null: nobody watches
    std::string_view operation_;
    std::string_view communicator_;
    std::span<const int> peers_;
    Clock::time_point since_;
    Waiting* outer_ = nullptr;
  };

  /// Something was finished: a decode step, a micro-batch, a collective. Lock-free; any thread.
  void advance() { progress_.fetch_add(1, std::memory_order_relaxed); }
  uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }

  /// What the writer waits for now. Takes a lock that the writer holds for some nanoseconds only,
  /// never while it waits. Any thread.
  Snapshot snapshot() const;

 private:
  mutable std::mutex mutex_;
  Waiting* innermost_ = nullptr;  // guarded by mutex_, as are the fields of what it points to
  std::atomic<uint64_t> progress_{0};
};

}  // namespace orrery::comm
