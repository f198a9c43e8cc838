#include <gtest/gtest.h>

#include "orrery/base/file.h"
#include "orrery/metrics/metric_list.h"

namespace orrery::cli {
namespace {

TEST(MetricsPage, IsWhatTheListOfMetricsSays) {
  const std::string page = base::read_file(ORRERY_SOURCE_DIR "/docs/metrics.md");

  EXPECT_TRUE(page == metrics::metrics_markdown())
      << "run: build/dev/orrery train --help --metrics-markdown > docs/metrics.md";
}

}  // namespace
}  // namespace orrery::cli
