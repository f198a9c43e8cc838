#!/usr/bin/env bash
# Packs tools/gpu_check.sh with its programs for a machine that has a GPU, Python's torch for CUDA and nothing
# else: no Open MPI, no HDF5, no network. There: tar xf FILE && gpu_check/gpu_check.sh
#
#   tools/pack_gpu_check.sh [--out gpu_check.tar.gz] [--build DIR]
#     --build: programs that have been built there, with CUDA; else they are built in build/cuda
#
# Taken along: the programs without debugging symbols, the libraries that they need, except the C library,
# the driver, and what torch brings (LibTorch, the CUDA runtime, NCCL), models in miniature and sizes of real
# ones, and Open MPI's launcher with the plugins that one machine uses.
# exit code: 0 packed, 1 it has more than 64 MiB or a library is missing here, 2 bad usage, 5 it cannot be written
# cost: seconds, and building; needs a CUDA toolkit and NCCL
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
most_bytes=$((64 << 20))

give_up() { # exit code, text
  echo "pack_gpu_check.sh: $2" >&2
  exit "$1"
}

out=gpu_check.tar.gz build=
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --out | --build)
      [ $# -ge 2 ] || give_up 2 "option $1: expected a value, got none"
      printf -v "${1#--}" %s "$2"
      shift 2 ;;
    *) give_up 2 "expected --out or --build, got $1" ;;
  esac
done
{ : >"$out.new"; } 2>/dev/null || give_up 5 "$out cannot be written"
folder=$(mktemp -d)
trap 'rm -rf "$folder" "$out.new"' EXIT
if [ -z "$build" ]; then
  build=$here/../build/cuda
  (cd "$here/.." && mkdir -p build && cmake --preset cuda >build/configure.log 2>&1) || give_up 2 "the CUDA build cannot be configured: see build/configure.log"
  cmake --build "$build" --target gpu_check_programs >&2 || give_up 2 "the CUDA build failed"
fi
[ -d "$build/gpu_check" ] || give_up 2 "$build/gpu_check is not there: build the target gpu_check_programs"

pack=$folder/gpu_check
mkdir -p "$pack"/bin "$pack"/lib/cxx
cp "$here/gpu_check.sh" "$pack/"
cp -r "$here/gpu_check" "$pack/gpu_check"
rm -rf "$pack/gpu_check/__pycache__"
git -C "$here" describe --always --dirty --abbrev=40 >"$pack/commit" 2>/dev/null || echo unknown >"$pack/commit"
cp "$build/gpu_check/torch_version" "$pack/"

programs=(gpu_check model_check orrery test_comm test_decoder_on_gpus test_kernels)
mkdir -p "$pack"/fixtures/shapes
cp -r "$here/../tests/fixtures/hf" "$pack/fixtures/"
cp -r "$here"/../tests/fixtures/shapes/qwen2.5-{0.5b,1.5b,7b} "$pack/fixtures/shapes/"
for config in grpo_tiny.cfg graphs/grpo.cfg data/tiny.jsonl recipes/sizes/qwen2.5_0.5b/actor.cfg; do
  install -D -m 644 "$here/../configs/$config" "$pack/configs/$config"
done

# Plugins are opened as Open MPI runs. Those for fabrics stay here, and what only they need.
opened=() with_symbols=("$pack/bin" "$pack/lib")
path_of_mpi() { ompi_info --parsable --path "$1" | cut -d: -f3; }
if command -v ompi_info >/dev/null; then
  prefix=$(path_of_mpi prefix) plugins=$(path_of_mpi pkglibdir) texts=$(path_of_mpi pkgdatadir)
  mkdir -p "$pack/openmpi/bin" "$pack/openmpi/${plugins#"$prefix"/}" "$pack/openmpi/${texts#"$prefix"/}"
  cp -L "$(path_of_mpi bindir)/mpirun" "$pack/openmpi/bin/"
  cp -r "$texts/." "$pack/openmpi/${texts#"$prefix"/}"
  for plugin in "$plugins"/mca_*.so; do
    case ${plugin##*/} in
      *ucx* | *ofi* | *usnic* | *verbs* | *openib* | *psm* | *portals* | *monitoring* | *memheap* | *scoll* | *spml* | *sshmem* | *oshmem*) ;;
      *) cp -L "$plugin" "$pack/openmpi/${plugins#"$prefix"/}/" && opened+=("$plugin") ;;
    esac
  done
  opened+=("$(path_of_mpi bindir)/mpirun")
  with_symbols+=("$pack/openmpi/bin" "$pack/openmpi/${plugins#"$prefix"/}")
else
  echo "pack_gpu_check.sh: no Open MPI here: the packed check will start no job"
fi

needed=$(ldd "${programs[@]/#/$build/gpu_check/}" "${opened[@]}" | sort -u)
# Not there on this machine: the driver, and what the parts of CUDA need that no program here calls.
missing=$(grep 'not found' <<<"$needed" | grep -vE 'libcu|libnv|libnccl' || true)
[ -z "$missing" ] || give_up 1 "needed and not found here: $missing"
awk '/=> \//{print $3}' <<<"$needed" | sort -u |
  grep -vE '/(ld-linux|libc|libm|libdl|libpthread|librt|libresolv|libutil)[-.]|/(torch|nvidia|cuda[^/]*)/|/lib(cuda|nvidia|nccl)' |
  while read -r library; do
    case $library in
      */libstdc++.* | */libgcc_s.*) cp -L "$library" "$pack/lib/cxx/" ;;
      *) cp -L "$library" "$pack/lib/" ;;
    esac
  done
for program in "${programs[@]}"; do
  cp -L "$build/gpu_check/$program" "$pack/bin/"
  # Without the folders of this machine in it: what is found is packed or the other machine's.
  echo "file(RPATH_REMOVE FILE $pack/bin/$program)" >>"$folder/remove.cmake"
done
cmake -P "$folder/remove.cmake" >"$folder/remove.log" || give_up 1 "paths of this machine stay in a program"
find "${with_symbols[@]}" -type f -exec strip --strip-unneeded {} +
tar -C "$folder" -czf "$out.new" gpu_check || give_up 5 "$out cannot be written"
size_bytes=$(stat -c %s "$out.new") unpacked=$(du -sb "$pack" | cut -f1)
[ "$size_bytes" -le "$most_bytes" ] || give_up 1 "it would have $size_bytes bytes, at most $most_bytes are allowed"
mv "$out.new" "$out" || give_up 5 "$out cannot be written"
echo "pack_gpu_check.sh: $out, $((size_bytes >> 10)) KiB, unpacked $((unpacked >> 10)) KiB"
