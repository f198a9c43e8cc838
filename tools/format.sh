#!/usr/bin/env bash
# Formats all C++ files by .clang-format; with --check only says which ones differ.
#
#   tools/format.sh [--check]
set -euo pipefail
cd "$(dirname "$0")/.."
files() { git ls-files -z -- 'src/*.h' 'src/*.cpp' 'src/*.cu' 'include/*.h' 'tests/*.h' 'tests/*.cpp'; }
if [ "${1:-}" = --check ]; then
  files | xargs -0 clang-format --dry-run -Werror || { echo "format.sh: run tools/format.sh"; exit 1; }
else
  files | xargs -0 clang-format -i
fi
