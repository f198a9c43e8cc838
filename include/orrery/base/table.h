// Columns of text for people.
#pragma once

#include <string>
#include <vector>

namespace orrery::base {

using TableRow = std::vector<std::string>;

/// Rows under a heading, columns as wide as their widest cell, two spaces between them.
std::string table_text(const TableRow& heading, const std::vector<TableRow>& rows);

}  // namespace orrery::base
