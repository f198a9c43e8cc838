#include "orrery/worker/request_loop.h"

#include <array>
#include <exception>
#include <functional>
#include <utility>
#include <variant>
#include <vector>

#include "orrery/base/clock.h"
#include "orrery/base/error.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/worker/watchdog.h"  // kMaster

namespace orrery::worker {

namespace {

/// One request between its arrival and its reply.
struct Pending {
  comm::Request request;
  comm::Reply reply;
};

/// The master says it, once for all workers that report the same; only what it cannot be told is
/// logged here.
void report(comm::WorkerChannel& channel, comm::Reply& reply, const std::exception& error) {
  reply.error = error.what();
  reply.exit_code = static_cast<int32_t>(exit_code_of(error));
  reply.error_kind = kind_of(error);
  try {
    channel.reply(reply);
  } catch (...) {
    base::log_error(error.what());
    throw;
  }
}

/// What is fetched for a request is there while that runs, and not while others of the flush do.
bool moves_memory(const comm::Hook& hook) {
  return std::holds_alternative<comm::ResidencyHook>(hook);
}

class Flush {
 public:
  Flush(std::vector<comm::Request> requests, Handlers& handlers, int worker) : handlers_(handlers) {
    for (comm::Request& request : requests) {
      comm::Reply reply;
      reply.worker = worker;
      reply.request = request.id;
      reply.call = request.call;
      pending_.push_back({std::move(request), std::move(reply)});
    }
  }

  /// Runs the three phases. Returns false after the first failure, whose reply has been sent.
  bool run(comm::WorkerChannel& channel) {
    const auto pre_hooks = [this](Pending& p) {
      handlers_.begin(p.request);
      for (const comm::Hook& hook : p.request.pre_hooks) {
        if (!moves_memory(hook)) handlers_.run_hook(p.request, hook, p.reply);
      }
    };
    const auto handle = [this](Pending& p) {
      for (const comm::Hook& hook : p.request.pre_hooks) {
        if (moves_memory(hook)) handlers_.run_hook(p.request, hook, p.reply);
      }
      if (p.request.kind != comm::RequestKind::kEmpty) handlers_.run_request(p.request, p.reply);
      for (const comm::Hook& hook : p.request.post_hooks) {
        if (!comm::meets_other_workers(hook)) handlers_.run_hook(p.request, hook, p.reply);
      }
    };
    const auto shared_post_hooks = [this, &channel](Pending& p) {
      for (const comm::Hook& hook : p.request.post_hooks) {
        if (comm::meets_other_workers(hook)) handlers_.run_hook(p.request, hook, p.reply);
      }
      channel.reply(p.reply);
    };
    return phase(channel, pre_hooks) && phase(channel, handle) && phase(channel, shared_post_hooks);
  }

 private:
  bool phase(comm::WorkerChannel& channel, const std::function<void(Pending&)>& work) {
    for (Pending& pending : pending_) {
      try {
        work(pending);
      } catch (const std::exception& error) {
        report(channel, pending.reply, error);
        return false;
      }
    }
    return true;
  }

  Handlers& handlers_;
  std::vector<Pending> pending_;
};

}  // namespace

void serve_error(comm::WorkerChannel& channel, const std::exception& error, int worker,
                 comm::Activity* activity) {
  constexpr std::array kPeers = {kMaster};
  comm::Reply reply;
  reply.worker = worker;
  reply.request = comm::kUnasked;
  report(channel, reply, error);
  while (true) {
    const comm::Activity::Waiting wait(activity, "end of the job", "the control channel", kPeers);
    if (channel.receive().kind == comm::RequestKind::kExit) return;
  }
}

void serve_requests(comm::WorkerChannel& channel, Handlers& handlers, int worker,
                    comm::Activity* activity) {
  constexpr std::array kPeers = {kMaster};
  const auto receive = [&] {
    const comm::Activity::Waiting wait(activity, "next request", "the control channel", kPeers);
    return channel.receive();
  };
  std::vector<comm::Request> waiting;
  bool failed = false;
  while (true) {
    comm::Request request = receive();
    switch (request.kind) {
      case comm::RequestKind::kExit:
        return;
      case comm::RequestKind::kFlush:
        if (!failed) failed = !Flush(std::exchange(waiting, {}), handlers, worker).run(channel);
        break;
      default:
        waiting.push_back(std::move(request));
    }
  }
}

}  // namespace orrery::worker
