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

/// `12.30 GB/s`
std::string rate_text(double bytes_per_s);

}  // namespace orrery::cli
