#include "orrery/parallel/whole_model.h"

namespace orrery::parallel {

void place_parameters(const model::ParameterTable& table, const at::Tensor& from,
                      model::FlatParameters& whole) {
  for (const model::ParameterSpec& spec : table.parameters) {
    at::Tensor place = whole.leaf(spec.name).detach().narrow(0, spec.first[0], spec.shape[0]);
    if (spec.shape.size() > 1) place = place.narrow(1, spec.first[1], spec.shape[1]);
    place.copy_(from.narrow(0, spec.offset, spec.numel).view(spec.shape));
  }
}

std::unique_ptr<model::Decoder> gather_model(const model::Decoder& shard,
                                             const ReplicaGroups& groups) {
  const model::ShardPlace own = shard.shard().place;
  const at::Tensor& values = shard.parameters().values();
  if (groups.model->rank() != 0) {
    groups.model->exchange({{0, values}}, {});
    return nullptr;
  }
  auto whole = std::make_unique<model::Decoder>(shard.architecture(), shard.parameters().dtype());
  place_parameters(shard.parameters().table(), values, whole->parameters());
  model::ShardPlace place = own;
  for (place.pipe = 0; place.pipe < own.n_pipe; ++place.pipe) {
    for (place.tensor = 0; place.tensor < own.n_tensor; ++place.tensor) {
      if (place == own) continue;
      const model::ParameterTable table = model::parameter_table(shard.architecture(), place);
      at::Tensor room = at::empty({table.numel}, values.options());
      const int rank = place.pipe * groups.data->size() * own.n_tensor + place.tensor;
      groups.model->exchange({}, {{rank, room}});
      place_parameters(table, room, whole->parameters());
    }
  }
  whole->parameters().store();
  return whole;
}

}  // namespace orrery::parallel
