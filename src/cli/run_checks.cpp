#include "run_checks.h"

#include <set>

#include "frequency.h"
#include "orrery/base/counted.h"
#include "orrery/base/text.h"
#include "orrery/worker/hosted_models.h"  // optimizer_steps

namespace orrery::cli {

namespace {

using base::concat;

void check_rates(const Job& job, const std::string& role, Checks& checks) {
  const config::ModelConfig* model = job.experiment.find_model(role);
  if (model == nullptr) return;
  if (model->min_lr_ratio != 0 && model->lr_schedule == "constant") {
    checks.warn(concat("model.", role, ".min_lr_ratio"),
                "has no effect with lr_schedule = constant: the learning rate does not fall");
  }
  const int64_t steps = job.n_steps > 0 ? job.n_steps : job.experiment.experiment.total_steps;
  const int64_t updates = worker::optimizer_steps(job.experiment, job.graph, role, steps);
  if (updates == 0 || model->warmup_steps <= updates) return;
  checks.warn(concat("model.", role, ".warmup_steps"),
              concat(model->warmup_steps, ", but the run has ", base::counted(updates, "update"),
                     ": lr gets to at most ",
                     static_cast<double>(updates) / static_cast<double>(model->warmup_steps),
                     " of its peak; write fewer, or more total_steps"));
}

void check_keeping(const Job& job, Checks& checks) {
  const config::ExportConfig& models = job.experiment.export_;
  const bool is_kept = models.at_end || frequency_of(models).is_ever() ||
                       frequency_of(job.experiment.checkpoint).is_ever() ||
                       !job.experiment.evaluate.keep_best.empty();
  if (is_kept) return;
  checks.warn("export.at_end",
              "false, and nothing else keeps the trained model, which is thrown away at the end; "
              "write export.at_end = true, or let checkpoints be written");
}

}  // namespace

void check_run(const Job& job, Checks& checks) {
  std::set<std::string> trained;
  for (const graph::Call& call : job.graph.calls()) {
    if (call.kind == graph::CallKind::kTrainStep) trained.insert(call.role);
  }
  for (const std::string& role : trained) check_rates(job, role, checks);
  if (!trained.empty()) check_keeping(job, checks);
}

}  // namespace orrery::cli
