// Curves as text for a terminal and as SVG. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/report/run.h"

namespace orrery::report {

/// A curve under the name of its run.
struct PlotSeries {
  std::string label;
  Curve curve;
};

/// Curves of one metric, over each other.
struct Plot {
  std::string title;
  std::vector<PlotSeries> series;
};

/// Exponential moving average with weight 0 <= w < 1 on what was before, corrected for its start;
/// NaN stays NaN and is left out of the mean. 0: as it is.
Curve smoothed(const Curve& curve, double weight);

struct TerminalPlotOptions {
  int columns = 80;      ///< of the whole line, labels included
  int rows = 10;         ///< of the picture
  bool colours = false;  ///< with them series lie over each other; without each has its own picture
};

/// Title with first and last value, then the picture in Braille characters, steps to the right; all
/// series on one scale. Points that are not finite are left out.
std::string terminal_plot(const Plot& plot, const TerminalPlotOptions& options);

/// A bar of `width` characters for a share from 0 to 1.
std::string bar_text(double share, int width);

/// One picture with a panel for each plot. `width` in pixels.
std::string svg_plots(const std::vector<Plot>& plots, int width);

/// Four significant digits.
std::string short_number(double value);

/// Text of models and logs for a terminal: control characters, which could move the cursor or
/// change its colours, become `·`, line ends `⏎`; cut at `most` characters with `…`. Bytes that are
/// no UTF-8 become `?`.
std::string terminal_text(std::string_view text, size_t most);

}  // namespace orrery::report
