// This worker's part of a checkpoint: what of its shards no file or other worker could give back.
//
//   ROLE/parameters/NAME      of roles that change: trained, or followed by post_realloc
//   ROLE/first_moment/NAME    of AdamW, the partition that this data rank owns
//   ROLE/second_moment/NAME
//   blob optimizer/ROLE       number of updates
//   blob call/NAME            state of the call's interface
//   carried/samples/ID/KEY    of samples that the next step uses: rows of one key
//
// Each number is in the file of one worker; a resumed job reads the rectangles that its own layout
// wants from whichever files have them. Main thread of the worker.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "orrery/checkpoint/background_writer.h"
#include "orrery/checkpoint/reader.h"
#include "orrery/checkpoint/slab.h"
#include "orrery/comm/message.h"  // SavedShard
#include "orrery/data/sequence_batch.h"
#include "orrery/graph/graph.h"
#include "orrery/model/parameter_table.h"
#include "orrery/model/pinned_memory.h"
#include "orrery/worker/hosted_models.h"

namespace orrery::worker {

/// A slab and where in a flat buffer its first element is.
struct PlacedSlab {
  checkpoint::Slab slab;
  int64_t offset = 0;
};

/// The part of a parameter that lies in a partition of the shard's flat buffer, as rectangles: up
/// to one broken row, whole rows, one broken row. Pure.
///   prefix  in front of the parameter's name
std::vector<PlacedSlab> slabs_of(const model::ParameterSpec& spec,
                                 const model::IndexRange& partition, const std::string& prefix,
                                 data::DType dtype);

/// Samples that a checkpoint's start() was given, from whichever files hold them, as `wanted` says.
/// Throws CheckpointError when one is missing or has another type or length.
data::SequenceBatch read_samples(checkpoint::CheckpointReader& reader,
                                 const data::BatchMetadata& wanted);

class ShardCheckpoint {
 public:
  /// `models` must outlive it.
  ShardCheckpoint(HostedModels& models, const graph::Graph& graph, int worker,
                  checkpoint::Compression compression);

  /// Copies what survives and begins to write it into the partial directory of `directory`. Returns
  /// once it is copied, which is what training waits for; from a GPU into pinned memory that is
  /// kept for the next time. Waits for the file before, if that is not done. `interfaces`: state of
  /// each call that this worker runs, by name; `samples`: copies of samples that are to be written
  /// too.
  void start(const std::filesystem::path& directory, int64_t step,
             std::map<std::string, std::string> interfaces,
             std::vector<data::SequenceBatch> samples = {});
  /// What has been written since the last call, if anything. Throws CheckpointError when it failed.
  std::vector<comm::SavedShard> finished();
  /// Waits for it.
  std::vector<comm::SavedShard> wait();

  /// Fills the shards from a checkpoint of any layout.
  void restore(checkpoint::CheckpointReader& reader);

 private:
  /// [numel] a copy of `values` on the host, of a shard of `device`: a GPU's has arrived once the
  /// current stream has come to it, and is good until the next call with this name.
  at::Tensor copy_of(const at::Tensor& values, c10::Device device, const std::string& name);
  /// Whether a replica's parameters are state: the first of a role that changes.
  bool is_state(const HostedModel& model) const;

  HostedModels& models_;
  const graph::Graph& graph_;
  int worker_;
  checkpoint::Compression compression_;
  bool is_reported_ = true;
  int64_t step_ = 0;
  std::map<std::string, model::PinnedMemory> pinned_;  // by prefix of the slabs in it
  checkpoint::BackgroundWriter writer_;                // last: it reads from them
};

}  // namespace orrery::worker
