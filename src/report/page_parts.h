// The files of the page as the build put them into the program: see CMakeLists.txt.
#pragma once

#include <string_view>

namespace orrery::report {

extern const std::string_view kPageTemplate;  // page/page.html
extern const std::string_view kPageStyle;     // page/page.css
extern const std::string_view kPageScripts;   // page/*.js in their order
extern const std::string_view kChartStyle;    // vendor/uPlot.min.css
extern const std::string_view kChartScript;   // vendor/uPlot.iife.min.js
extern const std::string_view kChartLicence;  // vendor/LICENSE-uPlot.txt

}  // namespace orrery::report
