// What the master and the workers say to each other. Plain values, no tensor: samples are named by
// handles, their tensors move between workers as the transfers say. How they become bytes is in
// serialise.h, how the bytes travel in control_channel.h. Any rank, any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "orrery/base/error.h"  // ErrorKind
#include "orrery/data/batch_metadata.h"
#include "orrery/data/row_ref.h"
#include "orrery/data/sample_id.h"
#include "orrery/metrics/evaluation.h"  // EvaluatedRecord
#include "orrery/metrics/statistics.h"

namespace orrery::comm {

/// What a worker does with a request, besides its hooks.
enum class RequestKind : uint8_t {
  kEmpty = 0,      ///< nothing: a side request, only hooks
  kGenerate = 1,   ///< call of that kind
  kInference = 2,  ///< call of that kind
  kTrainStep = 3,  ///< call of that kind
  kLoad = 4,       ///< read `rows`, or `batch` of the checkpoint of before, into the store
  kEvaluate = 5,   ///< run the evaluation
  kSave = 6,       ///< copy what survives and begin to write it to `body`
  kExport = 7,     ///< write the model of the call to the directory `body`
  kFlush = 8,      ///< run all requests received since the last flush
  kExit = 9,       ///< leave the request loop
  kSaveEnd = 11,   ///< wait until that is written
};

/// `train_step`; for error texts and traces.
std::string_view name_of(RequestKind kind);

/// `source` sends all keys of all samples of `batch` to each destination. Worker indices.
/// Example: {.source = 0, .destinations = {2, 3}, .batch = {ids 7 9, key rewards}}
struct Transfer {
  int source = -1;
  std::vector<int> destinations = {};  ///< never the source
  data::BatchMetadata batch = {};      ///< what moves: ids, keys with lengths

  template <class Archive>
  void serialize(Archive& archive) {
    archive(source, destinations, batch);
  }
};

// Each kind of hook says whether its receiver meets other workers in it. A hook after the request
// that meets nobody runs at once, while its model is still warm; the others wait for the end of the
// flush, so that nobody is kept waiting.

/// Moves samples between workers before what is asked for.
struct DataTransferHook {
  static constexpr bool kMeetsOthers = true;
  std::vector<Transfer> transfers = {};  ///< those in which the receiver of the request takes part

  template <class Archive>
  void serialize(Archive& archive) {
    archive(transfers);
  }
};

/// Parameters of replica `to` of `role` = eta * from + (1 - eta) * to.
struct ReallocHook {
  static constexpr bool kMeetsOthers = true;
  std::string role = {};
  int from = 0;                ///< replica index, of `from_role`
  int to = 0;                  ///< replica index, of `role`
  std::string from_role = {};  ///< empty: `role` itself
  double eta = 1;
  uint64_t version = 0;  ///< that `to` has afterwards

  template <class Archive>
  void serialize(Archive& archive) {
    archive(role, from, to, from_role, eta, version);
  }
};

/// Where the parameters of a replica, or the optimizer's state of one that is trained, live from
/// now on. Those that fetch run when their own request begins, not with the other hooks before the
/// flush: else the roles of all its requests would be on the device together.
struct ResidencyHook {
  static constexpr bool kMeetsOthers = false;
  enum Action : uint8_t {
    kOffload = 0,   ///< device -> host
    kPrefetch = 1,  ///< host -> device
    kRelease = 2,   ///< free them
    kOffloadOptimizer = 3,
    kFetchOptimizer = 4,
  };
  std::string role = {};
  int replica = 0;
  Action action = kOffload;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(role, replica, action);
  }
};

/// Copies these samples, for the kSave that follows to write them too: those that a resumed run
/// needs.
struct KeepSamplesHook {
  static constexpr bool kMeetsOthers = false;
  std::vector<data::BatchMetadata> batches = {};  ///< each: keys that all of its samples have here

  template <class Archive>
  void serialize(Archive& archive) {
    archive(batches);
  }
};

using Hook = std::variant<DataTransferHook, ReallocHook, ResidencyHook, KeepSamplesHook>;

/// Name of the kind of hook, as in time records: `data_transfer`, `param_realloc`, ...
std::string_view name_of(const Hook& hook);

bool meets_other_workers(const Hook& hook);

