#include <gtest/gtest.h>

#include "orrery/algorithm/registry.h"
#include "orrery/base/file.h"
#include "orrery/config/load.h"

namespace orrery::cli {
namespace {

TEST(ConfigurationPage, IsWhatTheFieldListsSay) {
  const std::string page = base::read_file(ORRERY_SOURCE_DIR "/docs/configuration.md");

  EXPECT_TRUE(page == config::configuration_markdown(algorithm::interface_schemas()))
      << "run: build/dev/orrery train --help --markdown > docs/configuration.md";
}

}  // namespace
}  // namespace orrery::cli
