// One replica of a model over the workers of a command, and work in pieces over its data ranks.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "command_ranks.h"
#include "model_source.h"
#include "orrery/comm/registry.h"
#include "orrery/graph/topology.h"
#include "orrery/model/decoder.h"
#include "orrery/worker/lost_gpu.h"

namespace orrery::cli {

/// The shard of this rank, loaded. A worker outside the layout, and the master of several ranks,
/// has none.
class ModelShard {
 public:
  /// Makes the groups and reads the shard's part of the weights. Collective over all ranks; a rank
  /// that cannot says why, and all get that exit code.
  struct Loaded {
    std::unique_ptr<ModelShard> shard;
    int exit_code = 0;
  };
  static Loaded load(const CommandRanks& ranks, const ModelSource& source,
                     const graph::Layout& layout, const config::ModelRunOptions& options);

  bool has_decoder() const { return decoder_ != nullptr; }
  model::Decoder& decoder() const { return *decoder_; }
  const graph::Coordinate& at() const { return at_; }
  /// Its results count for its data rank.
  bool is_dp_head() const { return is_dp_head_; }
  /// Calls work(), which computes on the shard: throws where an operation of its groups has failed,
  /// and names a GPU that is lost.
  template <class Work>
  void run(const Work& work) const {
    worker::naming_lost_gpu(gpu_, host_, [&] {
      work();
      if (registry_) registry_->throw_if_failed();
    });
  }

 private:
  std::optional<comm::CommunicatorRegistry> registry_;
  graph::Coordinate at_;
  bool is_dp_head_ = false;
  worker::GpuName gpu_;
  std::string host_;
  std::unique_ptr<model::Decoder> decoder_;  // uses the registry's groups: ends before them
};

/// Data rank of each piece: the largest first, each to the data rank that has the least. Pure.
std::vector<int> assign_pieces(std::span<const int64_t> costs, int n_data);

/// Work that the shards of a data rank do together.
struct PieceWork {
  std::vector<int64_t> costs;  ///< of each piece, in tokens
  /// Collective over the shards of a data rank; what the DP head returns counts.
  std::function<std::string(int piece)> compute;
  /// Rank 0 only, as pieces are done; returns the tokens that it stands for.
  std::function<int64_t(int piece, const std::string& bytes)> take;
};

/// What was done, on rank 0.
struct PieceTotals {
  int64_t tokens = 0;
  double seconds = 0;
};

/// Runs all pieces and shows progress on standard error. Collective over all ranks.
PieceTotals run_pieces(const CommandRanks& ranks, const ModelShard& shard,
                       const graph::Layout& layout, const PieceWork& work,
                       std::chrono::duration<double> deadline);

/// `score: 5 sequences, 93 tokens in 0.1 s, 900 tokens/s` on standard error.
void print_totals(const std::string& command, size_t n_sequences, const PieceTotals& totals);

}  // namespace orrery::cli
