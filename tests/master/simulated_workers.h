// All workers of a run in one thread, for tests of the dispatcher: each keeps a store of lengths
// instead of tensors and versions instead of parameters, works off its requests in the phases of
// the real request loop, and stands still in every hook and handle until all that take part have
// come to it. So a wrong order shows as a deadlock, a missing transfer as a missing sample, a
// forgotten reallocation as a wrong version. Workers have clocks that show when things would have
// happened, had every call and hook its own duration and messages none.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "orrery/comm/message.h"
#include "orrery/graph/graph.h"
#include "orrery/graph/replica.h"
#include "orrery/master/payload.h"
#include "random_for_test.h"

namespace orrery::master {

/// Sequence lengths of a key of a sample, the same whoever makes it.
std::vector<int32_t> lengths_for_test(data::SampleId id, const std::string& key);

class SimulatedWorkers {
 public:
  /// `steps_done`: of the run that goes on. `residency`: the dispatcher's.
  SimulatedWorkers(const graph::Graph& graph, int n_workers, int64_t steps_done = 0,
                   const graph::ResidencyPolicy& residency = {});

  /// The requests arrive at the time that now() gives.
  void receive(const std::vector<Outgoing>& outgoing);

  /// Lets workers go on, `limit` actions at most. Returns how many were done: 0 is a standstill.
  int work(int limit);
  /// Some of the replies that are ready (at least one if there is any); each worker's own order is
  /// kept, that between workers is random.
  std::vector<comm::Reply> some_replies(Random& random);

  /// The replies that come first by the clock, once work() has come to a standstill; now() goes on
  /// to their time.
  std::vector<comm::Reply> first_replies();
  double now() const { return now_; }
  /// Durations of all that was done so far, what workers do together counted once: of the calls
  /// themselves (and evaluations), and of everything around them.
  double time_of_calls() const { return time_of_calls_; }
  double time_around_calls() const { return time_around_calls_; }

  bool has_left() const { return exited_; }
  /// What stands at the head of each worker's queue, for the text of a failure.
  std::string standstill() const;
  /// (step, call) -> for each run, in order: the sample ids of each data rank.
  using Batches = std::map<std::pair<int64_t, int>, std::vector<std::vector<uint64_t>>>;
  const Batches& batches() const { return batches_; }
  /// Samples that any worker still has.
  std::set<uint64_t> samples_held() const;
  int n_saves() const { return n_saves_; }
  int n_evaluations() const { return n_evaluations_; }

 private:
  enum class Residence { kAbsent, kHost, kDevice };
  struct Parameters {
    int64_t version = 0;
    Residence residence = Residence::kDevice;
    Residence optimizer = Residence::kDevice;
  };
  struct Action {
    std::shared_ptr<const comm::Request> request;
    std::shared_ptr<comm::Reply> reply;
    const comm::Hook* hook = nullptr;  // null: the handle, or (last) the reply
    bool is_reply = false;
    double not_before = 0;  // when the request arrived
    bool posted = false;    // transfers: samples were read, peers_left is filled
    double ready = 0;       // transfers: when it and the peers met so far were there
    std::set<int> peers_left = {};
    std::vector<std::pair<data::SampleId, std::string>> received = {};
  };
  struct Worker {
    std::vector<std::shared_ptr<const comm::Request>> waiting;  // for a flush
    std::deque<Action> actions;
    std::deque<std::pair<double, comm::Reply>> replies;  // with their times
    double time = 0;
    std::optional<int64_t> saving;  // the step whose part of a checkpoint is being written
    std::map<std::pair<uint64_t, std::string>, std::vector<int32_t>> store;
    std::map<graph::ReplicaId, Parameters> parameters;
  };

  void flush(int index);
  bool step(int worker);
  bool exchange(int worker);
  bool run_collective(const std::vector<int>& participants);
  void run_request(int worker, Action& action);
  void run_hook(int worker, const comm::Hook& hook);
  static void move_parameters(const comm::ResidencyHook& hook, Worker& worker);
  static void fill_parameters(const comm::ReallocHook& hook, Worker& worker);
  void run_call(int worker, Action& action);
  void check_version(int worker, const graph::Call& call, const comm::Request& request);
  std::vector<int> participants(const Action& action) const;
  bool matches(const Action& a, const Action& b) const;
  std::vector<const comm::Transfer*> between(const Action& action, int a, int b) const;

  double duration_of(const Action& action) const;

  const graph::Graph& graph_;
  double now_ = 0;
  double time_of_calls_ = 0, time_around_calls_ = 0;
  std::vector<Worker> workers_;
  std::vector<graph::Replica> replicas_;
  std::map<std::string, int64_t> changes_per_step_;  // by role
  Batches batches_;
  bool exited_ = false;
  int n_saves_ = 0, n_evaluations_ = 0;
};

}  // namespace orrery::master
