// Short ways to write calls and graphs in tests of this folder.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "orrery/graph/graph.h"

namespace orrery::graph {

/// `a, b, c` as bindings of equal names.
inline std::vector<config::KeyBinding> bindings(std::string_view text) {
  std::vector<config::KeyBinding> result;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    std::string key(text.substr(0, comma));
    key.erase(0, key.find_first_not_of(' '));
    if (!key.empty()) result.push_back({key, key});
    text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
  }
  return result;
}

struct CallText {
  std::string name = {};
  CallKind kind = CallKind::kInference;
  std::string role = {};
  std::string_view inputs = {};
  std::string_view outputs = {};
  std::string layout = "d1";
  int64_t n_seqs = 4;
};

inline Call make_call(const CallText& text) {
  Call call;
  call.name = text.name;
  call.kind = text.kind;
  call.role = text.role;
  call.inputs = bindings(text.inputs);
  call.outputs = bindings(text.outputs);
  call.layout = Layout::parse(text.layout);
  call.n_seqs = text.n_seqs;
  return call;
}

/// Generation, reward and training of one actor: the smallest graph with all kinds.
inline std::vector<Call> grpo_calls(const std::string& generate_layout = "d1",
                                    const std::string& train_layout = "d1") {
  return {
      make_call({.name = "actor_gen",
                 .kind = CallKind::kGenerate,
                 .role = "actor",
                 .inputs = "prompts",
                 .outputs = "ids, logp",
                 .layout = generate_layout}),
      make_call(
          {.name = "rewards", .role = "reward", .inputs = "ids, answers", .outputs = "rewards"}),
      make_call({.name = "ref_inf", .role = "ref", .inputs = "ids", .outputs = "ref_logp"}),
      make_call({.name = "actor_train",
                 .kind = CallKind::kTrainStep,
                 .role = "actor",
                 .inputs = "ids, logp, rewards, ref_logp",
                 .outputs = "",
                 .layout = train_layout}),
  };
}

}  // namespace orrery::graph
