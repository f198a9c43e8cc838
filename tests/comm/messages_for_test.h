// Messages with something in every field.
#pragma once

#include <memory>
#include <string>

#include "orrery/comm/message.h"

namespace orrery::comm {

inline data::BatchMetadata batch_for_test() {
  data::BatchMetadata batch;
  batch.ids = {{7}, {9}};
  batch.keys.push_back({.key = "packed_prompts",
                        .dtype = data::DType::kI64,
                        .trailing_shape = {},
                        .lengths = {{5}, {3}}});
  batch.keys.push_back({.key = "rewards",
                        .dtype = data::DType::kF32,
                        .trailing_shape = {2},
                        .lengths = {{1, 1}, {1, 1}}});
  batch.extra["source"] = {"\"a\"", "null"};
  return batch;
}

inline Request request_for_test() {
  Request request;
  request.id = 41;
  request.call = 2;
  request.kind = RequestKind::kTrainStep;
  request.step = {.step = 12, .epoch = 1, .epoch_step = 3};
  request.pre_hooks = {
      DataTransferHook{{{.source = 0, .destinations = {1, 2}, .batch = batch_for_test()}}}};
  request.post_hooks = {
      ReallocHook{.role = "actor", .from = 1, .from_role = "ref", .eta = 0.5, .version = 12},
      ResidencyHook{.role = "ref", .replica = 1, .action = ResidencyHook::kRelease}};
  request.batch = batch_for_test();
  request.rows = {{.dataset = 1, .row = 5, .epoch = 0, .id = {7}}};
  request.prefetch = {{.dataset = 0, .row = 6, .epoch = 2, .id = {8}}};
  request.clear = {{1}, {2}, {3}};
  request.body = "private";
  return request;
}

inline Reply reply_for_test(int worker) {
  Reply reply;
  reply.worker = worker;
  reply.request = 41;
  reply.call = 2;
  reply.error = "";
  reply.output = batch_for_test();
  reply.statistics.resize(2);
  reply.statistics[1].mean("loss", 3.0, 2.0);
  reply.evaluation.scalar("accuracy", 0.5);
  reply.times = {{"train_step", 1.25}};
  reply.memory = {{"train_step", 3000, 4096, 512}};
  reply.body = "more";
  return reply;
}

}  // namespace orrery::comm
