#include "recompute_choice.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "orrery/base/text.h"
#include "orrery/graph/replica.h"
#include "orrery/model/parameter_table.h"  // blocks_of

namespace orrery::cli {

namespace {

/// A phase on a worker that does not fit.
struct Excess {
  int worker = 0;
  std::string phase;
  double bytes = 0;  ///< that it takes
};

/// What is too large, of all workers and phases.
std::vector<Excess> excesses_of(const Job& job, const GpuMemory& gpu) {
  const double lost = gpu.allowances.sum(job.n_workers) * kGb;
  std::vector<Excess> found;
  const std::vector<std::vector<PhaseMemory>> workers = plan_gpu_memory(job);
  for (size_t worker = 0; worker < workers.size(); ++worker) {
    for (const PhaseMemory& phase : workers[worker]) {
      const double bytes = static_cast<double>(phase.of_the_program()) + lost;
      if (bytes > gpu.memory_gb * kGb) found.push_back({int(worker), phase.phase, bytes});
    }
  }
  return found;
}

/// A trained role whose number is open.
struct OpenRole {
  std::string name;
  int64_t n_layers = 0;               // of the largest stage
  std::set<std::string> train_calls;  // phases of the plan
};

std::vector<OpenRole> open_roles(const Job& job) {
  std::map<std::string, OpenRole> open;
  for (const graph::Replica& replica : graph::replicas_of(job.graph)) {
    const auto known = job.architectures.find(replica.id.role);
    if (!replica.is_trained || known == job.architectures.end()) continue;
    if (job.experiment.find_model(replica.id.role)->recompute_layers != "auto") continue;
    OpenRole& role = open[replica.id.role];
    role.name = replica.id.role;
    const model::ShardPlace first{.n_pipe = replica.layout.pipe};  // no stage has more layers
    role.n_layers = std::max(role.n_layers, model::blocks_of(known->second.n_layers, first).count);
    for (const int index : replica.calls) {
      const graph::Call& call = job.graph.call(index);
      if (call.kind == graph::CallKind::kTrainStep) role.train_calls.insert(call.name);
    }
  }
  std::vector<OpenRole> roles;
  for (auto& [name, role] : open) roles.push_back(std::move(role));
  return roles;
}

void set_layers(Job& job, const std::string& role, const std::string& value) {
  for (auto& [name, model] : job.experiment.models) {
    if (name == role) model.recompute_layers = value;
  }
}

/// Finds the number of one role while all others keep theirs.
class Search {
 public:
  Search(Job& job, const GpuMemory& gpu, const OpenRole& role) : job_(job), gpu_(gpu), role_(role) {
    for (const Excess& excess : excesses_with(role.n_layers)) {
      too_large_anyway_.insert({excess.worker, excess.phase});
      if (role.train_calls.contains(excess.phase) && !never_fits_) never_fits_ = excess;
    }
  }

  RecomputeChoice choose() {
    RecomputeChoice choice{
        .role = role_.name, .n_recomputed = 0, .n_layers = role_.n_layers, .reason = {}};
    const std::string room =
        base::concat(" of the ", gb(gpu_.memory_gb * kGb),
                     " GB of a GPU, with the buffers of other calls that stay there");
    if (never_fits_) {
      choice.n_recomputed = role_.n_layers;
      choice.reason = base::concat("even so ", never_fits_->phase, " takes ",
                                   gb(never_fits_->bytes), " GB", room);
    } else if (const auto excess = worst_with(0); !excess) {
      choice.reason = "all activations fit";
    } else {
      Excess one_fewer = *excess;
      int64_t low = 0, high = role_.n_layers;  // low does not fit, high does
      while (high - low > 1) {
        const int64_t middle = (low + high) / 2;
        if (const auto found = worst_with(middle)) {
          low = middle;
          one_fewer = *found;
        } else {
          high = middle;
        }
      }
      choice.n_recomputed = high;
      choice.reason = base::concat("with ", low, " ", one_fewer.phase, " would take ",
                                   gb(one_fewer.bytes), " GB", room);
    }
    // Of all layers the word, which holds in every layout: config.cfg is the next run's.
    set_layers(job_, role_.name,
               choice.n_recomputed == role_.n_layers ? std::string("all")
                                                     : std::to_string(choice.n_recomputed));
    return choice;
  }

 private:
  std::vector<Excess> excesses_with(int64_t n_recomputed) {
    set_layers(job_, role_.name, std::to_string(n_recomputed));
    return excesses_of(job_, gpu_);
  }

  /// The largest phase that outgrows the GPU for want of recomputation.
  std::optional<Excess> worst_with(int64_t n_recomputed) {
    std::optional<Excess> worst;
    for (const Excess& excess : excesses_with(n_recomputed)) {
      if (too_large_anyway_.contains({excess.worker, excess.phase})) continue;
      if (!worst || excess.bytes > worst->bytes) worst = excess;
    }
    return worst;
  }

  Job& job_;
  const GpuMemory& gpu_;
  const OpenRole& role_;
  std::set<std::pair<int, std::string>> too_large_anyway_;  // with all layers recomputed
  std::optional<Excess> never_fits_;                        // of these a train_step of the role
};

}  // namespace

std::string RecomputeChoice::text() const {
  return base::concat("model.", role, ".recompute_layers = ", n_recomputed, " of ", n_layers,
                      " (auto): ", reason);
}

std::vector<RecomputeChoice> choose_recompute_layers(Job& job, const GpuMemory& gpu) {
  if (job.only_evaluates) return {};
  const std::vector<OpenRole> roles = open_roles(job);
  for (const OpenRole& role : roles) set_layers(job, role.name, "all");
  std::vector<RecomputeChoice> choices;
  for (const OpenRole& role : roles) choices.push_back(Search(job, gpu, role).choose());
  return choices;
}

}  // namespace orrery::cli