/// When a request happens.
struct StepInfo {
  int64_t step = 0;        ///< 1-based; 0 before training
  int64_t epoch = 0;       ///< 0-based
  int64_t epoch_step = 0;  ///< step inside the epoch, 1-based

  template <class Archive>
  void serialize(Archive& archive) {
    archive(step, epoch, epoch_step);
  }
  bool operator==(const StepInfo&) const = default;
};

/// Master -> worker: run the hooks and what is asked for, then reply.
/// Example: {.id = 41, .call = 2, .kind = RequestKind::kTrainStep, .batch = {ids 7 9, ...}}
struct Request {
  uint64_t sequence = 0;  ///< per worker from 0 without gaps; set by the channel
  uint64_t id = 0;        ///< chosen by the master, returned in the reply
  int call = -1;          ///< index into Graph::calls
  RequestKind kind = RequestKind::kEmpty;
  StepInfo step = {};
  std::vector<Hook> pre_hooks = {};
  std::vector<Hook> post_hooks = {};
  data::BatchMetadata batch = {};       ///< samples of this worker's data rank, keys the call reads
  std::vector<data::RowRef> rows = {};  ///< kLoad: what to read now
  std::vector<data::RowRef> prefetch = {};  ///< what will be asked for next
  std::vector<data::SampleId> clear = {};   ///< forget these, before the hooks
  /// kSave, kExport: the directory; kEvaluate: the set's name; of calls: a key whose values the
  /// reply reports (kReportedValues).
  std::string body = {};

  /// Without `sequence`, which is in the envelope.
  template <class Archive>
  void serialize(Archive& archive) {
    archive(id, call, kind, step, pre_hooks, post_hooks, batch, rows, prefetch, clear, body);
  }
};

/// Example: {"train_step", 1.25}
struct TimeRecord {
  std::string name = {};
  double seconds = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, seconds);
  }
  bool operator==(const TimeRecord&) const = default;
};

/// Bytes of a worker's GPU during an operation, named as its time is.
/// Example: {"main", 81920, 2097152, 0}
struct MemoryRecord {
  std::string name = {};
  int64_t peak_bytes = 0;      ///< of tensors, most at once
  int64_t reserved_bytes = 0;  ///< that the allocator held for them, most at once
  int64_t other_bytes = 0;     ///< in use beside what the allocator holds, at the end

  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, peak_bytes, reserved_bytes, other_bytes);
  }
  bool operator==(const MemoryRecord&) const = default;
};

/// What one worker has written of a checkpoint.
/// Example: {.step = 40, .file = "worker-0003.h5", .size = 81920, .hash = 0x...}
struct SavedShard {
  int64_t step = 0;  ///< of the kSave that asked for it
  std::string file = {};
  uint64_t size = 0;
  uint64_t hash = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(step, file, size, hash);
  }
  bool operator==(const SavedShard&) const = default;
};

/// In Reply::output.extra: the values of the key that the request's body names, of each sample as a
/// JSON list of numbers; null where one is not finite.
inline constexpr const char* kReportedValues = "reported_values";

/// Request of a reply that answers none: of a worker that cannot serve any. It has an error.
inline constexpr uint64_t kUnasked = 0;

/// Worker -> master: the request and all its hooks are done, or `error` says why not.
struct Reply {
  int worker = -1;
  uint64_t request = kUnasked;  ///< Request::id
  int call = -1;
  std::string error = {};                        ///< empty: all went well
  int32_t exit_code = 0;                         ///< that goes with the error
  ErrorKind error_kind = ErrorKind::kCallError;  ///< its class
  data::BatchMetadata output = {};  ///< what was asked for; its tensors stay on the worker
  std::vector<metrics::Statistics> statistics = {};      ///< one per minibatch
  metrics::Statistics evaluation = {};                   ///< names without `eval/`
  std::vector<metrics::EvaluatedRecord> evaluated = {};  ///< kEvaluate: of this data rank
  std::vector<TimeRecord> times = {};
  std::vector<MemoryRecord> memory = {};  ///< of a worker with a GPU
  std::string body = {};                  ///< whatever they agree on
  /// What the worker's writer has finished since its last reply, whatever this one answers.
  std::vector<SavedShard> saved = {};

  template <class Archive>
  void serialize(Archive& archive) {
    archive(worker, request, call, error, exit_code, error_kind, output, statistics, evaluation,
            evaluated, times, memory, body, saved);
  }
};

}  // namespace orrery::comm
