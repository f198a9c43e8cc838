#include "orrery/comm/communicator.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>  // find
#include <array>
#include <numeric>  // accumulate
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "tensor_text.h"

namespace orrery::comm {

namespace {

enum class Code : int64_t {  // what is compared by agree()
  kAllReduce = 1,
  kAllGather = 2,
  kReduceScatter = 3,
  kBroadcast = 4,
  kGather = 5,
  kScatter = 6,
  kAllToAll = 7,
  kBarrier = 8,
  kSplit = 9,
};

constexpr std::string_view kCodeNames[] = {
    "?",      "all_reduce", "all_gather",   "reduce_scatter", "broadcast",
    "gather", "scatter",    "all_to_all_v", "barrier",        "split"};

std::string describe(std::span<const int64_t> record) {
  const auto code = static_cast<std::size_t>(record[0]);
  std::string text(code < std::size(kCodeNames) ? kCodeNames[code] : "?");
  if (record[1] >= 0) {
    text += base::concat(" of ", record[2], " ", type_name(static_cast<at::ScalarType>(record[1])));
  }
  if (record[3] >= 0) text += base::concat(", root or reduction ", record[3]);
  return text;
}

}  // namespace

struct Communicator::Call {
  Code code;
  int64_t type = -1;      // at::ScalarType; -1: no tensor
  int64_t count = 0;      // elements that must be equal on all ranks
  int64_t argument = -1;  // root or reduction
};

class Communicator::Operation {
 public:
  Operation(Communicator& group, std::string_view name, std::span<const int> peers)
      : waiting_(group.options_.activity, name, group.name_, peers) {
    if (group.is_broken_) {
      throw CommError(base::concat(name, " on ", group.text()),
                      {.expected = "a group in which every operation so far succeeded",
                       .got = "one that failed before",
                       .advice = "look for the first error of this rank in the log"});
    }
    group.throw_if_failed();
  }

 private:
  Activity::Waiting waiting_;
};

namespace {

/// Checks of one operation's tensors before anything is sent.
class TensorCheck {
 public:
  TensorCheck(std::string_view operation, std::string group, const Communicator& backend)
      : operation_(operation), group_(std::move(group)), backend_(backend) {}

  const TensorCheck& tensor(const at::Tensor& x, std::string_view name) const {
    if (!x.defined()) fail(name, "a tensor", "an undefined one");
    if (!backend_.carries(x.device().type())) {
      fail(name, base::concat("a tensor on ", c10::DeviceTypeName(backend_.device_type(), true)),
           base::concat("one on ", x.device().str()));
    }
    if (!x.is_contiguous()) {
      fail(name, "a contiguous tensor",
           base::concat(tensor_text(x), " with strides ", base::join(x.strides(), ", ")));
    }
    return *this;
  }

  const TensorCheck& same_type(const at::Tensor& a, const at::Tensor& b) const {
    if (a.scalar_type() != b.scalar_type()) {
      fail("in and out", "equal types",
           base::concat(type_name(a.scalar_type()), " and ", type_name(b.scalar_type())));
    }
    return *this;
  }

  const TensorCheck& elements(const at::Tensor& x, std::string_view name, int64_t count) const {
    if (x.numel() != count) {
      fail(name, base::counted(count, "element"), base::concat(x.numel(), " in ", tensor_text(x)));
    }
    return *this;
  }

  const TensorCheck& rank_in(int rank, std::string_view name, int size) const {
    if (rank < 0 || rank >= size) {
      fail(name, base::concat("a rank in 0..", size - 1), base::concat(rank));
    }
    return *this;
  }

  const TensorCheck& reducible(const at::Tensor& x, std::string_view name) const {
    switch (x.scalar_type()) {
      case at::kBool:
      case at::kByte:
      case at::kChar:
      case at::kShort:
      case at::kInt:
      case at::kLong:
      case at::kHalf:
      case at::kBFloat16:
      case at::kFloat:
      case at::kDouble:
        return *this;
      default:
        fail(name, "a type that can be reduced", std::string(type_name(x.scalar_type())));
    }
  }

  [[noreturn]] void fail(std::string_view name, std::string expected, std::string got) const {
    throw ShapeError(base::concat(operation_, " on ", group_, ": `", name, "` does not fit"),
                     {.expected = std::move(expected), .got = std::move(got), .advice = ""});
  }

