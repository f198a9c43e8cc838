#include "orrery/base/table.h"

#include <algorithm>

namespace orrery::base {

std::string table_text(const TableRow& heading, const std::vector<TableRow>& rows) {
  std::vector<size_t> widths;
  const auto measure = [&](const TableRow& row) {
    widths.resize(std::max(widths.size(), row.size()), 0);
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  };
  measure(heading);
  for (const TableRow& row : rows) measure(row);

  std::string text;
  const auto append = [&](const TableRow& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line += std::string(widths[i] - row[i].size() + 2, ' ');
    }
    text += line + "\n";
  };
  append(heading);
  for (const TableRow& row : rows) append(row);
  return text;
}

}  // namespace orrery::base
