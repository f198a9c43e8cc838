#include "support/thread_communicator.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <numeric>  // iota
#include <thread>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "tensor_text.h"
#include "thread_group.h"

namespace orrery::comm {

namespace {

using Contribution = ThreadGroup::Contribution;

bool is_half(at::ScalarType type) { return type == at::kBFloat16 || type == at::kHalf; }

void combine(at::Tensor& sum, const at::Tensor& x, ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      sum.add_(x);
      break;
    case ReduceOp::kMin:
      sum = at::minimum(sum, x);
      break;
    case ReduceOp::kMax:
      sum = at::maximum(sum, x);
      break;
  }
}

/// Elements [begin, begin + count) of all ranks combined, in rank order; flat, of the inputs' type.
at::Tensor combined(const std::vector<Contribution>& all, int64_t begin, int64_t count,
                    ReduceOp op) {
  at::Tensor result;
  for (const Contribution& one : all) {
    const at::Tensor part = one.in.view({-1}).narrow(0, begin, count);
    const at::Tensor wide = is_half(part.scalar_type()) ? part.to(at::kFloat) : part;
    if (!result.defined()) {
      result = wide.clone();
    } else {
      combine(result, wide, op);
    }
  }
  return result.to(all.front().in.scalar_type());
}

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<ThreadGroup> group, std::string name, int rank,
                     std::vector<int> workers, const CommunicatorOptions& options)
      : Communicator(std::move(name), rank, std::move(workers), options),
        group_(std::move(group)) {}

  at::DeviceType device_type() const override { return at::kCPU; }

 private:
  /// Meets all ranks; `look` sees what they brought. Throws when ranks are missing or in another
  /// operation.
  template <class Look>
  void meet(Contribution mine, const Look& look) {
    const std::string_view operation = mine.operation;
    const auto start = Activity::Clock::now();
    const auto deadline = deadline_from(start);
    std::string disagreement;
    const Missing missing =
        group_->meet(rank(), std::move(mine), deadline, [&](const std::vector<Contribution>& all) {
          for (int r = 0; r < size() && disagreement.empty(); ++r) {
            const std::string_view theirs = all[static_cast<std::size_t>(r)].operation;
            if (theirs != operation) {
              disagreement =
                  base::concat(theirs, " from worker ", workers()[static_cast<std::size_t>(r)]);
            }
          }
          if (disagreement.empty()) look(all);
        });
    if (!missing.is_empty()) throw_deadline(operation, missing.ranks, start);
    if (!disagreement.empty()) {
      throw_disagreement(operation, base::concat(operation, " from every worker, as here"),
                         disagreement);
    }
  }

  void do_all_reduce(at::Tensor& x, ReduceOp op) override {
    at::Tensor result;
    meet({.operation = "all_reduce", .in = x}, [&](const std::vector<Contribution>& all) {
      check_numel(all, x.numel());
      result = combined(all, 0, x.numel(), op);
    });
    x.view({-1}).copy_(result);  // only now: the others have read it
  }

  void do_all_gather(at::Tensor& out, const at::Tensor& in) override {
    at::Tensor result = at::empty_like(out);
    meet({.operation = "all_gather", .in = in}, [&](const std::vector<Contribution>& all) {
      check_numel(all, in.numel());
      copy_blocks(result, all);
    });
    out.copy_(result);
  }

  void do_reduce_scatter(at::Tensor& out, const at::Tensor& in, ReduceOp op) override {
    at::Tensor result;
    meet({.operation = "reduce_scatter", .in = in}, [&](const std::vector<Contribution>& all) {
      check_numel(all, in.numel());
      result = combined(all, rank() * out.numel(), out.numel(), op);
    });
    out.view({-1}).copy_(result);
  }

  void do_broadcast(at::Tensor& x, int root) override {
    meet({.operation = "broadcast", .in = x}, [&](const std::vector<Contribution>& all) {
      check_numel(all, x.numel());
      if (rank() != root) x.copy_(all[static_cast<std::size_t>(root)].in);
    });
  }

  void do_gather(at::Tensor& out, const at::Tensor& in, int root) override {
    at::Tensor result = rank() == root ? at::empty_like(out) : at::Tensor();
    meet({.operation = "gather", .in = in}, [&](const std::vector<Contribution>& all) {
      check_numel(all, in.numel());
      if (rank() == root) copy_blocks(result, all);
    });
    if (rank() == root) out.copy_(result);
  }

  void do_scatter(at::Tensor& out, const at::Tensor& in, int root) override {
    at::Tensor result;
    const at::Tensor mine = rank() == root ? in : at::Tensor();
    meet({.operation = "scatter", .in = mine}, [&](const std::vector<Contribution>& all) {
      const at::Tensor& source = all[static_cast<std::size_t>(root)].in;
      if (!source.defined() || source.numel() != size() * out.numel()) {
        throw_disagreement("scatter", base::concat(size() * out.numel(), " elements at the root"),
                           tensor_text(source));
      }
      result = source.view({-1}).narrow(0, rank() * out.numel(), out.numel()).clone();
    });
    out.view({-1}).copy_(result);
  }

  void do_barrier() override {
    meet({.operation = "barrier", .in = {}}, [](const std::vector<Contribution>&) {});
  }

  void do_exchange(std::string_view operation, std::span<const Send> sends,
                   std::span<const Receive> receives, const OnReceived& on_received) override;

  std::unique_ptr<Communicator> do_split(int colour, int key, std::string name) override;

  void check_numel(const std::vector<Contribution>& all, int64_t expected) {
    for (std::size_t r = 0; r < all.size(); ++r) {
      if (all[r].in.defined() && all[r].in.numel() == expected) continue;
      throw_disagreement(all[r].operation,
                         base::concat(expected, " elements from every worker, as here"),
                         base::concat(tensor_text(all[r].in), " from worker ", workers()[r]));
    }
  }

  static void copy_blocks(at::Tensor& out, const std::vector<Contribution>& all) {
    at::Tensor flat = out.view({-1});
    int64_t begin = 0;
    for (const Contribution& one : all) {
      flat.narrow(0, begin, one.in.numel()).copy_(one.in.view({-1}));
      begin += one.in.numel();
    }
  }

  std::shared_ptr<ThreadGroup> group_;
};

