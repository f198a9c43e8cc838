#!/usr/bin/env bash
# Checks Orrery on a machine with a GPU and measures it there: the tests that need a GPU, every CUDA kernel and
# models of every kind against the CPU's results, a whole job, decoding and training against the rooflines of the
# device, and the same of torch and Hugging Face. Writes OUT/gpu-report.json and, from it, the table
# OUT/gpu-report.md. docs/gpu.md says how to read them.
#
#   tools/gpu_check.sh [--minutes 10] [--out gpu-check] [--build DIR]
#     --build: programs that have been built there, with CUDA; else they are built in build/cuda
#   In a folder of tools/pack_gpu_check.sh its own programs are run.
#
# exit code: 0 nothing failed, 1 something failed, 2 bad usage or no GPU, 5 OUT cannot be written
# cost: the minutes, and building; needs a GPU, Python 3, and a CUDA toolkit with NCCL or a packed folder
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

give_up() { # exit code, text
  echo "gpu_check.sh: $2" >&2
  exit "$1"
}

minutes=10 out=gpu-check build=
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --minutes | --out | --build)
      [ $# -ge 2 ] || give_up 2 "option $1: expected a value, got none"
      printf -v "${1#--}" %s "$2"
      shift 2 ;;
    *) give_up 2 "expected --minutes, --out or --build, got $1" ;;
  esac
done
[[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] && [[ $minutes =~ [1-9] ]] ||
  give_up 2 "option --minutes: expected a number above 0, got $minutes"
command -v python3 >/dev/null || give_up 2 "python3 is not there"
{ mkdir -p "$out" && [ -w "$out" ]; } 2>/dev/null || give_up 5 "$out cannot be written"
out=$(cd "$out" && pwd)

options=()
if [ -d "$here/bin" ]; then # packed: what is not packed is torch's, or the toolkit's
  programs=$here/bin
  torch=$(python3 -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")')
  path=$here/lib
  for folder in "${torch:-/none}/lib" "${torch:-/none}"/../nvidia/*/lib "${CUDA_HOME:-/usr/local/cuda}"/lib64; do
    if [ -d "$folder" ]; then path+=:$folder; fi
  done
  path+=${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  # The C++ library of this machine serves torch too; ours is for machines whose own is older.
  if LD_LIBRARY_PATH=$path ldd "$programs"/* 2>&1 | grep -qE 'GLIBCXX_|CXXABI_|libstdc\+\+.*not found'; then
    path=$here/lib/cxx:$path
  fi
  options=(--library-path "$path")
elif [ -n "$build" ]; then
  programs=$build/gpu_check
else
  nvidia-smi -L >/dev/null 2>&1 || give_up 2 "no GPU found: nvidia-smi is not there or lists none; nothing was built"
  cd "$here/.."
  build=build/cuda
  mkdir -p build
  cmake --preset cuda >build/configure.log 2>&1 || { cat build/configure.log >&2; give_up 2 "the CUDA build cannot be configured"; }
  cmake --build "$build" --target gpu_check_programs >&2 || give_up 2 "the CUDA build failed"
  programs=$build/gpu_check
fi

status=0
python3 -B "$here/gpu_check/parts.py" --programs "$programs" --out "$out" --minutes "$minutes" "${options[@]}" || status=$?
if [ "$status" -gt 1 ]; then exit "$status"; fi
rm -f "$out/gpu-report.md"
if python3 -B "$here/gpu_check/table.py" "$out/gpu-report.json" >"$out/gpu-report.md.new"; then
  mv "$out/gpu-report.md.new" "$out/gpu-report.md"
else
  rm -f "$out/gpu-report.md.new"
  echo "gpu_check.sh: no table was made"
fi
echo "gpu_check.sh: report in $out"
exit "$status"
