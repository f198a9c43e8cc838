#include "orrery/comm/local_control_channel.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/comm/serialise.h"

namespace orrery::comm {

namespace {

/// Whole frames from several threads to one.
class Mailbox {
 public:
  struct Item {
    int from = -1;
    std::string bytes;
  };

  void put(Item item) {
    {
      const std::lock_guard lock(mutex_);
      items_.push_back(std::move(item));
    }
    changed_.notify_one();
  }

  /// Nobody will put any more.
  void close() {
    {
      const std::lock_guard lock(mutex_);
      is_closed_ = true;
    }
    changed_.notify_all();
  }

  std::optional<Item> take() {
    const std::lock_guard lock(mutex_);
    return take_locked();
  }

  std::optional<Item> take_within(std::chrono::nanoseconds limit) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, limit, [this] { return !items_.empty() || is_closed_; });
    return take_locked();
  }

  /// Nothing when closed and empty.
  std::optional<Item> take_when_there() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !items_.empty() || is_closed_; });
    return take_locked();
  }

 private:
  std::optional<Item> take_locked() {
    if (items_.empty()) return std::nullopt;
    Item item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> items_;
  bool is_closed_ = false;
};

/// Shared by all ends.
struct Post {
  explicit Post(int n_workers) : of_worker(static_cast<std::size_t>(n_workers)) {}
  Mailbox of_master;
  std::vector<Mailbox> of_worker;
};

class LocalControlChannel final : public ControlChannel {
 public:
  explicit LocalControlChannel(std::shared_ptr<Post> post)
      : post_(std::move(post)),
        next_request_(post_->of_worker.size(), 0),
        next_reply_(post_->of_worker.size(), 0) {}

  ~LocalControlChannel() override {
    for (Mailbox& mailbox : post_->of_worker) mailbox.close();
  }

  int n_workers() const override { return static_cast<int>(post_->of_worker.size()); }

  void send(int worker, const Request& request) override {
    if (worker < 0 || worker >= n_workers()) {
      throw CallError("request to a worker that does not exist",
                      {.expected = base::concat("a worker in 0..", n_workers() - 1),
                       .got = base::concat(worker),
                       .advice = "this is a fault of the program: report it"});
    }
    const auto i = static_cast<std::size_t>(worker);
    post_->of_worker[i].put({-1, frame_request(request, next_request_[i]++)});
  }

  std::optional<Reply> poll() override { return read(post_->of_master.take()); }

  std::optional<Reply> wait(std::chrono::nanoseconds limit) override {
    return read(post_->of_master.take_within(limit));
  }

  int64_t n_unsent() const override { return 0; }
  void drain(std::chrono::nanoseconds) override {}

 private:
  std::optional<Reply> read(std::optional<Mailbox::Item> item) {
    if (!item) return std::nullopt;
    uint64_t& next = next_reply_[static_cast<std::size_t>(item->from)];
    return read_reply(item->bytes, next++, base::concat("worker ", item->from));
  }

  std::shared_ptr<Post> post_;
  std::vector<uint64_t> next_request_;
  std::vector<uint64_t> next_reply_;
};

class LocalWorkerChannel final : public WorkerChannel {
 public:
  LocalWorkerChannel(std::shared_ptr<Post> post, int worker)
      : post_(std::move(post)), worker_(worker) {}

  Request receive() override {
    std::optional<Mailbox::Item> item = inbox().take_when_there();
    if (!item) {
      throw CommError(base::concat("worker ", worker_, " waits for a request"),
                      {.expected = "a request, or exit",
                       .got = "the master's end of the channel is gone",
                       .advice = "see why the master stopped"});
    }
    return read_request(item->bytes, next_request_++);
  }

  std::optional<Request> poll() override {
    std::optional<Mailbox::Item> item = inbox().take();
    if (!item) return std::nullopt;
    return read_request(item->bytes, next_request_++);
  }

  void reply(const Reply& reply) override {
    post_->of_master.put({worker_, frame_reply(reply, next_reply_++)});
  }

  void drain(std::chrono::nanoseconds) override {}

 private:
  Mailbox& inbox() { return post_->of_worker[static_cast<std::size_t>(worker_)]; }

  std::shared_ptr<Post> post_;
  int worker_;
  uint64_t next_request_ = 0;
  uint64_t next_reply_ = 0;
};

}  // namespace

LocalControlChannels make_local_control_channels(int n_workers) {
  const auto post = std::make_shared<Post>(n_workers);
  LocalControlChannels channels;
  channels.master = std::make_unique<LocalControlChannel>(post);
  for (int worker = 0; worker < n_workers; ++worker) {
    channels.workers.push_back(std::make_unique<LocalWorkerChannel>(post, worker));
  }
  return channels;
}

}  // namespace orrery::comm
