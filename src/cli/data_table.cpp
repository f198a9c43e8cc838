#include "data_table.h"

#include <algorithm>
#include <cstdio>

#include "orrery/base/table.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace {

std::string one_digit(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", value);
  return text;
}

std::string lengths_text(const data::LengthSummary& lengths) {
  if (lengths.n == 0) return "-";
  return base::concat(one_digit(lengths.mean), " / ", lengths.percentile_99, " / ",
                      lengths.longest);
}

}  // namespace

std::string data_table(const Job& job) {
  const std::vector<int> training = job.training_places();
  const std::vector<double> shares = job.make_order().shares();  // in the order of `training`
  std::vector<base::TableRow> rows;
  for (size_t i = 0; i < job.indices.size(); ++i) {
    const auto& [name, dataset] = job.experiment.datasets[i];
    const data::DatasetIndex& index = job.indices[i];
    const data::RecordSummary& summary = index.summary();
    const auto place = std::find(training.begin(), training.end(), static_cast<int>(i));
    const bool is_trained_on = place != training.end();
    std::vector<std::string> uses;
    if (is_trained_on) uses.emplace_back("train");
    if (job.experiment.is_evaluated(name)) uses.emplace_back("evaluate");
    std::string share = "-";
    if (is_trained_on) {
      share = one_digit(100 * shares[static_cast<size_t>(place - training.begin())]) + " %";
    }
    rows.push_back({name, dataset.kind, uses.empty() ? "nothing" : base::join(uses, ", "),
                    std::to_string(index.n_rows()), std::to_string(index.n_rejected()), share,
                    dataset.add_bos, lengths_text(summary.prompts), lengths_text(summary.sequences),
                    std::to_string(summary.n_cramped)});
  }
  return base::concat(
      base::table_text({"name", "kind", "use", "rows", "refused", "share", "bos", "prompt tokens",
                        "whole records", "answers cut"},
                       rows),
      "(tokens: mean / 99 % have no more / longest; answers cut: prompts that leave less room than "
      "max_new_tokens)\n");
}

}  // namespace orrery::cli
