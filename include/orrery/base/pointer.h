// A pointer: a link beside folders, such as `latest`, to one of them. Rank 0.
#pragma once

#include <filesystem>

namespace orrery::base {

/// Makes `pointer` a link to `target`, which lies beside it, in one operation: there is never none,
/// nor half a one. What is there and no link (`cp -L` and file systems without links make copies)
/// is kept as `pointer`.copy, with a warning. Throws OutputError.
void point(const std::filesystem::path& pointer, const std::filesystem::path& target);

/// Afterwards there is no `pointer`; what is no link is kept as above. Throws OutputError.
void remove_pointer(const std::filesystem::path& pointer);

}  // namespace orrery::base
