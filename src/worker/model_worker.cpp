#include "orrery/worker/model_worker.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <map>
#include <utility>
#include <variant>

#include "evaluation_sets.h"
#include "orrery/algorithm/call_statistics.h"
#include "orrery/algorithm/registry.h"
#include "orrery/base/clock.h"
#include "orrery/base/error.h"
#include "orrery/base/fault.h"
#include "orrery/base/index.h"
#include "orrery/base/json.h"  // reported values
#include "orrery/base/overload.h"
#include "orrery/base/text.h"
#include "orrery/metrics/resident_memory.h"
#include "orrery/model/hf_directory.h"
#include "orrery/parallel/whole_model.h"
#include "orrery/worker/data_transfer.h"
#include "orrery/worker/device_memory.h"
#include "orrery/worker/held_memory.h"
#include "shard_checkpoint.h"

namespace orrery::worker {

/// A call that runs on a shard of this worker.
struct ModelWorker::HostedCall {
  const graph::Call* call = nullptr;
  HostedModel* model = nullptr;
  std::unique_ptr<algorithm::Interface> interface;
  std::map<std::string, std::string> graph_to_interface;  // names of inputs
  std::map<std::string, std::string> interface_to_graph;  // names of outputs
  std::vector<std::string> outputs;                       // interface's names of those wanted
};

/// A call that judges answers of another one while it generates them.
struct ModelWorker::Watching {
  const graph::Call* call = nullptr;
  std::unique_ptr<algorithm::AnswerWatcher> watcher;
};

namespace {

/// One thing that a request asks for, under the names that users see.
struct Operation {
  std::string where;           // in front of errors
  std::string time;            // of its time in the reply: `main`, `pre/param_realloc`
  std::string span;            // in the trace: `actor_train`, `param_realloc`
  std::string_view category;   // in the trace
  metrics::TraceArguments of;  // call and step
  c10::Device device;          // whose memory and time are measured
  const GpuName& gpu;          // of the worker, which hooks and saves use too
  const std::string& host;
};

/// Until the device has done what was enqueued: time and errors of a hook are those of its work.
void wait_for(c10::Device device) {
  if (device.is_cpu()) return;
  c10::impl::VirtualGuardImpl(device.type()).getStream(device).synchronize();
}

/// Runs `work`, whose memory is for what `memory` tells, and adds its time, the memory of its
/// device and spans of both; whatever it throws gets `where` in front and keeps its class and exit
/// code.
template <class Purpose, class Work>
void timed(const Operation& operation, metrics::TraceWriter* trace, GpuSpans& gpu,
           comm::Reply& reply, const Purpose& memory, const Work& work) {
  const std::string& where = operation.where;
  const base::Stopwatch watch;
  const DeviceMemory device_memory(operation.device);
  try {
    const metrics::TraceSpan span(trace, operation.category, operation.span, operation.of);
    naming_lost_gpu(operation.gpu, operation.host, [&] {
      if (!operation.device.is_cpu()) gpu.begin(operation.span, operation.of);
      with_purpose(memory, work);
      if (!operation.device.is_cpu()) gpu.end();
    });
  } catch (const std::exception& error) {
    rethrow_from(where, error);
  }
  reply.times.push_back({operation.time, watch.seconds()});
  device_memory.add_to(reply.memory, operation.time);
  if (trace != nullptr && operation.category == "call") {
    trace->counter("resident_bytes", static_cast<double>(metrics::resident_bytes()));
  }
}

/// The numbers of each sample as a JSON list; null where one is not finite.
///   values  [sum of lengths]
std::vector<std::string> values_of(const at::Tensor& values, const data::NestedLengths& lengths) {
  const at::Tensor wide = values.to(at::kCPU, at::kDouble).contiguous();
  const double* next = wide.const_data_ptr<double>();
  std::vector<std::string> texts;
  for (size_t i = 0; i < lengths.size(); ++i) {
    nlohmann::json list = nlohmann::json::array();
    for (int64_t k = 0; k < lengths.total(i); ++k) list.push_back(*next++);
    texts.push_back(list.dump());
  }
  return texts;
}

std::vector<std::unique_ptr<data::Dataset>> open_datasets(const config::Experiment& experiment,
                                                          std::vector<data::DatasetIndex> indices,
                                                          const data::Tokenizer& tokenizer) {
  std::vector<std::unique_ptr<data::Dataset>> datasets;
  for (size_t i = 0; i < indices.size(); ++i) {
    datasets.push_back(
        data::Dataset::open(experiment.datasets[i].second, std::move(indices[i]), tokenizer));
  }
  return datasets;
}

}  // namespace

ModelWorker::ModelWorker(WorkerJob job, comm::CommunicatorRegistry& registry,
                         metrics::TraceWriter* trace)
    : job_(std::move(job)),
      registry_(registry),
      trace_(trace),
      gpu_name_(GpuName::of(job_.device)),
      gpu_spans_(job_.device, trace),
      models_(job_.experiment, job_.graph, job_.worker, job_.n_steps, registry, job_.device,
              job_.residency),
      moves_(graph::replicas_of(job_.graph), job_.node_of_worker, models_, registry.workers()),
      tokenizer_(data::make_tokenizer(job_.tokenizer)),
      datasets_(open_datasets(job_.experiment, std::move(job_.indices), *tokenizer_)),
      evaluation_sets_(std::make_unique<EvaluationSets>(job_.experiment, datasets_)) {
  for (auto& [id, hosted] : models_.all()) hosted.data_tokenizer = tokenizer_.get();
  for (const graph::Call& call : job_.graph.calls()) {
    const std::vector<int>& workers = call.layout.workers;
    if (std::find(workers.begin(), workers.end(), job_.worker) == workers.end()) {
      calls_.push_back(nullptr);
      continue;
    }
    auto hosted = std::make_unique<HostedCall>();
    hosted->call = &call;
    hosted->model = &models_.at({call.role, call.replica});
    hosted->interface =
        algorithm::make_interface(call.interface, job_.experiment.find_call(call.name)->options);
    for (const config::KeyBinding& input : call.inputs) {
      hosted->graph_to_interface[input.graph_key] = input.interface_key;
    }
    for (const config::KeyBinding& output : call.outputs) {
      hosted->interface_to_graph[output.interface_key] = output.graph_key;
      hosted->outputs.push_back(output.interface_key);
    }
    calls_.push_back(std::move(hosted));
  }
  checkpoint_ = std::make_unique<ShardCheckpoint>(models_, job_.graph, job_.worker,
                                                  job_.experiment.checkpoint.compress
                                                      ? checkpoint::Compression::kDeflate
                                                      : checkpoint::Compression::kNone);
  if (!job_.resume.empty()) restore(job_.resume);
}

ModelWorker::~ModelWorker() = default;

std::string ModelWorker::where(const comm::Request& request, std::string_view operation) const {
  std::string text = base::concat("worker ", job_.worker, " on ", job_.host);
  if (request.step.step > 0) text += base::concat(", step ", request.step.step);
  if (request.call >= 0) {
    const graph::Call& call = job_.graph.call(request.call);
    text += base::concat(", role ", call.role, ", call ", call.name);
  }
  return base::concat(text, ", ", operation);
}

AllocationPurpose ModelWorker::memory_for(const comm::Request& request,
                                          const std::string& operation, c10::Device measured) {
  const std::string held =
      job_.device.is_cpu() ? std::string() : held_text(models_, peak_bytes(measured));
  if (request.call < 0) return {.what = operation, .advice = {}, .held = held};
  const graph::Call& call = job_.graph.call(request.call);
  const std::string key = base::concat("call.", call.name, ".");
  std::string advice;
  if (request.kind == comm::RequestKind::kEvaluate) {
    advice = "lower evaluate.max_batch, max_prompts or max_new_tokens";
  } else if (request.kind == comm::RequestKind::kGenerate) {
    advice = base::concat("set or lower ", key, "max_cache_tokens, lower ", key, "max_batch or ",
                          key, "max_new_tokens");
  } else {
    advice =
        base::concat("set ", key, "max_tokens_per_micro_batch, or raise ", key, "n_micro_batches");
    if (request.kind == comm::RequestKind::kTrainStep) {
      advice += base::concat(", or set model.", call.role, ".recompute_layers = all");
    }
  }
  return {.what = base::concat(operation, " of role ", call.role, " in call ", call.name),
          .advice = advice + offload_advice(request),
          .held = held};
}

/// Of roles here of which something is on the GPU that this call does not need.
std::string ModelWorker::offload_advice(const comm::Request& request) {
  if (job_.device.is_cpu()) return {};
  const graph::Call& call = job_.graph.call(request.call);
  std::string advice;
  for (const auto& [id, hosted] : models_.all()) {
    const bool needs_it = id.role == call.role &&
                          (!hosted.replica.is_trained || call.kind == graph::CallKind::kTrainStep);
    if (id.index > 0 || needs_it || !job_.kept_though_idle.contains(id.role)) continue;
    advice += base::concat(", or set model.", id.role, ".offload = when_idle");
  }
  return advice;
}

metrics::TraceArguments ModelWorker::trace_arguments(const comm::Request& request) const {
  metrics::TraceArguments arguments = {{"step", std::to_string(request.step.step)}};
  if (request.call >= 0) arguments.emplace_back("call", job_.graph.call(request.call).name);
  return arguments;
}

ModelWorker::HostedCall& ModelWorker::hosted_call(int call) {
  ORRERY_ASSERT(call >= 0 && static_cast<size_t>(call) < calls_.size(), "call out of range");
  HostedCall* const hosted = calls_[base::index(call)].get();
  ORRERY_ASSERT(hosted != nullptr, "the call has no shard on this worker");
  return *hosted;
}

algorithm::CallContext ModelWorker::call_context(const comm::Request& request,
                                                 const HostedCall& hosted) const {
  const graph::Call& call = *hosted.call;
  algorithm::CallContext context;
  context.call = call.name;
  context.step = request.step.step;
  context.epoch = request.step.epoch;
  context.seed = static_cast<uint64_t>(job_.experiment.experiment.seed);
  context.limits = {.max_tokens = call.max_tokens_per_micro_batch,
                    .min_parts = call.n_micro_batches};
  context.data_rank = hosted.model->at.data;
  context.data_size = call.layout.data;
  context.calls_per_step = job_.graph.calls_per_step(request.call);
  context.outputs = hosted.outputs;
  context.samples = job_.run_directory / "samples";
  context.failed_answers = job_.run_directory / "failed_answers";
  return context;
}

void ModelWorker::run_hook(const comm::Request& request, const comm::Hook& hook,
                           comm::Reply& reply) {
  const std::string name(comm::name_of(hook));
  const bool is_transfer = std::holds_alternative<comm::DataTransferHook>(hook);
  const bool moves_parameters = std::holds_alternative<comm::ReallocHook>(hook);
  const bool is_pre = std::any_of(request.pre_hooks.begin(), request.pre_hooks.end(),
                                  [&hook](const comm::Hook& other) { return &other == &hook; });
  const std::string phase = is_pre ? "pre/" : "post/";
  const Operation operation{.where = where(request, name),
                            .time = phase + name,
                            .span = name,
                            .category = is_transfer ? "transfer" : "hook",
                            .of = trace_arguments(request),
                            .device = moves_parameters ? job_.device : c10::kCPU,
                            .gpu = gpu_name_,
                            .host = job_.host};
  const auto memory = [&] { return memory_for(request, name, operation.device); };
  const auto run = [&] {
    std::visit(base::Overload{
                   [&](const comm::DataTransferHook& transfer) {
                     run_transfers(transfer.transfers, registry_.workers(), store_);
                   },
                   [&](const comm::ReallocHook& realloc) {
                     moves_.run(realloc);
                     wait_for(job_.device);
                   },
                   [&](const comm::ResidencyHook& residency) { moves_.run(residency); },
                   [&](const comm::KeepSamplesHook& keep) { keep_samples(keep); },
               },
               hook);
  };
  timed(operation, trace_, gpu_spans_, reply, memory, [&] { registry_.run_checked(run); });
}

void ModelWorker::run_request(const comm::Request& request, comm::Reply& reply) {
  const std::string handle(comm::name_of(request.kind));
  const bool is_call = request.kind == comm::RequestKind::kGenerate ||
                       request.kind == comm::RequestKind::kInference ||
                       request.kind == comm::RequestKind::kTrainStep;
  const Operation operation{.where = where(request, handle),
                            .time = "main",
                            .span = is_call ? job_.graph.call(request.call).name : handle,
                            .category = "call",
                            .of = trace_arguments(request),
                            .device = is_call ? job_.device : c10::kCPU,
                            .gpu = gpu_name_,
                            .host = job_.host};
  const auto memory = [&] { return memory_for(request, handle, operation.device); };
  const auto run = [&] {
    base::fault_point("worker.handle");
    if (request.kind == comm::RequestKind::kTrainStep) base::fault_point("worker.train_step");
    switch (request.kind) {
      case comm::RequestKind::kLoad:
        return load(request, reply);
      case comm::RequestKind::kGenerate:
      case comm::RequestKind::kInference:
      case comm::RequestKind::kTrainStep:
        return run_call(request, reply);
      case comm::RequestKind::kEvaluate:
        return evaluate(request, reply);
      case comm::RequestKind::kSave:
        return save(request);
      case comm::RequestKind::kExport:
        return export_model(request);
      case comm::RequestKind::kSaveEnd:
        reply.saved = checkpoint_->wait();
        return;
      case comm::RequestKind::kEmpty:
      case comm::RequestKind::kFlush:
      case comm::RequestKind::kExit:
        break;
    }
    throw CallError(base::concat("a request ", handle, " is the loop's, not a worker's"));
  };
  timed(operation, trace_, gpu_spans_, reply, memory, [&] { registry_.run_checked(run); });
  // What was written in the background meanwhile, or why it could not be.
  try {
    for (comm::SavedShard& shard : checkpoint_->finished()) reply.saved.push_back(std::move(shard));
  } catch (const std::exception& error) {
    rethrow_from(where(request, "save"), error);
  }
}

void ModelWorker::save(const comm::Request& request) {
  std::map<std::string, std::string> interfaces;
  for (const auto& call : calls_) {
    if (call != nullptr) interfaces[call->call->name] = call->interface->state();
  }
  checkpoint_->start(request.body, request.step.step, std::move(interfaces),
                     std::exchange(kept_, {}));
}

void ModelWorker::keep_samples(const comm::KeepSamplesHook& hook) {
  kept_.clear();
  for (const data::BatchMetadata& wanted : hook.batches) kept_.push_back(store_.gather(wanted));
}

void ModelWorker::load_kept(const comm::Request& request, comm::Reply& reply) {
  checkpoint::CheckpointReader reader(job_.resume);
  store_.put(read_samples(reader, request.batch));
  reply.output = request.batch;
}

void ModelWorker::restore(const std::filesystem::path& directory) {
  checkpoint::CheckpointReader reader(directory);
  checkpoint_->restore(reader);
  for (const auto& call : calls_) {
    if (call == nullptr) continue;
    if (const auto state = reader.blob("call/" + call->call->name)) {
      call->interface->restore(*state);
    }
  }
}

void ModelWorker::load(const comm::Request& request, comm::Reply& reply) {
  if (!request.batch.ids.empty()) return load_kept(request, reply);
  const auto by_dataset = [&](const std::vector<data::RowRef>& rows, size_t dataset) {
    std::pair<std::vector<int64_t>, std::vector<data::SampleId>> chosen;
    for (const data::RowRef& row : rows) {
      if (job_.training.at(base::index(row.dataset)) != static_cast<int>(dataset)) continue;
      chosen.first.push_back(row.row);
      chosen.second.push_back(row.id);
    }
    return chosen;
  };
  std::vector<data::SequenceBatch> parts;
  for (size_t i = 0; i < datasets_.size(); ++i) {
    const auto [rows, ids] = by_dataset(request.rows, i);
    if (!rows.empty()) {
      parts.push_back(datasets_[i]->read(rows, ids));
      parts.back().meta.extra[algorithm::kDatasetOfSample].assign(
          rows.size(), base::concat('"', job_.experiment.datasets[i].first, '"'));
    }
    const auto ahead = by_dataset(request.prefetch, i).first;
    if (!ahead.empty()) datasets_[i]->announce(ahead);
  }
  data::SequenceBatch batch = parts.size() == 1 ? std::move(parts.front()) : data::gather(parts);
  if (parts.size() > 1) {  // back in the order asked for
    std::map<data::SampleId, int> place;
    for (size_t i = 0; i < batch.size(); ++i) place[batch.meta.ids[i]] = static_cast<int>(i);
    std::vector<int> order;
    for (const data::RowRef& row : request.rows) order.push_back(place.at(row.id));
    batch = batch.reorder(order);
  }
  batch = batch.select(job_.graph.dataset_keys());  // what no call reads is not kept
  store_.put(batch);
  reply.output = std::move(batch.meta);
}

void ModelWorker::run_call(const comm::Request& request, comm::Reply& reply) {
  HostedCall& hosted = hosted_call(request.call);
  const data::SequenceBatch input = store_.gather(request.batch).remap(hosted.graph_to_interface);
  const algorithm::CallContext call = call_context(request, hosted);
  algorithm::ModelContext model = hosted.model->context();
  model.teacher = teacher_of(*hosted.call);
  if (request.kind == comm::RequestKind::kTrainStep) {
    reply.statistics = hosted.interface->train_step(model, input, call);
    return;
  }
  data::SequenceBatch output = request.kind == comm::RequestKind::kGenerate
                                   ? generate(request, hosted, input)
                                   : hosted.interface->inference(model, input, call);
  metrics::Statistics statistics = hosted.interface->take_statistics();
  statistics.merge(algorithm::call_statistics(input, output));
  output = output.select(hosted.outputs).remap(hosted.interface_to_graph);
  if (hosted.call->log_return_value) {
    const auto named = hosted.interface_to_graph.find("rewards");
    const std::string rewards = named == hosted.interface_to_graph.end() ? "" : named->second;
    for (const auto& [key, tensor] : output.data) {
      at::Tensor values = tensor.to(at::kDouble);
      if (key == rewards) values = values.masked_select(values.isnan().logical_not());  // left out
      statistics.mean("value/" + key, values.sum().item<double>(),
                      static_cast<double>(values.numel()));
    }
  }
  if (!statistics.empty()) reply.statistics.push_back(std::move(statistics));
  store_.put(output);
  reply.output = std::move(output.meta);
  if (!request.body.empty()) {
    reply.output.extra[comm::kReportedValues] =
        values_of(output.at(request.body), reply.output.at(request.body).lengths);
  }
}

std::vector<ModelWorker::Watching> ModelWorker::watchers_of(const comm::Request& request,
                                                            const HostedCall& generating) {
  std::vector<Watching> watching;
  if (!generating.model->is_dp_head) return watching;
  for (const auto& hosted : calls_) {
    if (hosted == nullptr || hosted->call->kind != graph::CallKind::kInference ||
        !hosted->model->is_dp_head) {
      continue;
    }
    bool reads_answers = false, reads_others = false;
    std::vector<std::string> of_datasets;
    for (const config::KeyBinding& input : hosted->call->inputs) {
      const int producer = job_.graph.producer(input.graph_key);
      if (producer < 0) of_datasets.push_back(input.graph_key);
      reads_answers = reads_answers || producer == request.call;
      reads_others = reads_others || (producer >= 0 && producer != request.call);
    }
    if (!reads_answers || reads_others) continue;
    // What is not here will be where the call runs.
    auto samples = store_.find(request.batch.ids, of_datasets);
    if (!samples) continue;
    samples->meta.extra = request.batch.extra;
    algorithm::ModelContext model = hosted->model->context();
    auto watcher = hosted->interface->watch(model, samples->remap(hosted->graph_to_interface),
                                            call_context(request, *hosted));
    if (watcher != nullptr) watching.push_back({hosted->call, std::move(watcher)});
  }
  return watching;
}

data::SequenceBatch ModelWorker::generate(const comm::Request& request, HostedCall& hosted,
                                          const data::SequenceBatch& input) {
  const std::vector<Watching> watching = watchers_of(request, hosted);
  algorithm::CallContext call = call_context(request, hosted);
  for (const Watching& other : watching) call.watchers.push_back(other.watcher.get());
  algorithm::ModelContext model = hosted.model->context();
  data::SequenceBatch output = hosted.interface->generate(model, input, call);
  for (const Watching& other : watching) {
    const std::string& judging = other.call->name;
    algorithm::AnswerWatcher::Findings findings;
    {
      const metrics::TraceSpan span(trace_, "judge", judging + ": last answers",
                                    trace_arguments(request));
      findings = other.watcher->finish();
    }
    if (findings.n_answers > 0 && trace_ != nullptr) {
      trace_->write({.name = judging + ": while generating",
                     .category = "judge",
                     .start_us = findings.began_us,
                     .duration_us = findings.ended_us - findings.began_us,
                     .arguments = {{"answers", std::to_string(findings.n_answers)}},
                     .track = judging});
    }
    output.meta.extra[algorithm::findings_for(judging)] = std::move(findings.of_samples);
  }
  return output;
}

/// The shard, in the same place, of the role whose hidden states the call reads; null: none.
const model::Decoder* ModelWorker::teacher_of(const graph::Call& call) {
  for (const config::KeyBinding& input : call.inputs) {
    const int writer =
        input.interface_key == "teacher_hidden" ? job_.graph.producer(input.graph_key) : -1;
    if (writer < 0) continue;
    const graph::Call& teacher = job_.graph.call(writer);
    if (teacher.layout != call.layout) return nullptr;
    return models_.at({teacher.role, teacher.replica}).decoder.get();
  }
  return nullptr;
}

void ModelWorker::evaluate(const comm::Request& request, comm::Reply& reply) {
  HostedCall& hosted = hosted_call(request.call);
  const algorithm::CallContext call = call_context(request, hosted);
  algorithm::ModelContext model = hosted.model->context();
  const algorithm::EvaluationInput input =
      evaluation_sets_->input({.set = request.body,
                               .call = call.call,
                               .step = call.step,
                               .data_rank = call.data_rank,
                               .data_size = call.data_size},
                              job_.run_directory / "evaluations");
  // More data ranks than rows; who gives rewards may have to agree with the others all the same.
  if (input.batch.size() == 0 && input.rewards.empty()) return;
  algorithm::Evaluation evaluation = hosted.interface->evaluate(model, input, call);
  reply.evaluation = std::move(evaluation.statistics);
  reply.evaluated = std::move(evaluation.records);
}

void ModelWorker::export_model(const comm::Request& request) {
  const HostedModel& model = *hosted_call(request.call).model;
  if (model.at.data > 0) return;  // data ranks hold the same parameters
  const config::ModelConfig* const config = job_.experiment.find_model(model.replica.id.role);
  model::HfExport options;
  if (config != nullptr) options.companions_from = config->path;  // its tokenizer goes along
  const std::vector<int32_t> ends = model.tokenizer->eos_ids();
  options.end_tokens.assign(ends.begin(), ends.end());
  // What is published is whole: what other ranks sent is here.
  const auto check_arrived = [&] {
    wait_for(job_.device);
    registry_.throw_if_failed();
  };
  if (model.decoder->shard().place.is_whole()) {
    check_arrived();
    return model::save_hf(request.body, *model.decoder, options);
  }
  const auto whole = parallel::gather_model(*model.decoder, model.groups);
  check_arrived();
  if (whole != nullptr) model::save_hf(request.body, *whole, options);
}

}  // namespace orrery::worker
