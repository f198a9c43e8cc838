// One master, many workers:
//
//   send ──> FrameSender ──Isend──> FrameReceiver ──> receive     requests, numbered per worker
//   poll <── FrameReceiver <──Isend── FrameSender <── reply       replies, numbered per worker
//
// consumes:  requests (master), replies (workers)
// produces:  the same at the other end, in sending order per worker
// waits for: nothing, except receive() for the master and drain() with a limit
#include "orrery/comm/mpi_control_channel.h"

#include <utility>
#include <vector>

#include "mpi_frames.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/comm/backoff.h"
#include "orrery/comm/mpi_handle.h"

namespace orrery::comm {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMasterRank = 0;

// After a reply the worker goes back to work that may not enter MPI for long. A reply too long for
// MPI to send at once leaves only while the worker asks; the master polls, so it takes it soon.
constexpr std::chrono::microseconds kReplyPatience{500};

/// Progresses `sender` until everything has left or `limit` has passed.
void send_rest(FrameSender& sender, std::chrono::nanoseconds limit) {
  const auto deadline = Clock::now() + limit;
  Backoff backoff;
  sender.progress();
  while (sender.n_unsent() > 0 && Clock::now() < deadline) {
    backoff.pause();
    sender.progress();
  }
}

class MpiControlChannel final : public ControlChannel {
 public:
  MpiControlChannel(MPI_Comm world, const NodeMap& nodes, MpiControlOptions options)
      : comm_(duplicate(world)),
        sender_(comm_.get(), MessageTag::kRequest, options.max_chunk_bytes),
        receiver_(comm_.get(), MessageTag::kReply),
        rank_of_worker_(nodes.rank_of_worker),
        worker_of_rank_(nodes.worker_of_rank),
        next_request_(nodes.rank_of_worker.size(), 0),
        next_reply_(nodes.rank_of_worker.size(), 0) {}

  int n_workers() const override { return static_cast<int>(rank_of_worker_.size()); }

  void send(int worker, const Request& request) override {
    if (worker < 0 || worker >= n_workers()) {
      throw CallError("request to a worker that does not exist",
                      {.expected = base::concat("a worker in 0..", n_workers() - 1),
                       .got = base::concat(worker),
                       .advice = "this is a fault of the program: report it"});
    }
    const auto i = static_cast<std::size_t>(worker);
    sender_.send(rank_of_worker_[i], frame_request(request, next_request_[i]));
    ++next_request_[i];  // only after a successful send: a retry keeps its number
  }

  std::optional<Reply> poll() override {
    sender_.progress();
    const std::optional<FrameReceiver::Arrived> frame = receiver_.poll();
    if (!frame) return std::nullopt;
    const int worker = worker_of_rank_.at(static_cast<std::size_t>(frame->rank));
    ORRERY_ASSERT(worker >= 0, "a reply from the master itself");
    uint64_t& next = next_reply_[base::index(worker)];
    Reply reply = read_reply(frame->bytes, next, base::concat("worker ", worker));
    ++next;
    if (reply.worker != worker) {
      throw ProtocolError("reply in another worker's name",
                          {.expected = base::concat("worker ", worker),
                           .got = base::concat("worker ", reply.worker),
                           .advice = "this is a fault of the program: report it"});
    }
    return reply;
  }

  std::optional<Reply> wait(std::chrono::nanoseconds limit) override {
    const auto deadline = Clock::now() + limit;
    Backoff backoff;
    while (true) {
      std::optional<Reply> reply = poll();
      if (reply || Clock::now() >= deadline) return reply;
      if (receiver_.is_receiving()) backoff.reset();
      backoff.pause();
    }
  }

  int64_t n_unsent() const override { return sender_.n_unsent(); }

  void drain(std::chrono::nanoseconds limit) override {
    send_rest(sender_, limit);
    if (sender_.n_unsent() == 0) return;
    std::vector<int> late;
    for (const int rank : sender_.late_ranks()) {
      late.push_back(worker_of_rank_[base::index(rank)]);
    }
    throw CommError(base::concat(sender_.n_unsent(), " control messages were not taken in time"),
                    {.expected = base::concat("workers ", base::join(late, ","),
                                              " to take them within ", base::duration_text(limit)),
                     .got = "no answer from MPI",
                     .advice = "see in the log what these workers do"});
  }

 private:
  UniqueMpiComm comm_;
  FrameSender sender_;
  FrameReceiver receiver_;
  std::vector<int> rank_of_worker_;
  std::vector<int> worker_of_rank_;
  std::vector<uint64_t> next_request_;  // by worker
  std::vector<uint64_t> next_reply_;    // by worker
};

class MpiWorkerChannel final : public WorkerChannel {
 public:
  MpiWorkerChannel(MPI_Comm world, MpiControlOptions options)
      : comm_(duplicate(world)),
        sender_(comm_.get(), MessageTag::kReply, options.max_chunk_bytes),
        receiver_(comm_.get(), MessageTag::kRequest) {}

  std::optional<Request> poll() override {
    sender_.progress();
    const std::optional<FrameReceiver::Arrived> frame = receiver_.poll();
    if (!frame) return std::nullopt;
    Request request = read_request(frame->bytes, next_request_);
    ++next_request_;
    return request;
  }

  Request receive() override {
    Backoff backoff;
    while (true) {
      if (std::optional<Request> request = poll()) return std::move(*request);
      if (receiver_.is_receiving()) backoff.reset();
      backoff.pause();
    }
  }

  void reply(const Reply& reply) override {
    sender_.send(kMasterRank, frame_reply(reply, next_reply_));
    ++next_reply_;
    send_rest(sender_, kReplyPatience);
  }

  void drain(std::chrono::nanoseconds limit) override {
    send_rest(sender_, limit);
    if (sender_.n_unsent() == 0) return;
    throw CommError(
        base::concat(sender_.n_unsent(), " replies were not taken in time"),
        {.expected = base::concat("the master to take them within ", base::duration_text(limit)),
         .got = "no answer from MPI",
         .advice = "see in the log what the master does"});
  }

 private:
  UniqueMpiComm comm_;
  FrameSender sender_;
  FrameReceiver receiver_;
  uint64_t next_request_ = 0;
  uint64_t next_reply_ = 0;
};

}  // namespace

std::unique_ptr<ControlChannel> make_mpi_control_channel(MPI_Comm world, const NodeMap& nodes,
                                                         MpiControlOptions options) {
  return std::make_unique<MpiControlChannel>(world, nodes, options);
}

std::unique_ptr<WorkerChannel> make_mpi_worker_channel(MPI_Comm world, MpiControlOptions options) {
  return std::make_unique<MpiWorkerChannel>(world, options);
}

}  // namespace orrery::comm
