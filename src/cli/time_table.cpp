#include "time_table.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

#include "orrery/base/counted.h"
#include "orrery/base/table.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace {

/// `2.1 s  60 %`, or a dash.
std::string cell(double seconds, double whole) {
  if (seconds == 0) return "-";
  const char* const sign = seconds < 0 ? "-" : "";
  const double size = std::abs(seconds);
  const double percent = whole > 0 ? 100 * size / whole : 0;
  char share[32];
  std::snprintf(share, sizeof(share), percent < 9.95 ? "%.1f %%" : "%.0f %%", percent);
  return base::concat(sign, base::duration_text(std::chrono::duration<double>(size)), "  ", sign,
                      share);
}

}  // namespace

void TimeTable::Between::add(int64_t at_step, double seconds) {
  if (at_step != step) of_step = 0;
  step = at_step;
  all += std::max(0.0, seconds - of_step);
  of_step = std::max(of_step, seconds);
}

TimeTable::Row& TimeTable::row_of(std::string_view name) {
  const auto found =
      std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) { return row.name == name; });
  if (found != rows_.end()) return *found;
  return rows_.emplace_back(Row{.name = std::string(name)});
}

void TimeTable::add(const master::StepReport& report) {
  ++n_steps_;
  steps_ += report.seconds;
  for (const master::CallReport& call : report.calls) {
    double pre = 0;
    double main = 0;
    double post = 0;
    for (const master::PhaseTime& time : call.times) {
      if (time.name.starts_with("load/")) {  // of the samples, before the call
        Row& load = row_of("load");
        load.main += time.max;
        load.all += time.max;
      } else if (time.name.starts_with("pre/")) {
        pre += time.max;
      } else if (time.name.starts_with("post/")) {
        post += time.max;
      } else {
        main += time.max;
      }
    }
    Row& row = row_of(call.call);
    row.pre += pre;
    row.main += main;
    row.post += post;
    row.all += call.seconds;
  }
}

void TimeTable::add(const master::EvaluationReport& report) {
  evaluation_.add(report.step, report.seconds);
}

void TimeTable::add(const master::SaveReport& report) {
  if (report.kind == master::SaveKind::kExport) export_.add(report.step, report.seconds);
}

std::string TimeTable::text(double seconds) const {
  std::vector<base::TableRow> rows;
  for (const Row& row : rows_) {
    rows.push_back({row.name, cell(row.pre, seconds), cell(row.main, seconds),
                    cell(row.post, seconds), cell(row.all, seconds)});
  }
  double in_calls = 0;
  for (const Row& row : rows_) in_calls += row.all;
  const double between = steps_ - in_calls;
  const double around = seconds - steps_ - evaluation_.all - export_.all;
  const double overlap = std::min(between, 0.0) + std::min(around, 0.0);
  for (const auto& [name, spent] : {std::pair{"between calls", std::max(between, 0.0)},
                                    {"evaluation", evaluation_.all},
                                    {"export", export_.all},
                                    {"start and end", std::max(around, 0.0)},
                                    {"at the same time", overlap}}) {
    if (spent != 0) rows.push_back({name, "-", "-", "-", cell(spent, seconds)});
  }
  rows.push_back({"together", "-", "-", "-", cell(seconds, seconds)});
  return base::concat("where the time went: ", base::counted(n_steps_, "step"), " in ",
                      base::duration_text(std::chrono::duration<double>(seconds)),
                      "; phases are the slowest worker's\n",
                      base::table_text({"call", "pre", "main", "post", "all"}, rows));
}

}  // namespace orrery::cli
