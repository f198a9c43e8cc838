#!/usr/bin/env bash
# Builds the benchmarks, optimised, and prints one table per folder.
#
#   tools/bench.sh [FOLDER...] [-- GOOGLE BENCHMARK ARGUMENT...]
#   example: tools/bench.sh base -- --benchmark_filter=Hash
#
# cost: some minutes to build on 2 cores, then about a second per line; an otherwise idle machine
# needs: tools/setup.sh --tests
set -euo pipefail
cd "$(dirname "$0")/.."

folders=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --) shift; break ;;
    *) folders+=("$1"); shift ;;
  esac
done
if [ ${#folders[@]} -eq 0 ]; then
  for source in tests/bench/*_bench.cpp; do
    folder=${source##*/}
    folders+=("${folder%_bench.cpp}")
  done
fi

mkdir -p build
cmake --preset bench >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
cmake --build build/bench --target "${folders[@]/#/bench_}"

echo "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | sed 's/^ *//'), $(nproc) cores, commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
for folder in "${folders[@]}"; do
  echo "== $folder"
  OMP_NUM_THREADS=1 "build/bench/tests/bench/bench_$folder" --benchmark_color=false "$@" 2>/dev/null
done
