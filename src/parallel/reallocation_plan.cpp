#include "orrery/parallel/reallocation_plan.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/graph/topology.h"

namespace orrery::parallel {

namespace {

using Rectangle = std::tuple<int64_t, int64_t, int64_t, int64_t>;  // rows, columns: first, count

Rectangle rectangle_of(const PlacedBlock& block) {
  return {block.first_row, block.n_rows, block.first_column, block.n_columns};
}

/// A worker that has a rectangle.
struct Owner {
  int worker = 0;
  const PlacedBlock* block = nullptr;
};

/// By parameter: its rectangles, each with all that have it.
using Owners = std::map<int, std::map<Rectangle, std::vector<Owner>>>;

Owners owners_of(const std::vector<ShardBlocks>& source) {
  Owners owners;
  for (const ShardBlocks& shard : source) {
    for (const PlacedBlock& block : shard.blocks) {
      owners[block.parameter][rectangle_of(block)].push_back({shard.worker, &block});
    }
  }
  return owners;
}

/// The common part of two blocks as a copy between their buffers; 0 rows: none.
StridedCopy common_part(const PlacedBlock& from, const PlacedBlock& to) {
  const int64_t row = std::max(from.first_row, to.first_row);
  const int64_t column = std::max(from.first_column, to.first_column);
  const int64_t n_rows = std::min(from.first_row + from.n_rows, to.first_row + to.n_rows) - row;
  const int64_t n_columns =
      std::min(from.first_column + from.n_columns, to.first_column + to.n_columns) - column;
  if (n_rows <= 0 || n_columns <= 0) return {};
  const auto place = [&](const PlacedBlock& block) {
    return block.offset + (row - block.first_row) * block.n_columns + column - block.first_column;
  };
  StridedCopy copy{.source_offset = place(from),
                   .source_stride = from.n_columns,
                   .destination_offset = place(to),
                   .destination_stride = to.n_columns,
                   .rows = n_rows,
                   .length = n_columns};
  if (n_columns == from.n_columns && n_columns == to.n_columns) {
    copy.length *= copy.rows;  // one run on both sides
    copy.rows = 1;
    copy.source_stride = copy.destination_stride = copy.length;
  }
  return copy;
}

/// Whether `next` goes on where `last` ends, on both sides; then `last` is made longer.
bool append(StridedCopy& last, const StridedCopy& next) {
  if (last.rows != 1 || next.rows != 1) return false;
  if (last.source_offset + last.length != next.source_offset) return false;
  if (last.destination_offset + last.length != next.destination_offset) return false;
  last.length += next.length;
  last.source_stride = last.destination_stride = last.length;
  return true;
}

/// Takes up to `numel` elements off the front: whole runs, or a piece of a single one. May be none.
StridedCopy take_front(StridedCopy& copy, int64_t numel) {
  StridedCopy front = copy;
  if (copy.rows > 1) {
    front.rows = std::min(copy.rows, numel / copy.length);
    copy.rows -= front.rows;
    copy.source_offset += front.rows * copy.source_stride;
    copy.destination_offset += front.rows * copy.destination_stride;
    return front;
  }
  front.length = std::min(copy.length, numel);
  front.source_stride = front.destination_stride = front.length;
  copy.source_offset += front.length;
  copy.destination_offset += front.length;
  copy.length -= front.length;
  copy.source_stride = copy.destination_stride = copy.length;
  return front;
}

/// The first run alone.
StridedCopy take_run(StridedCopy& copy) {
  StridedCopy run = copy;
  run.rows = 1;
  run.source_stride = run.destination_stride = run.length;
  copy.rows -= 1;
  copy.source_offset += copy.source_stride;
  copy.destination_offset += copy.destination_stride;
  return run;
}

/// Fills rounds in the order in which copies come.
class RoundBuilder {
 public:
  explicit RoundBuilder(int64_t bucket) : bucket_(bucket) { plan_.bucket = bucket; }

  void add(int from, int to, StridedCopy copy) {
    if (from == to) return place(from, to, copy);  // copies within a worker need no bucket
    while (copy.numel() > 0) {
      if (copy.rows > 1 && copy.length > bucket_) {
        add(from, to, take_run(copy));
        continue;
      }
      const int64_t room = bucket_ - std::max(sent_[from], received_[to]);
      const StridedCopy front = room > 0 ? take_front(copy, room) : StridedCopy{};
      if (front.numel() == 0) {
        close();
        continue;
      }
      sent_[from] += front.numel();
      received_[to] += front.numel();
      place(from, to, front);
    }
  }

  ReallocationPlan take() {
    close();
    return std::move(plan_);
  }

 private:
  void place(int from, int to, const StridedCopy& copy) {
    std::vector<StridedCopy>& copies = round_[{from, to}];
    if (copies.empty() || !append(copies.back(), copy)) copies.push_back(copy);
  }

  void close() {
    if (round_.empty()) return;
    std::vector<ParameterTransfer> transfers;
    for (auto& [pair, copies] : round_) {
      transfers.push_back({pair.first, pair.second, std::move(copies)});
    }
    plan_.rounds.push_back(std::move(transfers));
    round_.clear();
    sent_.clear();
    received_.clear();
  }

  int64_t bucket_;
  ReallocationPlan plan_;
  std::map<std::pair<int, int>, std::vector<StridedCopy>> round_;
  std::map<int, int64_t> sent_, received_;
};

/// Chooses senders, remembering what each has to send.
class Senders {
 public:
  explicit Senders(const std::vector<int>& node_of_worker) : node_of_worker_(node_of_worker) {}

