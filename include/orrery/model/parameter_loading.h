// Parameters of a shard from files that one rank of those that hold the shard reads: a piece is
// read, copied to where it belongs and broadcast before the next one, so that neither a file system
// with as many readers as ranks nor memory for a second copy is needed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "orrery/comm/communicator.h"
#include "orrery/model/parameter_table.h"
#include "orrery/model/staged_upload.h"

namespace orrery::model {

/// Whole rows of one parameter of a shard, as the shard's table counts them.
struct ParameterPiece {
  const ParameterSpec* spec = nullptr;
  int64_t first_row = 0;
  int64_t n_rows = 0;

  int64_t width() const { return spec->shape.size() > 1 ? spec->shape[1] : 1; }
  int64_t offset() const { return spec->offset + first_row * width(); }
  int64_t numel() const { return n_rows * width(); }
};

/// All of a table in its order, in pieces of at most `max_numel` numbers, or of one row that has
/// more. They point into the table.
std::vector<ParameterPiece> pieces_of(const ParameterTable& table, int64_t max_numel);

/// What parameters are read from. Local; one thread.
class ParameterFiles {
 public:
  ParameterFiles() = default;
  virtual ~ParameterFiles() = default;
  ParameterFiles(const ParameterFiles&) = delete;
  ParameterFiles& operator=(const ParameterFiles&) = delete;

  /// False: the parameter stays as it is, such as a new value head.
  virtual bool has(const ParameterSpec& spec) = 0;
  /// values [n_rows, columns of the shard] or [n_rows], on the host, contiguous, of the type that
  /// is wanted. Returns how many bytes were read. Throws CheckpointError naming file and tensor.
  virtual int64_t read(const ParameterPiece& piece, const at::Tensor& values) = 0;
};
/// Throws what is wrong with the files.
using OpenParameterFiles = std::function<std::unique_ptr<ParameterFiles>()>;

struct LoadProgress {
  int64_t file_bytes = 0;       // read so far
  int64_t parameters_read = 0;  // of the shard, of `parameters`
  int64_t parameters = 0;
};

struct LoadOptions {
  /// The ranks with this shard, whose first one reads; null: this one is alone.
  comm::Communicator* data = nullptr;
  /// What is read at a time: of pinned memory for a GPU there is twice as much.
  int64_t piece_bytes = StagedUpload::kPieceBytes;
  /// Told by the rank that reads, after each piece. May be empty.
  std::function<void(const LoadProgress&)> on_piece = {};
};

/// Fills parameters(stored and widened) from files. Collective over `data`. Throws on the rank that
/// reads what it met, on the others PeerError that names it; then the parameters are of no use.
void load_parameters(FlatParameters& parameters, const OpenParameterFiles& open,
                     const LoadOptions& options);

}  // namespace orrery::model
