#include "shard_checkpoint.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/directory.h"
#include "orrery/data/sequence_batch.h"  // dtype_of
#include "orrery/kernels/gpu.h"
#include "orrery/model/arithmetic_type.h"
#include "orrery/model/cuda_stream.h"
#include "orrery/model/staged_upload.h"

namespace orrery::worker {

namespace {

/// Slabs of one flat buffer, and the copy that they are written from.
struct Snapshot {
  at::Tensor values;
  std::vector<PlacedSlab> slabs;
};

std::string file_name(int worker) {
  char name[32];
  std::snprintf(name, sizeof(name), "worker-%04d.h5", worker);
  return name;
}

/// All slabs of a table within a partition; copies of what other shards write are left out.
std::vector<PlacedSlab> slabs_to_write(const model::ParameterTable& table,
                                       const model::IndexRange& partition,
                                       const std::string& prefix, data::DType dtype) {
  std::vector<PlacedSlab> slabs;
  for (const model::ParameterSpec& spec : table.parameters) {
    if (spec.is_copy) continue;
    const std::vector<PlacedSlab> some = slabs_of(spec, partition, prefix, dtype);
    slabs.insert(slabs.end(), some.begin(), some.end());
  }
  return slabs;
}

/// As a CPU has them, where bf16 is computed with in fp32: so either resumes from it.
void add_all(checkpoint::ShardWriter& file, const Snapshot& snapshot, int64_t first) {
  for (const PlacedSlab& placed : snapshot.slabs) {
    const at::Tensor numbers = snapshot.values.narrow(0, placed.offset - first, placed.slab.numel())
                                   .to(data::scalar_type(placed.slab.dtype));
    file.add(placed.slab, numbers.const_data_ptr());
  }
}

/// Reads a partition of a flat buffer; `values` [partition.count], of any device.
void read_all(checkpoint::CheckpointReader& reader, const model::ParameterTable& table,
              const model::IndexRange& partition, const std::string& prefix,
              const at::Tensor& values, model::StagedUpload& staging) {
  const at::ScalarType stored = model::arithmetic_type(values.scalar_type());
  const auto read_slab = [&](const PlacedSlab& placed) {
    const checkpoint::Slab& slab = placed.slab;
    const at::Tensor all = values.narrow(0, placed.offset - partition.first, slab.numel())
                               .view({slab.n_rows, slab.n_columns});
    const int64_t row_bytes = slab.n_columns * data::size_bytes(slab.dtype);
    const int64_t max_rows = std::max<int64_t>(1, model::StagedUpload::kPieceBytes / row_bytes);
    reader.read_rows(slab, max_rows, [&](int64_t row, int64_t n_rows, const auto& read) {
      const at::Tensor place = all.narrow(0, row, n_rows);
      const at::Tensor room = staging.room_for(place);
      if (room.scalar_type() == stored) {
        read(room.mutable_data_ptr());
      } else {
        const at::Tensor wide = at::empty(room.sizes(), stored);
        read(wide.mutable_data_ptr());
        room.copy_(wide);
      }
      staging.send(place);
    });
  };
  for (const model::ParameterSpec& spec : table.parameters) {
    for (const PlacedSlab& placed : slabs_of(spec, partition, prefix, data::dtype_of(stored))) {
      read_slab(placed);
    }
  }
}

/// Numbers for each unit of length.
int64_t width_of(const data::KeyMetadata& key) {
  return std::accumulate(key.trailing_shape.begin(), key.trailing_shape.end(), int64_t{1},
                         std::multiplies<>());
}

/// Everything that a sample has under a key.
checkpoint::Slab slab_of_sample(data::SampleId id, const data::KeyMetadata& key, size_t place) {
  const int64_t rows = key.lengths.total(place);
  const int64_t columns = width_of(key);
  return {.name = base::concat("carried/samples/", id.value, "/", key.key),
          .dtype = key.dtype,
          .rows = rows,
          .columns = columns,
          .n_rows = rows,
          .n_columns = columns};
}

void add_samples(checkpoint::ShardWriter& file, const data::SequenceBatch& batch) {
  for (const data::KeyMetadata& key : batch.meta.keys) {
    const at::Tensor values = batch.at(key.key).to(at::kCPU).contiguous();
    const auto* bytes = static_cast<const char*>(values.const_data_ptr());
    for (size_t i = 0; i < batch.size(); ++i) {
      const checkpoint::Slab slab = slab_of_sample(batch.meta.ids[i], key, i);
      file.add(slab, bytes);
      bytes += slab.size_bytes();
    }
  }
}

}  // namespace

data::SequenceBatch read_samples(checkpoint::CheckpointReader& reader,
                                 const data::BatchMetadata& wanted) {
  data::SequenceBatch batch;
  batch.meta = wanted;
  for (const data::KeyMetadata& key : wanted.keys) {
    std::vector<int64_t> shape = {key.lengths.grand_total()};
    shape.insert(shape.end(), key.trailing_shape.begin(), key.trailing_shape.end());
    at::Tensor values = at::empty(shape, data::scalar_type(key.dtype));
    auto* bytes = static_cast<char*>(values.mutable_data_ptr());
    for (size_t i = 0; i < wanted.ids.size(); ++i) {
      const checkpoint::Slab slab = slab_of_sample(wanted.ids[i], key, i);
      if (slab.numel() > 0) reader.read(slab, bytes);  // of an empty one nothing is written
      bytes += slab.size_bytes();
    }
    batch.data[key.key] = values;
  }
  return batch;
}

std::vector<PlacedSlab> slabs_of(const model::ParameterSpec& spec,
                                 const model::IndexRange& partition, const std::string& prefix,
                                 data::DType dtype) {
  const bool is_matrix = spec.full_shape.size() > 1;
  const int64_t width = is_matrix ? spec.shape[1] : 1;
  const int64_t begin = std::max(partition.first, spec.offset) - spec.offset;
  const int64_t end = std::min(partition.end(), spec.offset + spec.numel) - spec.offset;
  std::vector<PlacedSlab> slabs;
  for (int64_t at = begin; at < end;) {
    const int64_t row = at / width;
    const int64_t column = at % width;
    // A whole number of rows, or what is left of one.
    const int64_t n_rows = column == 0 ? std::max<int64_t>((end - at) / width, 1) : 1;
    const int64_t n_columns =
        column == 0 && end - at >= width ? width : std::min(width - column, end - at);
    slabs.push_back({.slab = {.name = prefix + spec.name,
                              .dtype = dtype,
                              .rows = spec.full_shape[0],
                              .columns = is_matrix ? spec.full_shape[1] : 1,
                              .first_row = spec.first[0] + row,
                              .first_column = spec.first[1] + column,
                              .n_rows = n_rows,
                              .n_columns = n_columns},
                     .offset = spec.offset + at});
    at += n_rows * n_columns;
  }
  return slabs;
}

ShardCheckpoint::ShardCheckpoint(HostedModels& models, const graph::Graph& graph, int worker,
                                 checkpoint::Compression compression)
    : models_(models), graph_(graph), worker_(worker), compression_(compression) {}

bool ShardCheckpoint::is_state(const HostedModel& model) const {
  const graph::ReplicaId& id = model.replica.id;
  if (model.decoder == nullptr || id.index != 0) return false;
  return model.replica.is_trained ||
         std::any_of(graph_.calls().begin(), graph_.calls().end(),
                     [&](const graph::Call& call) { return call.post_realloc == id.role; });
}

at::Tensor ShardCheckpoint::copy_of(const at::Tensor& values, c10::Device device,
                                    const std::string& name) {
  if (device.is_cpu()) return values.clone();
  model::PinnedMemory& room = pinned_[name];
  if (room.size_bytes() != values.nbytes()) {
    room = model::PinnedMemory(values.nbytes(), "the copies that checkpoints are written from",
                               "start fewer workers on a node");
  }
  const at::Tensor copy =
      at::from_blob(room.data(), values.sizes(), values.options().device(at::kCPU));
  if (values.is_cpu()) return copy.copy_(values);  // it was offloaded
  if (values.numel() > 0) {
    kernels::enqueue_copy_from_gpu(room.data(), values.const_data_ptr(), values.nbytes(),
                                   model::stream_of(values));
  }
  return copy;
}

void ShardCheckpoint::start(const std::filesystem::path& directory, int64_t step,
                            std::map<std::string, std::string> interfaces,
                            std::vector<data::SequenceBatch> samples) {
  writer_.wait_until_idle();  // it reads the copies that are made anew here
  auto snapshots = std::make_shared<std::vector<std::pair<Snapshot, int64_t>>>();
  std::optional<c10::Device> gpu;
  std::map<std::string, std::string> blobs;
  for (auto& [name, state] : interfaces) {
    if (!state.empty()) blobs["call/" + name] = std::move(state);
  }
  for (auto& [id, model] : models_.all()) {
    if (!is_state(model)) continue;
    const model::FlatParameters& parameters = model.decoder->parameters();
    const model::ParameterTable& table = parameters.table();
    if (!parameters.values().is_cpu()) gpu = parameters.values().device();
    const auto take = [&](const at::Tensor& values, const model::IndexRange& partition,
                          const char* what) {
      const std::string prefix = base::concat(id.role, "/", what, "/");
      const at::ScalarType dtype = model::arithmetic_type(values.scalar_type());
      snapshots->emplace_back(
          Snapshot{.values = copy_of(values, parameters.values().device(), prefix),
                   .slabs = slabs_to_write(table, partition, prefix, data::dtype_of(dtype))},
          partition.first);
    };
    if (model.at.data == 0) {  // data ranks hold the same parameters
      take(parameters.values(), {.first = 0, .count = table.numel}, "parameters");
    }
    if (model.at.data == 0 && model.shadow.defined()) {
      take(model.shadow, {.first = 0, .count = table.numel}, "shadow");
      blobs["shadow/" + id.role] = "1";
    }
    if (model.engine == nullptr) continue;
    const parallel::AdamW& optimizer = model.engine->optimizer();
    take(optimizer.first_moment(), optimizer.owned(), "first_moment");
    take(optimizer.second_moment(), optimizer.owned(), "second_moment");
    if (optimizer.master_weights().defined()) {
      take(optimizer.master_weights(), optimizer.owned(), "masters");
      blobs["masters/" + id.role] = "1";
    }
    blobs["optimizer/" + id.role] = std::to_string(optimizer.steps_done());
  }
  if (gpu) c10::impl::VirtualGuardImpl(gpu->type()).getStream(*gpu).synchronize();
  const std::filesystem::path partial = checkpoint::partial_directory(directory);
  std::error_code error;
  std::filesystem::create_directory(partial, error);  // whoever comes first; no folders above it
  if (error) throw CheckpointError(base::concat(partial.string(), ": ", error.message()));
  step_ = step;
  is_reported_ = false;
  writer_.start(partial / file_name(worker_), compression_,
                [snapshots, blobs = std::move(blobs),
                 samples = std::move(samples)](checkpoint::ShardWriter& file) {
                  for (const auto& [snapshot, first] : *snapshots) add_all(file, snapshot, first);
                  for (const data::SequenceBatch& batch : samples) add_samples(file, batch);
                  for (const auto& [name, bytes] : blobs) file.add_blob(name, bytes);
                });
}

std::vector<comm::SavedShard> ShardCheckpoint::finished() {
  if (is_reported_) return {};
  const std::optional<checkpoint::FileRecord> record = writer_.poll();
  if (!record) return {};
  is_reported_ = true;
  return {{.step = step_, .file = record->name, .size = record->size, .hash = record->hash}};
}

std::vector<comm::SavedShard> ShardCheckpoint::wait() {
  if (!is_reported_) writer_.wait();
  return finished();
}

void ShardCheckpoint::restore(checkpoint::CheckpointReader& reader) {
  model::StagedUpload staging;
  for (auto& [id, model] : models_.all()) {
    if (!is_state(model)) continue;
    model::FlatParameters& parameters = model.decoder->parameters();
    const model::ParameterTable& table = parameters.table();
    read_all(reader, table, {.first = 0, .count = table.numel}, id.role + "/parameters/",
             parameters.values(), staging);
    parameters.store();
    if (parameters.dtype() == at::kBFloat16 && reader.blob("shadow/" + id.role)) {
      model.shadow = at::empty_like(parameters.values(), at::kFloat);
      read_all(reader, table, {.first = 0, .count = table.numel}, id.role + "/shadow/",
               model.shadow, staging);
    }
    if (model.engine == nullptr) continue;
    parallel::AdamW& optimizer = model.engine->optimizer();
    // Where they are, so that a GPU needs no room for them twice.
    const at::Tensor first = optimizer.first_moment();
    const at::Tensor second = optimizer.second_moment();
    read_all(reader, table, optimizer.owned(), id.role + "/first_moment/", first, staging);
    read_all(reader, table, optimizer.owned(), id.role + "/second_moment/", second, staging);
    const std::optional<std::string> steps = reader.blob("optimizer/" + id.role);
    int64_t n_steps = 0;
    if (!steps || std::sscanf(steps->c_str(), "%ld", &n_steps) != 1) {
      throw CheckpointError(base::concat(reader.directory().string(), ": the number of updates of ",
                                         id.role, " is missing"));
    }
    at::Tensor master_weights;
    if (optimizer.master_weights().defined() && reader.blob("masters/" + id.role)) {
      master_weights = optimizer.master_weights();
      read_all(reader, table, optimizer.owned(), id.role + "/masters/", master_weights, staging);
    }
    optimizer.restore(n_steps, first, second, master_weights);
  }
}

}  // namespace orrery::worker
