#include "data_checks.h"

#include <chrono>

#include "orrery/base/clock.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/data/prompt_template.h"

namespace orrery::cli {

void check_evaluation(const Job& job, Checks& checks) {
  if (!checks.problems().empty()) return;  // it may only follow from another fault
  const std::string& name = job.experiment.evaluate.dataset;
  const config::DatasetConfig* dataset = job.experiment.find_dataset(name);
  if (dataset == nullptr || !evaluating_calls(job).empty()) return;
  checks.add(
      "evaluate.dataset",
      base::concat("no train_step of this experiment evaluates data sets of kind ", dataset->kind));
}

void read_data(Job& job, Checks& checks) {
  const data::Tokenizer* tokenizer = nullptr;
  const std::string& role =
      job.experiment.models.empty() ? std::string() : job.experiment.models.front().first;
  checks.guard(base::concat("model.", role, ".tokenizer"),
               [&] { tokenizer = &checks.tokenizer(job.tokenizer()); });
  if (tokenizer == nullptr) return;
  for (const auto& [name, dataset] : job.experiment.datasets) {
    data::DatasetIndex index;
    checks.guard(base::concat("dataset.", name, ".path"), [&] {
      const base::Stopwatch watch;
      index = data::DatasetIndex::build(dataset, *tokenizer);
      if (watch.seconds() > 1) {  // worth a line, and what the start waited for
        base::log_info(
            base::concat("data set ", name, ": ", index.n_rows(), " records checked in ",
                         base::duration_text(std::chrono::duration<double>(watch.seconds()))));
      }
      for (const std::string& remark : data::marks_taken_as_text(dataset, *tokenizer)) {
        checks.warn(base::concat("dataset.", name), remark);
      }
    });
    if (index.n_rejected() > 0) {
      checks.warn(base::concat("dataset.", name, ".on_bad_record"), index.report(20));
    }
    job.indices.push_back(std::move(index));
  }
}

}  // namespace orrery::cli
