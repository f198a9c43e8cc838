#include "orrery/graph/plan_text.h"

#include <algorithm>

#include "orrery/base/counted.h"
#include "orrery/base/index.h"
#include "orrery/base/overload.h"
#include "orrery/base/table.h"
#include "orrery/base/text.h"  // concat, join
#include "orrery/graph/topology.h"

namespace orrery::graph {

namespace {

/// `text` filled with spaces to `width` columns.
std::string padded(std::string text, size_t width) {
  if (text.size() < width) text.append(width - text.size(), ' ');
  return text;
}

/// The lines of one call's box without its frame.
std::vector<std::string> box_lines(const Graph& graph, int index) {
  const Call& call = graph.call(index);
  const int64_t runs = graph.calls_per_step(index);
  return {call.name, base::concat(name_of(call.kind), " of ", call.role, ".", call.replica),
          call.interface.empty() ? std::string("-") : call.interface, call.layout.text(),
          base::concat(base::counted(runs, "run"), " of ", base::counted(call.n_seqs, "sample"))};
}

/// The calls of a level as boxes side by side.
std::string boxes(const Graph& graph, const std::vector<int>& calls) {
  constexpr size_t kColumns = 100;  // further boxes go below
  std::string text;
  for (size_t first = 0; first < calls.size();) {
    std::vector<std::string> lines(7);
    size_t next = first;
    for (; next < calls.size(); ++next) {
      const std::vector<std::string> content = box_lines(graph, calls[next]);
      size_t width = 0;
      for (const std::string& line : content) width = std::max(width, line.size());
      if (next > first && lines[0].size() + width + 6 > kColumns) break;
      const std::string frame = base::concat("+", std::string(width + 2, '-'), "+");
      for (std::string& line : lines) line += "  ";
      lines.front() += frame;
      lines.back() += frame;
      for (size_t i = 0; i < content.size(); ++i) {
        lines[i + 1] += base::concat("| ", padded(content[i], width), " |");
      }
    }
    text += base::join(lines, "\n") + "\n";
    first = next;
  }
  return text;
}

std::string hook_text(const ResolvedHook& hook) {
  return std::visit(
      base::Overload{
          [](const ParamRealloc& realloc) {
            std::string text =
                base::concat("realloc ", realloc.from.text(), " -> ", realloc.to.text());
            if (realloc.eta != 1) text += base::concat(" (eta ", realloc.eta, ")");
            return text;
          },
          [](const Offload& offload) { return base::concat("offload ", offload.replica.text()); },
          [](const Release& release) { return base::concat("release ", release.replica.text()); },
          [](const OffloadOptimizer& offload) {
            return base::concat("offload optimizer of ", offload.replica.text());
          },
      },
      hook);
}

std::string hook_list(const std::vector<ResolvedHook>& hooks) {
  std::vector<std::string> parts;
  for (const ResolvedHook& hook : hooks) parts.push_back(hook_text(hook));
  return parts.empty() ? "-" : base::join(parts, ", ");
}

std::string origin_text(Origin origin) {
  switch (origin) {
    case Origin::kNone:
      return "no parameters";
    case Origin::kLoad:
      return "loaded at start";
    case Origin::kRealloc:
      return "from replica 0";
  }
  return "?";
}

}  // namespace

std::string graph_text(const Graph& graph) {
  std::string text = base::concat("step: ", base::counted(graph.samples_per_step(), "sample"), ", ",
                                  base::counted(graph.size(), "call"), ", at most ",
                                  graph.max_concurrent_calls(), " at once\n");
  text += base::concat("from the dataset: ", base::join(graph.dataset_keys(), ", "), "\n");
  for (size_t level = 0; level < graph.levels().size(); ++level) {
    const std::vector<int>& calls = graph.levels()[level];
    text += base::concat("\nlevel ", level, "\n");
    for (const Edge& edge : graph.edges()) {
      if (std::find(calls.begin(), calls.end(), edge.consumer) == calls.end()) continue;
      text +=
          base::concat("  ", graph.call(edge.producer).name, " --[", base::join(edge.keys, ", "),
                       "]--> ", graph.call(edge.consumer).name, "\n");
    }
    text += boxes(graph, calls);
  }
  return text;
}

std::string replicas_text(const Graph& graph, const std::vector<Replica>& replicas) {
  std::vector<base::TableRow> rows;
  for (const Replica& replica : replicas) {
    std::vector<std::string> names;
    for (int call : replica.calls) names.push_back(graph.call(call).name);
    rows.push_back({replica.id.text(), replica.layout.text(),
                    origin_text(replica.origin) + (replica.is_trained ? ", trained" : ""),
                    base::join(names, ", ")});
  }
  return base::table_text({"replica", "layout", "parameters", "calls"}, rows);
}

std::string hooks_text(const Graph& graph, const ResidencyPolicy& policy) {
  std::vector<base::TableRow> rows;
  for (int i = 0; i < graph.size(); ++i) {
    const CallHooks hooks = hooks_of(graph, i, policy);
    if (hooks.pre.empty() && hooks.post.empty()) continue;
    rows.push_back({graph.call(i).name, hook_list(hooks.pre), hook_list(hooks.post)});
  }
  if (rows.empty()) return "no parameters move between replicas\n";
  return base::table_text({"call", "before", "after"}, rows);
}

std::string workers_table(const std::vector<Replica>& replicas, int n_workers) {
  std::vector<base::TableRow> rows;
  base::TableRow head = {"worker"};
  for (const Replica& replica : replicas) head.push_back(replica.id.text());
  for (int worker = 0; worker < n_workers; ++worker) {
    base::TableRow& row = rows.emplace_back(1, std::to_string(worker));
    for (const Replica& replica : replicas) {
      const std::vector<int>& holders = replica.layout.workers;
      const auto found = std::find(holders.begin(), holders.end(), worker);
      if (found == holders.end()) {
        row.push_back("-");
        continue;
      }
      const Coordinate at =
          topology_of(replica.layout).coordinate(static_cast<int>(found - holders.begin()));
      row.push_back(base::concat("p", at.pipe, " d", at.data, " t", at.tensor));
    }
  }
  return base::table_text(head, rows);
}

std::string communicators_text(const CommunicatorPlan& plan) {
  std::vector<base::TableRow> rows;
  for (const Group& group : plan.groups) {
    rows.push_back({plan.splits.at(base::index(group.split)).family, workers_text(group.workers),
                    base::join(group.names, ", ")});
  }
  return base::table_text({"split", "workers", "groups"}, rows);
}

}  // namespace orrery::graph
