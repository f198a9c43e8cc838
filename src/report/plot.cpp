#include "orrery/report/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

#include "orrery/base/text.h"
#include "orrery/report/script_text.h"

namespace orrery::report {

namespace {

/// The smallest box around all finite points.
struct Range {
  double first = std::numeric_limits<double>::infinity();
  double last = -std::numeric_limits<double>::infinity();
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  bool is_empty() const { return low > high; }
  double across(double step) const { return last > first ? (step - first) / (last - first) : 0; }
  double up(double value) const { return high > low ? (value - low) / (high - low) : 0.5; }
};

Range range_of(const Plot& plot) {
  Range range;
  for (const PlotSeries& series : plot.series) {
    for (size_t i = 0; i < series.curve.steps.size(); ++i) {
      const double value = series.curve.values[i];
      if (!std::isfinite(value)) continue;
      const auto step = static_cast<double>(series.curve.steps[i]);
      range.first = std::min(range.first, step);
      range.last = std::max(range.last, step);
      range.low = std::min(range.low, value);
      range.high = std::max(range.high, value);
    }
  }
  return range;
}

/// Dots of 2 x 4 to a character, and the series that last drew in it.
class Canvas {
 public:
  Canvas(int columns, int rows)
      : columns_(columns),
        rows_(rows),
        dots_(static_cast<size_t>(columns * rows), 0),
        series_(dots_.size(), -1) {}

  void draw(const Curve& curve, const Range& range, int series) {
    int before_x = -1, before_y = -1;
    for (size_t i = 0; i < curve.steps.size(); ++i) {
      if (!std::isfinite(curve.values[i])) {
        before_x = -1;
        continue;
      }
      const int x = scaled(range.across(static_cast<double>(curve.steps[i])), 2 * columns_);
      const int y = scaled(1 - range.up(curve.values[i]), 4 * rows_);
      if (before_x < 0)
        set(x, y, series);
      else
        line(before_x, before_y, x, y, series);
      before_x = x;
      before_y = y;
    }
  }

  std::string row(int row, bool colours) const {
    static constexpr std::array<const char*, 6> kColours = {"36", "33", "32", "35", "31", "34"};
    std::string text;
    for (int column = 0; column < columns_; ++column) {
      const auto cell = static_cast<size_t>(row * columns_ + column);
      const unsigned code = 0x2800U + dots_[cell];
      const char bytes[4] = {static_cast<char>(0xE0U | (code >> 12U)),
                             static_cast<char>(0x80U | ((code >> 6U) & 0x3FU)),
                             static_cast<char>(0x80U | (code & 0x3FU)), 0};
      const bool coloured = colours && series_[cell] >= 0;
      if (coloured) {
        text += base::concat("\x1b[", kColours[static_cast<size_t>(series_[cell]) % 6], "m");
      }
      text += bytes;
      if (coloured) text += "\x1b[0m";
    }
    return text;
  }

