// A line of the table of `orrery doctor`.
#pragma once

#include <string>

namespace orrery::cli {

enum class Health {
  kFine,
  kWarning,  ///< a job runs, slowly or with a risk
  kFailure,  ///< a job would fail
};

struct Finding {
  Health health = Health::kFine;
  std::string what;
  std::string value;
  std::string advice;  ///< empty when all is fine
};

}  // namespace orrery::cli