 private:
  std::string_view operation_;
  std::string group_;
  const Communicator& backend_;
};

int64_t type_code(const at::Tensor& x) { return static_cast<int64_t>(x.scalar_type()); }

}  // namespace

Communicator::Communicator(std::string name, int rank, std::vector<int> workers,
                           CommunicatorOptions options)
    : name_(std::move(name)), rank_(rank), workers_(std::move(workers)), options_(options) {
  ORRERY_ASSERT(rank_ >= 0 && rank_ < size(), "rank of a communicator");
  ORRERY_ASSERT(options_.max_chunk_bytes >= 8, "a chunk must hold an element");
  for (const int other : other_ranks()) {
    others_.push_back(workers_[base::index(other)]);
  }
}

std::vector<int> Communicator::other_ranks() const {
  std::vector<int> ranks;
  for (int r = 0; r < size(); ++r) {
    if (r != rank_) ranks.push_back(r);
  }
  return ranks;
}

std::string Communicator::text() const {
  return base::concat(name_, " (workers ", base::join(workers_, ","), ")");
}

Activity::Clock::time_point Communicator::deadline_from(Activity::Clock::time_point since) const {
  constexpr std::chrono::duration<double> kNever = std::chrono::hours(24 * 3650);  // fits a clock
  return since +
         std::chrono::duration_cast<Activity::Clock::duration>(std::min(options_.deadline, kNever));
}

CommError Communicator::deadline_error(std::string_view operation, std::span<const int> missing,
                                       std::chrono::duration<double> deadline,
                                       Activity::Clock::time_point since) const {
  const std::chrono::duration<double> waited = Activity::Clock::now() - since;
  return CommError(
      base::concat(operation, " on ", text(), ": a peer missed the deadline"),
      {.expected = base::concat("workers ", base::join(missing, ","), " within ",
                                base::duration_text(deadline)),
       .got = base::concat("no end of the operation after ", base::duration_text(waited)),
       .advice = "see in the log what these workers do; if they are only slow, raise "
                 "experiment.deadline_seconds"});
}

CommError Communicator::failure_error(std::string_view operation, std::string_view what) const {
  return CommError(base::concat(operation, " on ", text(), ": ", what));
}

void Communicator::throw_deadline(std::string_view operation, std::span<const int> ranks,
                                  Activity::Clock::time_point since) {
  is_broken_ = true;
  std::vector<int> missing;
  for (const int r : ranks) missing.push_back(workers_[base::index(r)]);
  throw deadline_error(operation, missing, options_.deadline, since);
}

void Communicator::throw_failure(std::string_view operation, std::string_view what) {
  is_broken_ = true;
  throw failure_error(operation, what);
}

void Communicator::throw_disagreement(std::string_view operation, std::string expected,
                                      std::string got) {
  is_broken_ = true;
  throw CommError(base::concat(operation, " on ", text(), ": the ranks disagree"),
                  {.expected = std::move(expected),
                   .got = std::move(got),
                   .advice = "all ranks of a group must do the same operations in the same order; "
                             "this is a fault of the program: report it"});
}

void Communicator::agree(const Call& call) {
  if (!options_.check_agreement || size() == 1) return;
  constexpr int64_t kFields = 4;
  const std::array<int64_t, kFields> mine = {static_cast<int64_t>(call.code), call.type, call.count,
                                             call.argument};
  const auto options = at::TensorOptions().dtype(at::kLong);
  const at::Tensor in = at::tensor(at::ArrayRef<int64_t>(mine), options).to(device_type());
  at::Tensor out = at::empty({size() * kFields}, options.device(device_type()));
  do_all_gather(out, in);
  const at::Tensor all = out.cpu();
  throw_if_failed();
  const int64_t* records = all.const_data_ptr<int64_t>();
  for (int r = 0; r < size(); ++r) {
    const std::span<const int64_t> theirs(records + r * kFields, kFields);
    if (!std::equal(mine.begin(), mine.end(), theirs.begin())) {
      throw_disagreement(kCodeNames[mine[0]],
                         base::concat(describe(mine), " from every worker, as here"),
                         base::concat(describe(theirs), " from worker ", workers_[base::index(r)]));
    }
  }
}

void Communicator::all_reduce(at::Tensor& x, ReduceOp op) {
  constexpr std::string_view kName = "all_reduce";
  TensorCheck(kName, text(), *this).tensor(x, "x").reducible(x, "x");
  const Operation operation(*this, kName, others_);
  agree({Code::kAllReduce, type_code(x), x.numel(), static_cast<int64_t>(op)});
  if (x.numel() > 0 && size() > 1) do_all_reduce(x, op);
}

void Communicator::all_gather(at::Tensor& out, const at::Tensor& in) {
  constexpr std::string_view kName = "all_gather";
  TensorCheck(kName, text(), *this)
      .tensor(in, "in")
      .tensor(out, "out")
      .same_type(in, out)
      .elements(out, "out", size() * in.numel());
  const Operation operation(*this, kName, others_);
  agree({Code::kAllGather, type_code(in), in.numel()});
  if (in.numel() > 0) do_all_gather(out, in);
}

void Communicator::reduce_scatter(at::Tensor& out, const at::Tensor& in, ReduceOp op) {
  constexpr std::string_view kName = "reduce_scatter";
  TensorCheck(kName, text(), *this)
      .tensor(in, "in")
      .tensor(out, "out")
      .same_type(in, out)
      .reducible(in, "in")
      .elements(in, "in", size() * out.numel());
  const Operation operation(*this, kName, others_);
  agree({Code::kReduceScatter, type_code(in), in.numel(), static_cast<int64_t>(op)});
  if (in.numel() > 0) do_reduce_scatter(out, in, op);
}

void Communicator::broadcast(at::Tensor& x, int root) {
  constexpr std::string_view kName = "broadcast";
  TensorCheck(kName, text(), *this).tensor(x, "x").rank_in(root, "root", size());
  const Operation operation(*this, kName, others_);
  agree({Code::kBroadcast, type_code(x), x.numel(), root});
  if (x.numel() > 0 && size() > 1) do_broadcast(x, root);
}

void Communicator::gather(at::Tensor& out, const at::Tensor& in, int root) {
  constexpr std::string_view kName = "gather";
  const TensorCheck check(kName, text(), *this);
  check.tensor(in, "in").rank_in(root, "root", size());
  if (rank_ == root) {
    check.tensor(out, "out").same_type(in, out).elements(out, "out", size() * in.numel());
  }
  const Operation operation(*this, kName, others_);
  agree({Code::kGather, type_code(in), in.numel(), root});
  if (in.numel() > 0) do_gather(out, in, root);
}

void Communicator::scatter(at::Tensor& out, const at::Tensor& in, int root) {
  constexpr std::string_view kName = "scatter";
  const TensorCheck check(kName, text(), *this);
  check.tensor(out, "out").rank_in(root, "root", size());
  if (rank_ == root) {
    check.tensor(in, "in").same_type(in, out).elements(in, "in", size() * out.numel());
  }
  const Operation operation(*this, kName, others_);
  agree({Code::kScatter, type_code(out), out.numel(), root});
  if (out.numel() > 0) do_scatter(out, in, root);
}

void Communicator::all_to_all_v(at::Tensor& out, std::span<const int64_t> out_rows,
                                const at::Tensor& in, std::span<const int64_t> in_rows) {
  constexpr std::string_view kName = "all_to_all_v";
  const TensorCheck check(kName, text(), *this);
  check.tensor(in, "in").tensor(out, "out").same_type(in, out);
  const auto split_rows = [&](const at::Tensor& x, std::span<const int64_t> rows,
                              std::string_view name) {
    if (x.dim() == 0) check.fail(name, "at least one dimension", tensor_text(x));
    if (std::ssize(rows) != size() ||
        std::accumulate(rows.begin(), rows.end(), int64_t{0}) != x.size(0)) {
      check.fail(
          name, base::concat(base::counted(size(), "count"), " of rows that add up to ", x.size(0)),
          base::join(rows, ", "));
    }
    std::vector<at::Tensor> parts;
    int64_t begin = 0;
    for (const int64_t n : rows) {
      if (n < 0) check.fail(name, "counts of rows", base::join(rows, ", "));
      parts.push_back(x.narrow(0, begin, n));
      begin += n;
    }
    return parts;
  };
  std::vector<at::Tensor> in_parts = split_rows(in, in_rows, "in");
  std::vector<at::Tensor> out_parts = split_rows(out, out_rows, "out");
  int64_t row_elements = 1;
  for (int64_t axis = 1; axis < in.dim(); ++axis) row_elements *= in.size(axis);
  if (in.sizes().slice(1) != out.sizes().slice(1)) {
    check.fail("out", base::concat("rows like those of in, ", tensor_text(in)), tensor_text(out));
  }

  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (int r = 0; r < size(); ++r) {
    const auto i = static_cast<std::size_t>(r);
    sends.push_back({.peer = r, .tensor = std::move(in_parts[i])});
    receives.push_back({.peer = r, .tensor = std::move(out_parts[i])});
  }
  const Operation operation(*this, kName, others_);
  agree({Code::kAllToAll, type_code(in), row_elements});
  do_exchange(kName, sends, receives, [](std::size_t) {});
}

void Communicator::exchange(std::span<const Send> sends, std::span<const Receive> receives,
                            const OnReceived& on_received) {
  constexpr std::string_view kName = "exchange";
  const TensorCheck check(kName, text(), *this);
  std::vector<int> peers;
  const auto add_peer = [&](int rank) {
    const int worker = workers_[base::index(rank)];
    if (rank != rank_ && std::find(peers.begin(), peers.end(), worker) == peers.end()) {
      peers.push_back(worker);
    }
  };
  for (const Send& send : sends) {
    check.rank_in(send.peer, "peer of a send", size()).tensor(send.tensor, "tensor of a send");
    add_peer(send.peer);
  }
  for (const Receive& receive : receives) {
    check.rank_in(receive.peer, "peer of a receive", size())
        .tensor(receive.tensor, "tensor of a receive");
    add_peer(receive.peer);
  }
  const Operation operation(*this, kName, peers);
  if (!sends.empty() || !receives.empty()) do_exchange(kName, sends, receives, on_received);
}

void Communicator::barrier() {
  const Operation operation(*this, "barrier", others_);
  agree({Code::kBarrier});
  if (size() > 1) do_barrier();
}

std::unique_ptr<Communicator> Communicator::split(int colour, int key, std::string name) {
  if (colour < 0 && colour != kNoColour) {
    throw CallError(
        base::concat("split of ", text()),
        {.expected = "a colour >= 0, or kNoColour", .got = base::concat(colour), .advice = ""});
  }
  const Operation operation(*this, "split", others_);
  agree({Code::kSplit});
  return do_split(colour, key, std::move(name));
}

}  // namespace orrery::comm
