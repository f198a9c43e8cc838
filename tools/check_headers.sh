#!/usr/bin/env bash
# Compiles every public header on its own: each must include what it uses.
#
# cost: about two minutes on 2 cores; needs a configured build/dev (tools/test.sh)
set -euo pipefail
cd "$(dirname "$0")/.."
torch=${ORRERY_TORCH_DIR:-build/deps/torch/torch}
check() {
  echo "#include \"${1#include/}\"" |
    ${CXX:-g++} -std=c++20 -fsyntax-only -Wall -Wextra -Iinclude -isystem "$torch/include" \
      $(pkg-config --cflags-only-I ompi-c 2>/dev/null) -DOMPI_SKIP_MPICXX -x c++ - ||
    { echo "check_headers.sh: $1 does not compile alone"; return 1; }
}
export -f check
export torch
find include -name '*.h' ! -name 'nccl_*' -print0 | sort -z | xargs -0 -n1 -P2 bash -c 'check "$0"'
echo "check_headers.sh: every public header compiles alone"
