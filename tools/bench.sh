#!/usr/bin/env bash
# Builds the benchmarks, optimised, and prints one table per folder.
#
#   tools/bench.sh [FOLDER...] [-- GOOGLE BENCHMARK ARGUMENT...]
#   example: tools/bench.sh base -- --benchmark_filter=Hash
#   ranks, a folder of its own: what happens between ranks, under mpirun
#
# cost: some minutes to build on 2 cores, then about a second per line; an otherwise idle machine
# needs: tools/setup.sh --tests
set -euo pipefail
cd "$(dirname "$0")/.."

folders=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --) shift; break ;;
    *) folders+=("$1"); shift ;;
  esac
done
if [ ${#folders[@]} -eq 0 ]; then
  for source in tests/bench/*_bench.cpp; do
    folder=${source##*/}
    folders+=("${folder%_bench.cpp}")
  done
  folders+=(ranks)
fi

mkdir -p build
cmake --preset bench >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
targets=("${folders[@]/#/bench_}")
cmake --build build/bench --target "${targets[@]/bench_ranks/bench_control_channel}" bench_reallocation

# Open MPI on a small machine, also as root.
on_ranks() {
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PMIX_MCA_psec=native \
    OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1 mpirun --oversubscribe -n "$@"
}

echo "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | sed 's/^ *//'), $(nproc) cores, commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
for folder in "${folders[@]}"; do
  echo "== $folder"
  if [ "$folder" = ranks ]; then
    for ranks in 2 4 8; do on_ranks $ranks build/bench/tests/bench/bench_control_channel; done
    on_ranks 4 build/bench/tests/bench/bench_reallocation
  else
    OMP_NUM_THREADS=1 "build/bench/tests/bench/bench_$folder" --benchmark_color=false "$@" 2>/dev/null
  fi
done
