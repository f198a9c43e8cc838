#!/usr/bin/env bash
# Compiles every public header on its own: each must include what it uses.
#
#   tools/check_headers.sh [HEADER...]      default: all of include/
#
# cost: about two minutes on 2 cores; needs tools/setup.sh
set -euo pipefail
cd "$(dirname "$0")/.."

torch=${ORRERY_TORCH_DIR:-build/deps/torch/torch}
[ -d "$torch/include/ATen" ] ||
  { echo "check_headers.sh: no LibTorch in $torch: run tools/setup.sh or set ORRERY_TORCH_DIR"; exit 1; }
# -fsyntax-only and no precompiled header: what a header forgot must not come from elsewhere.
read -ra libraries <<<"$(mpicc --showme:compile) $(h5cc -show | grep -o -- "-I[^ ]*")"
check() {
  "${CXX:-g++}" -std=c++20 -fsyntax-only -Wall -Wextra -Iinclude -isystem "$1/include" \
    "${@:3}" -DOMPI_SKIP_MPICXX -x c++ - <<<"#include \"${2#include/}\"" ||
    { echo "check_headers.sh: $2 does not compile alone"; return 1; }
}
export -f check

if [ $# -gt 0 ]; then printf '%s\0' "$@"; else find include -name '*.h' -print0; fi |
  sort -z | xargs -0 -P2 -I{} bash -c 'check "$@"' check "$torch" {} "${libraries[@]}" ||
  { echo "check_headers.sh: FAILED"; exit 1; }
echo "check_headers.sh: every public header compiles alone"
