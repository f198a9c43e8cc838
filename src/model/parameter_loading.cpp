#include "orrery/model/parameter_loading.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <exception>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/model/staged_upload.h"

namespace orrery::model {
namespace {

/// `work` on the rank that reads; all ranks leave together where it throws.
template <class Work>
void on_reader(comm::Communicator* data, const Work& work) {
  if (data == nullptr) return work();
  at::Tensor is_done = at::zeros({1}, at::kByte);
  std::exception_ptr error;
  if (data->rank() == 0) {
    try {
      work();
      is_done.fill_(1);
    } catch (...) {
      error = std::current_exception();
    }
  }
  data->broadcast(is_done, 0);
  if (error) std::rethrow_exception(error);
  if (is_done.item<uint8_t>() == 0) {
    throw PeerError(base::concat("worker ", data->workers().front(),
                                 " could not read the files: its error says why"));
  }
}

}  // namespace

std::vector<ParameterPiece> pieces_of(const ParameterTable& table, int64_t max_numel) {
  std::vector<ParameterPiece> pieces;
  for (const ParameterSpec& spec : table.parameters) {
    const ParameterPiece whole{.spec = &spec, .first_row = 0, .n_rows = spec.shape[0]};
    const int64_t most = std::max<int64_t>(1, max_numel / std::max<int64_t>(1, whole.width()));
    for (int64_t row = 0; row < whole.n_rows; row += most) {
      pieces.push_back(
          {.spec = &spec, .first_row = row, .n_rows = std::min(most, whole.n_rows - row)});
    }
  }
  return pieces;
}

void load_parameters(FlatParameters& parameters, const OpenParameterFiles& open,
                     const LoadOptions& options) {
  const at::Tensor& stored = parameters.stored();
  const auto element = static_cast<int64_t>(stored.element_size());
  const std::vector<ParameterPiece> pieces =
      pieces_of(parameters.table(), options.piece_bytes / element);
  comm::Communicator* const data =
      options.data != nullptr && options.data->size() > 1 ? options.data : nullptr;
  StagedUpload staging;
  LoadProgress progress{.parameters = parameters.numel()};
  std::unique_ptr<ParameterFiles> files;
  const auto read = [&](const ParameterPiece& piece, const at::Tensor& place) {
    if (!files) files = open();
    if (files->has(*piece.spec)) {
      progress.file_bytes += files->read(piece, staging.room_for(place));
      staging.send(place);
    }
    progress.parameters_read += piece.numel();
    if (options.on_piece) options.on_piece(progress);
  };
  for (const ParameterPiece& piece : pieces) {
    at::Tensor place = stored.narrow(0, piece.offset(), piece.numel());
    if (piece.spec->shape.size() > 1) place = place.view({piece.n_rows, piece.width()});
    on_reader(data, [&] { read(piece, place); });
    if (data != nullptr) data->broadcast(place, 0);
  }
  parameters.widen();
}

}  // namespace orrery::model
