// Time from sending an empty request to its reply, back to back, to one worker and to all.
//   tools/bench.sh ranks
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "orrery/comm/mpi_control_channel.h"
#include "orrery/comm/mpi_session.h"

namespace orrery::comm {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kCalls = 5000;

void answer(WorkerChannel& channel, int worker) {
  while (true) {
    const Request request = channel.receive();
    if (request.kind == RequestKind::kExit) return;
    Reply reply;
    reply.worker = worker;
    reply.request = request.id;
    channel.reply(reply);
  }
}

void measure(ControlChannel& channel, int n_workers) {
  std::vector<double> micros;
  for (int call = 0; call < kCalls; ++call) {
    const auto start = Clock::now();
    for (int w = 0; w < n_workers; ++w) channel.send(w, {});
    for (int w = 0; w < n_workers; ++w) {
      if (!channel.wait(std::chrono::seconds(10))) std::abort();
    }
    micros.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  std::sort(micros.begin(), micros.end());
  std::printf("%d worker(s), %d calls: median %.1f us, 99 %% %.1f us, longest %.1f us\n", n_workers,
              kCalls, micros[kCalls / 2], micros[kCalls * 99 / 100], micros.back());
}

void run(int argc, char** argv) {
  const MpiSession session(&argc, &argv);
  const NodeMap nodes = map_nodes(session.world());
  if (session.rank() == 0) {
    const auto channel = make_mpi_control_channel(session.world(), nodes);
    measure(*channel, 1);
    if (channel->n_workers() > 1) measure(*channel, channel->n_workers());
    channel->send_exit();
    channel->drain(std::chrono::seconds(10));
  } else {
    const auto channel = make_mpi_worker_channel(session.world());
    answer(*channel, nodes.worker_of_rank[static_cast<std::size_t>(session.rank())]);
    channel->drain(std::chrono::seconds(10));
  }
}

}  // namespace
}  // namespace orrery::comm

int main(int argc, char** argv) { orrery::comm::run(argc, argv); }
