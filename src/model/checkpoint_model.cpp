#include "orrery/model/checkpoint_model.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include "finite_weights.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/manifest.h"
#include "orrery/checkpoint/reader.h"
#include "orrery/checkpoint/shard_file.h"
#include "orrery/data/sequence_batch.h"  // dtype_of
#include "orrery/model/parameter_table.h"

namespace orrery::model {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kInfix = "/parameters/";
constexpr std::string_view kValueHead = "score.weight";

/// The rectangle of the whole parameter that a shard holds.
checkpoint::Slab slab_of(const ParameterSpec& spec, const std::string& role, data::DType dtype) {
  const bool is_matrix = spec.full_shape.size() > 1;
  return {.name = base::concat(role, kInfix, spec.name),
          .dtype = dtype,
          .rows = spec.full_shape[0],
          .columns = is_matrix ? spec.full_shape[1] : 1,
          .first_row = spec.first[0],
          .first_column = is_matrix ? spec.first[1] : 0,
          .n_rows = spec.shape[0],
          .n_columns = is_matrix ? spec.shape[1] : 1};
}

at::ScalarType scalar_type_of(data::DType dtype, const std::string& where) {
  switch (dtype) {
    case data::DType::kF32:
      return at::kFloat;
    case data::DType::kF64:
      return at::kDouble;
    case data::DType::kBf16:
      return at::kBFloat16;
    case data::DType::kF16:
      return at::kHalf;
    default:
      throw CheckpointError(base::concat(where, ": parameters are stored as ", data::name(dtype)));
  }
}

}  // namespace

bool is_checkpoint(const fs::path& directory) { return base::exists(directory / "manifest.json"); }

std::vector<std::string> roles_in_checkpoint(const fs::path& directory) {
  checkpoint::CheckpointReader reader(directory);
  std::set<std::string> roles;
  for (const std::string& name : reader.names()) {
    const size_t at = name.find(kInfix);
    if (at != std::string::npos) roles.insert(name.substr(0, at));
  }
  return {roles.begin(), roles.end()};
}

std::string role_in_checkpoint(const fs::path& directory, const std::string& wanted) {
  const std::vector<std::string> roles = roles_in_checkpoint(directory);
  if (std::find(roles.begin(), roles.end(), wanted) != roles.end()) return wanted;
  if (roles.size() == 1) return roles.front();
  throw CheckpointError(base::concat(directory.string(), " has no parameters of ", wanted),
                        {.expected = base::join(roles, " or "),
                         .got = wanted,
                         .advice = "name one of these roles (--role); roles that are never trained "
                                   "are not in checkpoints"});
}

at::ScalarType stored_type(const fs::path& directory, const std::string& role) {
  checkpoint::CheckpointReader reader(directory);
  const std::string prefix = base::concat(role, kInfix);
  for (const std::string& name : reader.names()) {
    if (name.starts_with(prefix)) {
      return scalar_type_of(reader.description(name).dtype, directory.string());
    }
  }
  throw CheckpointError(base::concat(directory.string(), " has no parameters of ", role));
}

namespace {

class CheckpointFiles : public ParameterFiles {
 public:
  CheckpointFiles(const fs::path& directory, std::string role)
      : reader_(directory), role_(std::move(role)) {}

  bool has(const ParameterSpec& spec) override {
    return spec.name != kValueHead || reader_.has(name_of(spec));
  }

  int64_t read(const ParameterPiece& piece, const at::Tensor& values) override {
    const std::string name = name_of(*piece.spec);
    const data::DType dtype = reader_.description(name).dtype;
    const at::ScalarType stored = scalar_type_of(dtype, reader_.directory().string());
    checkpoint::Slab slab = slab_of(*piece.spec, role_, dtype);
    slab.first_row += piece.first_row;
    slab.n_rows = piece.n_rows;
    if (stored == values.scalar_type()) {
      reader_.read(slab, values.mutable_data_ptr());
    } else {
      const at::Tensor room = at::empty(values.sizes(), stored);
      reader_.read(slab, room.mutable_data_ptr());
      values.copy_(room);
    }
    check_finite_weights(reader_.directory(), name, values);
    return slab.size_bytes();
  }

 private:
  std::string name_of(const ParameterSpec& spec) const {
    return base::concat(role_, kInfix, spec.name);
  }

  checkpoint::CheckpointReader reader_;
  std::string role_;
};

}  // namespace

std::unique_ptr<ParameterFiles> open_checkpoint_parameters(const fs::path& directory,
                                                           const std::string& role) {
  return std::make_unique<CheckpointFiles>(directory, role);
}

void load_checkpoint_parameters(const fs::path& directory, const std::string& role,
                                Decoder& decoder, const LoadOptions& options) {
  load_parameters(
      decoder.parameters(), [&] { return open_checkpoint_parameters(directory, role); }, options);
}

void write_checkpoint_model(const fs::path& folder, const Decoder& whole, const SavedModel& saved) {
  checkpoint::Manifest manifest{.step = 0,
                                .program = saved.program_version,
                                .config_hash = "",
                                .layouts = {{saved.role, saved.layout.text()}}};
  int number = 0;
  ShardPlace place{
      .pipe = 0, .n_pipe = saved.layout.pipe, .tensor = 0, .n_tensor = saved.layout.tensor};
  for (place.pipe = 0; place.pipe < place.n_pipe; ++place.pipe) {
    for (place.tensor = 0; place.tensor < place.n_tensor; ++place.tensor) {
      char name[32];
      std::snprintf(name, sizeof(name), "worker-%04d.h5", number++);
      checkpoint::ShardWriter file(folder / name);
      for (const ParameterSpec& spec : parameter_table(whole.architecture(), place).parameters) {
        if (spec.is_copy) continue;
        at::Tensor part =
            whole.parameters().leaf(spec.name).detach().narrow(0, spec.first[0], spec.shape[0]);
        if (spec.shape.size() > 1) part = part.narrow(1, spec.first[1], spec.shape[1]);
        part = part.to(scalar_type_of(saved.dtype, folder.string())).contiguous();
        file.add(slab_of(spec, saved.role, saved.dtype), part.const_data_ptr());
      }
      manifest.files.push_back(file.finish());
    }
  }
  for (const std::string& name : saved.companions) {
    checkpoint::FileRecord record = checkpoint::record_of(folder / name);
    record.name = name;
    manifest.files.push_back(record);
  }
  base::publish_file(folder / "manifest.json", checkpoint::manifest_text(manifest));
}

}  // namespace orrery::model