  const Owner& choose(const std::vector<Owner>& owners, int to, int64_t numel) {
    const Owner* best = nullptr;
    for (const Owner& owner : owners) {
      if (best == nullptr || rank(owner, to) < rank(*best, to)) best = &owner;
    }
    if (best->worker != to) sent_[best->worker] += numel;
    return *best;
  }

 private:
  std::tuple<int, int64_t, int> rank(const Owner& owner, int to) {
    int distance = 2;
    if (node_of(owner.worker) == node_of(to)) distance = 1;
    if (owner.worker == to) distance = 0;
    return {distance, sent_[owner.worker], owner.worker};
  }
  int node_of(int worker) const {
    const auto i = static_cast<size_t>(worker);
    return i < node_of_worker_.size() ? node_of_worker_[i] : 0;
  }

  const std::vector<int>& node_of_worker_;
  std::map<int, int64_t> sent_;
};

}  // namespace

std::vector<ShardBlocks> shards_of(const model::Architecture& architecture,
                                   const graph::Layout& layout) {
  // One number for each name, whichever shard has it.
  std::map<std::string, int> numbers;
  const model::ParameterTable whole = model::parameter_table(architecture);
  for (const model::ParameterSpec& spec : whole.parameters) {
    numbers.emplace(spec.name, static_cast<int>(numbers.size()));
  }
  const graph::Topology topology = graph::topology_of(layout);
  std::vector<ShardBlocks> shards;
  for (int rank = 0; rank < topology.size(); ++rank) {
    const graph::Coordinate at = topology.coordinate(rank);
    ShardBlocks shard{.worker = layout.workers[base::index(rank)], .blocks = {}};
    const model::ParameterTable table =
        model::parameter_table(architecture, {at.pipe, layout.pipe, at.tensor, layout.tensor});
    for (const model::ParameterSpec& spec : table.parameters) {
      shard.blocks.push_back({.parameter = numbers.at(spec.name),
                              .first_row = spec.first[0],
                              .n_rows = spec.shape[0],
                              .first_column = spec.first[1],
                              .n_columns = spec.shape.size() < 2 ? 1 : spec.shape[1],
                              .offset = spec.offset});
    }
    shards.push_back(std::move(shard));
  }
  return shards;
}

int64_t ParameterTransfer::numel() const {
  int64_t sum = 0;
  for (const StridedCopy& copy : copies) sum += copy.numel();
  return sum;
}

ReallocationPlan plan_reallocation(const std::vector<ShardBlocks>& source,
                                   const std::vector<ShardBlocks>& destination,
                                   const ReallocationOptions& options) {
  ORRERY_ASSERT(options.bucket_elements > 0, "a bucket holds something");
  const Owners owners = owners_of(source);
  Senders senders(options.node_of_worker);
  RoundBuilder rounds(options.bucket_elements);

  // By place in the destination buffers, all destinations in step: no worker's inbox is filled
  // while the others wait.
  size_t most_blocks = 0;
  for (const ShardBlocks& shard : destination) {
    most_blocks = std::max(most_blocks, shard.blocks.size());
  }
  for (size_t i = 0; i < most_blocks; ++i) {
    for (const ShardBlocks& shard : destination) {
      if (i >= shard.blocks.size()) continue;
      const PlacedBlock& wanted = shard.blocks[i];
      int64_t found = 0;
      if (const auto parameter = owners.find(wanted.parameter); parameter != owners.end()) {
        for (const auto& [rectangle, holders] : parameter->second) {
          const int64_t numel = common_part(*holders.front().block, wanted).numel();
          if (numel == 0) continue;
          const Owner& sender = senders.choose(holders, shard.worker, numel);
          rounds.add(sender.worker, shard.worker, common_part(*sender.block, wanted));
          found += numel;
        }
      }
      if (found != wanted.n_rows * wanted.n_columns) {
        throw ShapeError(
            base::concat("reallocation: parameter ", wanted.parameter, " of worker ", shard.worker),
            {.expected = base::concat(base::counted(wanted.n_rows * wanted.n_columns, "element"),
                                      " in the source"),
             .got = base::concat(found),
             .advice = "both replicas must be of one architecture"});
      }
    }
  }
  return rounds.take();
}

ReallocationVolume volume_of(const ReallocationPlan& plan, const std::vector<int>& node_of_worker) {
  const auto node_of = [&](int worker) {
    const auto i = static_cast<size_t>(worker);
    return i < node_of_worker.size() ? node_of_worker[i] : 0;
  };
  ReallocationVolume volume;
  std::map<int, int64_t> sent, received;
  for (const std::vector<ParameterTransfer>& round : plan.rounds) {
    for (const ParameterTransfer& transfer : round) {
      const int64_t numel = transfer.numel();
      if (transfer.from == transfer.to) {
        volume.local += numel;
        continue;
      }
      (node_of(transfer.from) == node_of(transfer.to) ? volume.on_node : volume.off_node) += numel;
      sent[transfer.from] += numel;
      received[transfer.to] += numel;
    }
  }
  for (const auto& [worker, numel] : sent) volume.most_sent = std::max(volume.most_sent, numel);
  for (const auto& [worker, numel] : received) {
    volume.most_received = std::max(volume.most_received, numel);
  }
  return volume;
}

}  // namespace orrery::parallel
