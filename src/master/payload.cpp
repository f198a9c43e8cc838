#include "orrery/master/payload.h"

#include <algorithm>
#include <utility>

#include "orrery/base/index.h"

namespace orrery::master {

namespace {

/// Builds the requests of one call; knows which worker has one already.
class RequestBuilder {
 public:
  RequestBuilder(CallPayload payload, int n_workers)
      : payload_(std::move(payload)), request_of_(base::index(n_workers), -1) {}

  CallRequests build() {
    add_main_requests();
    std::vector<std::vector<std::vector<int>>> parts = transfers_of_workers();
    for (size_t phase = 0; phase < payload_.transfers.size(); ++phase) {
      add_transfers(payload_.transfers[phase], parts[phase], phase);
    }
    for (PlacedHook& hook : payload_.hooks.pre) add_hook(hook, &comm::Request::pre_hooks);
    for (PlacedHook& hook : payload_.hooks.post) add_hook(hook, &comm::Request::post_hooks);
    return std::move(result_);
  }

 private:
  void add_main_requests() {
    const CallFacts& call = *payload_.call;
    result_.requests.reserve(call.workers.size() * 2);
    for (size_t rank = 0; rank < call.workers.size(); ++rank) {
      comm::Request& request = request_to(call.workers[rank]);
      request.kind = payload_.kind;
      request.body = payload_.report;
      if (!payload_.batches.empty()) {
        request.batch = payload_.batches[base::index(call.data_rank[rank])];
        request.pre_hooks.emplace_back(comm::DataTransferHook{});
      }
    }
    result_.n_main = static_cast<int>(result_.requests.size());
  }

  /// The request to this worker; a side request if it has none yet.
  comm::Request& request_to(int worker) {
    int& place = request_of_[base::index(worker)];
    if (place < 0) {
      place = static_cast<int>(result_.requests.size());
      Outgoing& outgoing = result_.requests.emplace_back();
      outgoing.worker = worker;
      outgoing.request.call = payload_.call->index;
      outgoing.request.kind = comm::RequestKind::kEmpty;
      outgoing.request.step = payload_.step;
    }
    return result_.requests[base::index(place)].request;
  }

  /// [phases][workers] numbers of the transfers that concern them.
  std::vector<std::vector<std::vector<int>>> transfers_of_workers() const {
    std::vector<std::vector<std::vector<int>>> parts;
    for (const std::vector<comm::Transfer>& phase : payload_.transfers) {
      std::vector<std::vector<int>>& of_phase = parts.emplace_back(request_of_.size());
      for (size_t i = 0; i < phase.size(); ++i) {
        of_phase[base::index(phase[i].source)].push_back(static_cast<int>(i));
        for (const int worker : phase[i].destinations) {
          of_phase[base::index(worker)].push_back(static_cast<int>(i));
        }
      }
    }
    return parts;
  }

  /// Receivers before senders, which is the reference's order: a gather names its root first.
  static std::vector<int> workers_of(const std::vector<comm::Transfer>& transfers) {
    std::vector<int> workers;
    for (const comm::Transfer& transfer : transfers) {
      workers.insert(workers.end(), transfer.destinations.begin(), transfer.destinations.end());
      workers.push_back(transfer.source);
    }
    return workers;
  }

  /// Gives each worker its part; the last one that gets a transfer takes it instead of a copy.
  void add_transfers(std::vector<comm::Transfer>& transfers,
                     std::vector<std::vector<int>>& numbers_of_worker, size_t phase) {
    std::vector<size_t> copies_left;
    for (const comm::Transfer& transfer : transfers) {
      copies_left.push_back(transfer.destinations.size() + 1);
    }
    for (const int worker : workers_of(transfers)) {
      std::vector<int>& numbers = numbers_of_worker[base::index(worker)];
      if (numbers.empty()) continue;  // has got its part already
      comm::DataTransferHook hook;
      hook.transfers.reserve(numbers.size());
      for (const int number : numbers) {
        if (--copies_left[base::index(number)] > 0) {
          hook.transfers.push_back(transfers[base::index(number)]);
        } else {
          hook.transfers.push_back(std::move(transfers[base::index(number)]));
        }
      }
      numbers.clear();
      put_transfers(request_to(worker), std::move(hook), phase);
    }
  }

  static void put_transfers(comm::Request& request, comm::DataTransferHook hook, size_t phase) {
    auto* const empty_one = phase == 0 && !request.pre_hooks.empty()
                                ? std::get_if<comm::DataTransferHook>(&request.pre_hooks.front())
                                : nullptr;
    if (empty_one != nullptr) {
      *empty_one = std::move(hook);
    } else {
      request.pre_hooks.emplace_back(std::move(hook));
    }
  }

  void add_hook(const PlacedHook& hook, std::vector<comm::Hook> comm::Request::*where) {
    for (const int worker : hook.workers) (request_to(worker).*where).push_back(hook.hook);
  }

  CallPayload payload_;
  std::vector<int> request_of_;  // by worker: place in result_.requests, or -1
  CallRequests result_;
};

}  // namespace

CallRequests build_requests(CallPayload payload, int n_workers) {
  return RequestBuilder(std::move(payload), n_workers).build();
}

}  // namespace orrery::master
