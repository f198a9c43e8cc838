// When the configuration's sections say that something is done.
#pragma once

#include "orrery/master/frequency_control.h"

namespace orrery::cli {

/// Of [evaluate], [export] or [checkpoint].
template <class Section>
master::Frequency frequency_of(const Section& section) {
  return {.every_steps = section.every_steps,
          .every_epochs = section.every_epochs,
          .every_seconds = section.every_seconds};
}

}  // namespace orrery::cli
