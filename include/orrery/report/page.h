// The report: one HTML file with everything in it, which loads nothing. Its parts (style, scripts)
// are the files of src/report/page, put into the program when it is built. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "orrery/report/run.h"
#include "orrery/report/samples.h"
#include "orrery/report/worker_times.h"

namespace orrery::report {

/// What `orrery plan` knows of the run, where its configuration can still be prepared.
struct PlanFacts {
  struct Call {
    std::string name, kind, interface, role, layout;
    int level = 0;
    int64_t n_seqs = 0;
    int64_t runs_per_step = 1;
  };
  struct Edge {
    std::string producer, consumer, keys;
  };
  struct Worker {
    std::string replicas;
    int64_t parameter_bytes = 0, training_bytes = 0, generation_bytes = 0;
  };
  std::vector<Call> calls;
  std::vector<Edge> edges;
  std::vector<Worker> workers;
  std::string text;     ///< as `orrery plan` prints it
  std::string problem;  ///< why there is none of the above
};

struct ReportRun {
  RunRecord record;
  PlanFacts plan;
  std::vector<WorkerTimes> workers;
  SampleIndex samples;
  std::vector<size_t> chosen;  ///< of the samples
};

struct PageOptions {
  std::string title;
  std::string made;         ///< date and time of day
  std::string program;      ///< its version
  std::string sample_rule;  ///< choice_text(), or what else decides
  int refresh_seconds = 0;  ///< of a page that is written anew while the run goes on; 0: never
};

/// A curve of more points than this is thinned: of each span its smallest and largest value,
/// of times their mean. With many curves the bound is lower: all of a page have kMostPoints at
/// most.
inline constexpr size_t kMostPointsOfCurve = 5'000;
inline constexpr size_t kMostPoints = 1'500'000;

Curve thinned(const Curve& curve, size_t most_points);

/// Means over spans of equally many steps, at the first step of each. Curves with the same
/// steps keep the same steps, so that they can be added up.
Curve span_means(const Curve& curve, size_t most_points);

std::string page_html(const std::vector<ReportRun>& runs, const PageOptions& options);

}  // namespace orrery::report