 private:
  static int scaled(double share, int n) {
    return std::clamp(static_cast<int>(std::lround(share * (n - 1))), 0, n - 1);
  }
  void set(int x, int y, int series) {
    static constexpr unsigned kDots[4][2] = {
        {0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    const auto cell = static_cast<size_t>(y / 4 * columns_ + x / 2);
    dots_[cell] |= kDots[y % 4][x % 2];
    series_[cell] = series;
  }
  void line(int x0, int y0, int x1, int y1, int series) {
    const int n = std::max({std::abs(x1 - x0), std::abs(y1 - y0), 1});
    for (int i = 0; i <= n; ++i) {
      const double share = static_cast<double>(i) / n;
      set(x0 + static_cast<int>(std::lround((x1 - x0) * share)),
          y0 + static_cast<int>(std::lround((y1 - y0) * share)), series);
    }
  }

  int columns_, rows_;
  std::vector<unsigned> dots_;
  std::vector<int> series_;
};

std::string ends_text(const Curve& curve) {
  if (curve.steps.empty()) return "no values";
  return base::concat(short_number(curve.values.front()), " -> ", short_number(curve.values.back()),
                      " over steps ", curve.steps.front(), "..", curve.steps.back());
}

std::string padded(const std::string& text, size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string picture(const std::vector<const PlotSeries*>& series, const Range& range,
                    const TerminalPlotOptions& options) {
  constexpr int kLabel = 10;
  if (range.is_empty()) return "  (no finite values)\n";
  const int rows = std::max(2, options.rows);
  Canvas canvas(std::max(10, options.columns - kLabel - 3), rows);
  for (size_t i = 0; i < series.size(); ++i) {
    canvas.draw(series[i]->curve, range, static_cast<int>(i));
  }
  std::string text;
  for (int row = 0; row < rows; ++row) {
    const bool labelled = row == 0 || row == rows - 1 || row == rows / 2;
    const double value = range.high - (range.high - range.low) * row / (rows - 1);
    text += base::concat(padded(labelled ? short_number(value) : "", kLabel), " │",
                         canvas.row(row, options.colours && series.size() > 1), "\n");
  }
  return text;
}

constexpr std::array<const char*, 8> kSvgColours = {"#2563eb", "#dc6803", "#15803d", "#c11574",
                                                    "#0e7490", "#7a5af8", "#b91c1c", "#475467"};

/// 1, 2 or 5 times a power of ten, about a fifth of the span.
double tick_distance(double span) {
  if (!(span > 0)) return 1;
  const double raw = span / 5;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (raw <= factor * power) return factor * power;
  }
  return 10 * power;
}

std::string number_attribute(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", value);
  return text;
}

/// A panel whose upper left corner is at (0, top).
std::string svg_panel(const Plot& plot, int width, int top, int height) {
  const double left = 70, right = width - 16.0, upper = top + 34.0, lower = top + height - 40.0;
  std::string out = base::concat("<text x=\"", left, "\" y=\"", top + 20, "\" class=\"title\">",
                                 html_text(plot.title), "</text>\n");
  Range range = range_of(plot);
  if (range.is_empty()) {
    return base::concat(out, "<text x=\"", left, "\" y=\"", upper + 20,
                        "\">no finite values</text>\n");
  }
  if (!(range.high > range.low)) {
    range.low -= 0.5;
    range.high += 0.5;
  }
  const auto x_of = [&](double step) { return left + (right - left) * range.across(step); };
  const auto y_of = [&](double value) { return lower - (lower - upper) * range.up(value); };
  const double up = tick_distance(range.high - range.low);
  for (double tick = std::ceil(range.low / up) * up; tick <= range.high + 1e-9 * up; tick += up) {
    const std::string y = number_attribute(y_of(tick));
    out += base::concat("<path class=\"grid\" d=\"M", left, " ", y, "H", right, "\"/><text x=\"",
                        left - 6, "\" y=\"", number_attribute(y_of(tick) + 4),
                        "\" text-anchor=\"end\">",
                        short_number(std::abs(tick) < 1e-9 * up ? 0 : tick), "</text>\n");
  }
  const double along = std::max(1.0, tick_distance(range.last - range.first));
  for (double tick = std::ceil(range.first / along) * along; tick <= range.last; tick += along) {
    const std::string x = number_attribute(x_of(tick));
    out += base::concat("<path class=\"grid\" d=\"M", x, " ", upper, "V", lower, "\"/><text x=\"",
                        x, "\" y=\"", lower + 16, "\" text-anchor=\"middle\">", short_number(tick),
                        "</text>\n");
  }
  double legend = left;
  for (size_t i = 0; i < plot.series.size(); ++i) {
    const PlotSeries& series = plot.series[i];
    const char* const colour = kSvgColours[i % kSvgColours.size()];
    std::string path;
    bool pen_up = true;
    for (size_t k = 0; k < series.curve.steps.size(); ++k) {
      if (!std::isfinite(series.curve.values[k])) {
        pen_up = true;
        continue;
      }
      path += base::concat(pen_up ? "M" : "L",
                           number_attribute(x_of(static_cast<double>(series.curve.steps[k]))), " ",
                           number_attribute(y_of(series.curve.values[k])));
      pen_up = false;
    }
    out += base::concat("<path class=\"curve\" stroke=\"", colour, "\" d=\"", path, "\"/>\n");
    out += base::concat("<path stroke=\"", colour, "\" stroke-width=\"3\" d=\"M",
                        number_attribute(legend), " ", lower + 30, "h16\"/><text x=\"",
                        number_attribute(legend + 21), "\" y=\"", lower + 34, "\">",
                        html_text(series.label), "</text>\n");
    legend += 40 + 7.0 * static_cast<double>(series.label.size());
  }
  return out;
}

/// Bytes of the UTF-8 character that begins here, or 0 where there is none.
size_t character_bytes(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const size_t n = first < 0x80                    ? 1
                   : first >= 0xC2 && first < 0xE0 ? 2
                   : first >= 0xE0 && first < 0xF0 ? 3
                   : first >= 0xF0 && first < 0xF5 ? 4
                                                   : 0;
  if (n == 0 || n > text.size()) return 0;
  for (size_t i = 1; i < n; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U) return 0;
  }
  return n;
}

}  // namespace

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g", value);
  return text;
}

Curve smoothed(const Curve& curve, double weight) {
  if (weight <= 0) return curve;
  Curve result = curve;
  double mean = 0, norm = 0;
  for (double& value : result.values) {
    if (!std::isfinite(value)) continue;
    norm = weight * norm + (1 - weight);
    mean += (1 - weight) / norm * (value - mean);  // of equal values exactly their value
    value = mean;
  }
  return result;
}

std::string bar_text(double share, int width) {
  const int n = std::clamp(static_cast<int>(std::lround(share * width)), 0, width);
  std::string text;
  for (int i = 0; i < width; ++i) text += i < n ? "█" : "░";
  return text;
}

std::string terminal_plot(const Plot& plot, const TerminalPlotOptions& options) {
  const Range range = range_of(plot);
  std::vector<const PlotSeries*> all;
  for (const PlotSeries& series : plot.series) all.push_back(&series);
  if (all.size() == 1) {
    return base::concat(plot.title, ": ", ends_text(all.front()->curve), "\n",
                        picture(all, range, options));
  }
  std::string text = plot.title + "\n";
  if (!options.colours) {
    for (const PlotSeries* series : all) {
      text += base::concat("  ", series->label, ": ", ends_text(series->curve), "\n",
                           picture({series}, range, options));
    }
    return text;
  }
  static constexpr std::array<const char*, 6> kColours = {"36", "33", "32", "35", "31", "34"};
  for (size_t i = 0; i < all.size(); ++i) {
    text += base::concat("  \x1b[", kColours[i % 6], "m●\x1b[0m ", all[i]->label, ": ",
                         ends_text(all[i]->curve), "\n");
  }
  return text + picture(all, range, options);
}

std::string svg_plots(const std::vector<Plot>& plots, int width) {
  constexpr int kHeight = 300;
  const int height = kHeight * static_cast<int>(plots.size());
  std::string out = base::concat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", width, "\" height=\"", height,
      "\" viewBox=\"0 0 ", width, " ", height, "\" font-family=\"DejaVu Sans, sans-serif\" ",
      "font-size=\"12\">\n<style>.grid{stroke:#e1e5eb;fill:none}.curve{fill:none;stroke-width:1.6}",
      ".title{font-size:14px;font-weight:bold}</style>\n<rect width=\"100%\" height=\"100%\" ",
      "fill=\"white\"/>\n");
  for (size_t i = 0; i < plots.size(); ++i) {
    out += svg_panel(plots[i], width, static_cast<int>(i) * kHeight, kHeight);
  }
  return out + "</svg>\n";
}

std::string terminal_text(std::string_view text, size_t most) {
  std::string safe;
  size_t n = 0;
  for (size_t i = 0; i < text.size(); ++n) {
    if (n == most) return safe + "…";
    const size_t bytes = character_bytes(text.substr(i));
    const auto first = static_cast<unsigned char>(text[i]);
    if (bytes == 0) {
      safe += "?";
    } else if (first == '\n') {
      safe += "⏎";
    } else if (first < 0x20 || first == 0x7F ||
               (first == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0)) {
      safe += "·";  // the second half: control characters above 127, which terminals obey too
    } else {
      safe += text.substr(i, bytes);
    }
    i += std::max<size_t>(1, bytes);
  }
  return safe;
}

}  // namespace orrery::report
