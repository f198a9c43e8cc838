// Data files in forms that are not read, told from their first bytes: the reader of lines would
// find a thousand bad records in them, and not the one thing to say.
#pragma once

#include <string>

namespace orrery::data {

/// Throws DataError for a folder and for a file that is Parquet, Arrow, compressed, a list or one
/// object over several lines, a table with commas or tabs, a web page or a pointer of git LFS: what
/// it is and how to make JSON lines of it. Reads 4 KiB. A file that cannot be opened is left to the
/// reader.
void refuse_foreign_format(const std::string& path);

}  // namespace orrery::data
