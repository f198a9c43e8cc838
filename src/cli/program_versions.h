// What this program is made of.
#pragma once

#include <string>

#include "doctor_report.h"  // GpuSupport

namespace orrery::cli {

/// Of Orrery.
std::string program_version();
/// One line, the same for the same build.
std::string versions_line();
/// A line for each part.
std::string versions_text();

GpuSupport gpu_support();

}  // namespace orrery::cli
