// What makes a list of calls no graph. Every mistake is found in one pass over the calls, so that
// a user mends them all at once.
#include <algorithm>
#include <map>
#include <set>

#include "orrery/base/counted.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"  // concat
#include "orrery/graph/graph.h"

namespace orrery::graph {

namespace {

std::string key_of(const Call& call, std::string_view field) {
  return base::concat("call.", call.name, field.empty() ? "" : ".", field);
}

void check_names(const std::vector<Call>& calls, std::vector<GraphProblem>& problems) {
  std::set<std::string> seen;
  for (const Call& call : calls) {
    if (!seen.insert(call.name).second) {
      problems.push_back({key_of(call, ""), base::concat("two calls have the name ", call.name)});
    }
  }
}

void check_keys(const std::vector<Call>& calls, std::vector<GraphProblem>& problems) {
  std::map<std::string, const Call*> producers;
  for (const Call& call : calls) {
    std::set<std::string> read;
    for (const config::KeyBinding& input : call.inputs) {
      if (!read.insert(input.graph_key).second) {
        problems.push_back(
            {key_of(call, "inputs"), base::concat("key ", input.graph_key, " is listed twice")});
      }
    }
    if (call.inputs.empty()) {
      problems.push_back({key_of(call, "inputs"),
                          "the call reads no key, so nothing says which samples it takes"});
    }
    for (const config::KeyBinding& output : call.outputs) {
      const auto [place, is_new] = producers.emplace(output.graph_key, &call);
      if (!is_new) {
        problems.push_back(
            {key_of(call, "outputs"),
             place->second == &call
                 ? base::concat("key ", output.graph_key, " is listed twice")
                 : base::concat("key ", output.graph_key, " is produced twice, by ",
                                place->second->name, " and by ", call.name,
                                "; rename one of them with interface_key:graph_key")});
      }
    }
  }
}

/// Which calls depend on call i directly; by index.
std::vector<std::vector<int>> children_of(const std::vector<Call>& calls) {
  std::map<std::string, int> producers;
  for (size_t i = 0; i < calls.size(); ++i) {
    for (const config::KeyBinding& output : calls[i].outputs) {
      producers.emplace(output.graph_key, static_cast<int>(i));
    }
  }
  std::vector<std::vector<int>> children(calls.size());
  for (size_t i = 0; i < calls.size(); ++i) {
    for (const config::KeyBinding& input : calls[i].inputs) {
      const auto from = producers.find(input.graph_key);
      if (from == producers.end()) continue;
      std::vector<int>& list = children[static_cast<size_t>(from->second)];
      if (list.empty() || list.back() != static_cast<int>(i)) list.push_back(static_cast<int>(i));
    }
  }
  return children;
}

/// Depth-first search that reports each cycle it closes, with the calls on it.
class CycleSearch {
 public:
  CycleSearch(const std::vector<Call>& calls, std::vector<GraphProblem>& problems)
      : calls_(calls),
        children_(children_of(calls)),
        state_(calls.size(), kNew),
        problems_(problems) {}

  void run() {
    for (size_t i = 0; i < calls_.size(); ++i) {
      if (state_[i] == kNew) visit(static_cast<int>(i));
    }
  }

 private:
  enum State { kNew, kOnPath, kDone };

  void visit(int call) {
    state_[base::index(call)] = kOnPath;
    path_.push_back(call);
    for (int child : children_[base::index(call)]) {
      const State state = state_[base::index(child)];
      if (state == kOnPath) report(child);
      if (state == kNew) visit(child);
    }
    path_.pop_back();
    state_[base::index(call)] = kDone;
  }

  void report(int start) {
    std::string text;
    for (auto at = std::find(path_.begin(), path_.end(), start); at != path_.end(); ++at) {
      text += calls_[static_cast<size_t>(*at)].name + " -> ";
    }
    const Call& first = calls_[base::index(start)];
    problems_.push_back(
        {key_of(first, "inputs"),
         base::concat("the calls wait for each other in a cycle: ", text, first.name)});
  }

  const std::vector<Call>& calls_;
  const std::vector<std::vector<int>> children_;
  std::vector<State> state_;
  std::vector<int> path_;
  std::vector<GraphProblem>& problems_;
};

void check_train_steps(const std::vector<Call>& calls, std::vector<GraphProblem>& problems) {
  const std::vector<std::vector<int>> children = children_of(calls);
  std::map<std::string, const Call*> trained;
  for (size_t i = 0; i < calls.size(); ++i) {
    const Call& call = calls[i];
    if (call.kind != CallKind::kTrainStep) continue;
    if (!children[i].empty()) {
      problems.push_back({key_of(call, "outputs"),
                          base::concat("a train_step must be a sink, but ",
                                       calls[static_cast<size_t>(children[i].front())].name,
                                       " reads what it writes")});
    }
    const auto [place, is_new] = trained.emplace(call.role, &call);
    if (!is_new) {
      problems.push_back(
          {key_of(call, "kind"),
           base::concat("role ", call.role, " has two train_steps, ", place->second->name, " and ",
                        call.name, "; only one may change its parameters in a step")});
    }
  }
}

void check_sample_counts(const std::vector<Call>& calls, std::vector<GraphProblem>& problems) {
  const Call* largest = nullptr;
  for (const Call& call : calls) {
    if (largest == nullptr || call.n_seqs > largest->n_seqs) largest = &call;
  }
  for (const Call& call : calls) {
    if (call.n_seqs < 1) {
      problems.push_back(
          {key_of(call, "n_seqs"), base::concat("n_seqs must be at least 1, got ", call.n_seqs)});
      continue;
    }
    if (largest->n_seqs % call.n_seqs != 0) {
      problems.push_back(
          {key_of(call, "n_seqs"),
           base::concat("a step has ", base::counted(largest->n_seqs, "sample"), " (n_seqs of ",
                        largest->name, "), which is no multiple of ", call.n_seqs)});
    }
    if (call.n_seqs < call.layout.data) {
      problems.push_back(
          {key_of(call, "n_seqs"),
           base::concat(base::counted(call.n_seqs, "sample"), call.n_seqs == 1 ? " is" : " are",
                        " fewer than the ", call.layout.data, " data ranks of layout ",
                        call.layout.text(), ": some would have nothing to do")});
    }
  }
}

}  // namespace

std::vector<GraphProblem> check_calls(const std::vector<Call>& calls) {
  std::vector<GraphProblem> problems;
  check_names(calls, problems);
  check_keys(calls, problems);
  CycleSearch(calls, problems).run();
  check_train_steps(calls, problems);
  check_sample_counts(calls, problems);
  return problems;
}

}  // namespace orrery::graph