void ThreadCommunicator::do_exchange(std::string_view operation, std::span<const Send> sends,
                                     std::span<const Receive> receives,
                                     const OnReceived& on_received) {
  const auto start = Activity::Clock::now();
  const auto deadline = deadline_from(start);
  std::vector<std::shared_ptr<ThreadGroup::Letter>> posted;
  for (const Send& send : sends) {
    posted.push_back(std::make_shared<ThreadGroup::Letter>(
        ThreadGroup::Letter{.from = rank(), .to = send.peer, .tensor = send.tensor}));
    group_->post(posted.back());
  }
  std::vector<bool> has_come(receives.size(), false);
  while (true) {
    const uint64_t seen = group_->changes();
    std::vector<int> late;
    for (std::size_t i = 0; i < receives.size(); ++i) {
      if (has_come[i]) continue;
      const Receive& receive = receives[i];
      // An earlier message of this pair comes first.
      const bool is_next = std::find(late.begin(), late.end(), receive.peer) == late.end();
      const auto letter = is_next ? group_->find(receive.peer, rank()) : nullptr;
      if (!letter) {
        late.push_back(receive.peer);
        continue;
      }
      if (letter->tensor.nbytes() != receive.tensor.nbytes()) {
        throw_disagreement(operation,
                           base::concat(receive.tensor.nbytes(), " bytes from worker ",
                                        workers()[static_cast<std::size_t>(receive.peer)]),
                           base::concat(letter->tensor.nbytes(), " bytes"));
      }
      at::Tensor to = receive.tensor.view({-1}).view(at::kByte);
      to.copy_(letter->tensor.view({-1}).view(at::kByte));
      group_->taken(letter);
      has_come[i] = true;
      on_received(i);
    }
    for (const auto& letter : posted) {
      if (!group_->is_taken(*letter)) late.push_back(letter->to);
    }
    if (late.empty()) return;
    if (Activity::Clock::now() >= deadline) {
      std::sort(late.begin(), late.end());
      late.erase(std::unique(late.begin(), late.end()), late.end());
      throw_deadline(operation, late, start);
    }
    group_->wait_for_mail(seen, deadline);
  }
}

std::unique_ptr<Communicator> ThreadCommunicator::do_split(int colour, int key, std::string name) {
  std::shared_ptr<ThreadGroup> subgroup;
  std::vector<int> members;  // ranks here, in the order of the new group
  meet({.operation = "split", .in = {}, .colour = colour, .key = key},
       [&](const std::vector<Contribution>& all) {
         if (colour == kNoColour) return;
         for (int r = 0; r < size(); ++r) {
           if (all[static_cast<std::size_t>(r)].colour == colour) members.push_back(r);
         }
         std::stable_sort(members.begin(), members.end(), [&](int a, int b) {
           return all[static_cast<std::size_t>(a)].key < all[static_cast<std::size_t>(b)].key;
         });
         subgroup = group_->subgroup(colour, static_cast<int>(members.size()));
       });
  // All have their group now; the next split may not find these.
  meet({.operation = "split", .in = {}},
       [&](const std::vector<Contribution>&) { group_->forget_subgroups(); });
  if (!subgroup) return nullptr;
  const auto place = std::find(members.begin(), members.end(), rank());
  std::vector<int> member_workers;
  for (const int r : members) member_workers.push_back(workers()[static_cast<std::size_t>(r)]);
  return std::make_unique<ThreadCommunicator>(std::move(subgroup), std::move(name),
                                              static_cast<int>(place - members.begin()),
                                              std::move(member_workers), options());
}

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_thread_communicators(
    int n_ranks, const std::string& name, const CommunicatorOptions& options) {
  const auto group = std::make_shared<ThreadGroup>(n_ranks);
  std::vector<int> workers(static_cast<std::size_t>(n_ranks));
  std::iota(workers.begin(), workers.end(), 0);
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int rank = 0; rank < n_ranks; ++rank) {
    ranks.push_back(std::make_unique<ThreadCommunicator>(group, name, rank, workers, options));
  }
  return ranks;
}

void run_as_threads(int n_ranks, const std::function<void(Communicator&)>& body,
                    const CommunicatorOptions& options) {
  std::vector<std::unique_ptr<Communicator>> ranks =
      make_thread_communicators(n_ranks, "threads", options);
  std::mutex mutex;
  std::exception_ptr first_error;
  {
    std::vector<std::jthread> threads;
    for (const std::unique_ptr<Communicator>& rank : ranks) {
      threads.emplace_back([&body, &mutex, &first_error, group = rank.get()] {
        try {
          body(*group);
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (!first_error) first_error = std::current_exception();
        }
      });
    }
  }
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace orrery::comm
