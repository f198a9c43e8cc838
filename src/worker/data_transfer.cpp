#include "orrery/worker/data_transfer.h"

#include <algorithm>  // find
#include <map>
#include <vector>

namespace orrery::worker {

namespace {

/// The bytes of one key of a transfer's samples, in the order of its ids: [size_bytes] uint8.
at::Tensor as_bytes(const at::Tensor& tensor) {
  return tensor.contiguous().flatten().view(at::kByte);
}

int64_t row_bytes(const data::KeyMetadata& key) {
  int64_t bytes = data::size_bytes(key.dtype);
  for (const int64_t extent : key.trailing_shape) bytes *= extent;
  return bytes;
}

int64_t transfer_bytes(const comm::Transfer& transfer) {
  int64_t bytes = 0;
  for (const data::KeyMetadata& key : transfer.batch.keys) {
    bytes += key.lengths.grand_total() * row_bytes(key);
  }
  return bytes;
}

bool goes_to(const comm::Transfer& transfer, int worker) {
  return worker != transfer.source &&
         std::find(transfer.destinations.begin(), transfer.destinations.end(), worker) !=
             transfer.destinations.end();
}

/// Reads one transfer's samples from `bytes` at `offset`, in the order in which as_bytes wrote
/// them.
data::SequenceBatch unpack(const comm::Transfer& transfer, const at::Tensor& bytes,
                           int64_t offset) {
  data::SequenceBatch batch;
  batch.meta = transfer.batch;
  for (const data::KeyMetadata& key : transfer.batch.keys) {
    const int64_t rows = key.lengths.grand_total();
    const int64_t size = rows * row_bytes(key);
    std::vector<int64_t> shape = {rows};
    shape.insert(shape.end(), key.trailing_shape.begin(), key.trailing_shape.end());
    // Cloned, since a view of the message need not be aligned for its type.
    at::Tensor piece = bytes.narrow(0, offset, size).clone();
    batch.data[key.key] = piece.view(data::scalar_type(key.dtype)).view(shape);
    offset += size;
  }
  return batch;
}

}  // namespace

int64_t run_transfers(std::span<const comm::Transfer> transfers, comm::Communicator& workers,
                      DataStore& store) {
  const int self = workers.rank();
  std::map<int, std::vector<at::Tensor>> pieces_to;  // by peer, in the order of the transfers
  std::map<int, int64_t> bytes_from;
  for (const comm::Transfer& transfer : transfers) {
    if (transfer.source == self) {
      const data::SequenceBatch batch = store.gather(transfer.batch);
      for (const int destination : transfer.destinations) {
        if (destination == self) continue;
        for (const data::KeyMetadata& key : transfer.batch.keys) {
          const auto found = batch.data.find(key.key);
          if (found != batch.data.end()) {
            pieces_to[destination].push_back(as_bytes(found->second));
          }
        }
      }
    } else if (goes_to(transfer, self)) {
      bytes_from[transfer.source] += transfer_bytes(transfer);
    }
  }

  std::vector<comm::Send> sends;
  for (const auto& [peer, pieces] : pieces_to) {
    sends.push_back({.peer = peer, .tensor = at::cat(pieces)});
  }
  std::vector<comm::Receive> receives;
  int64_t received = 0;
  for (const auto& [peer, bytes] : bytes_from) {
    receives.push_back({.peer = peer, .tensor = at::empty({bytes}, at::kByte)});
    received += bytes;
  }
  if (sends.empty() && receives.empty()) return 0;
  workers.exchange(sends, receives);

  std::map<int, int64_t> offset_of;
  for (const comm::Transfer& transfer : transfers) {
    if (!goes_to(transfer, self)) continue;
    for (const comm::Receive& receive : receives) {
      if (receive.peer != transfer.source) continue;
      int64_t& offset = offset_of[transfer.source];
      store.put(unpack(transfer, receive.tensor, offset));
      offset += transfer_bytes(transfer);
    }
  }
  return received;
}

}  // namespace orrery::worker
