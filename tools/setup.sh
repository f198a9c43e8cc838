#!/usr/bin/env bash
# Installs what Orrery needs and builds the release program, build/release/orrery. Idempotent: a
# second run finds everything there and takes seconds.
#
#   tools/setup.sh [--prefix DIR] [--no-build] [--tests] [--cuda=13 [--gpu-libraries] | --cuda=12 --torch DIR]
#
# cost: the first time about 0.6 GB of downloads and some minutes of building on 2 cores; with --cuda=13 another
#   0.3 GB, with --gpu-libraries 2.5 GB more
# needs: Debian 12 or Ubuntu 24.04; root or sudo if packages are missing; Debian's and PyPI's packages
#   --prefix DIR  LibTorch goes into DIR/deps instead of build/deps, and the program is installed into
#                 DIR as well: DIR/bin/orrery
#   --no-build    install what is needed only
#   --tests       also what the tests and checks need
#   --cuda=13     builds for GPUs: build/cuda/orrery. Compiler, CUDA runtime and NCCL are PyPI's. GPUs need an
#                 NVIDIA driver of 580 or newer
#   --cuda=12     the same for drivers from 525 on. PyPI has no compiler of CUDA 12: a toolkit must be there
#                 (CUDACXX, CUDA_HOME, PATH or /usr/local/cuda-12*), as `module load cuda/12` gives it. Nor has it
#                 LibTorch 2.11 of CUDA 12: a cluster's module of PyTorch, or PyTorch's own index of wheels
#   --torch DIR   that LibTorch: the folder torch of the Python packages, with include and lib
#   --gpu-libraries  also what LibTorch loads where it computes on a GPU (cuBLAS, cuDNN and others)
set -euo pipefail

build=yes tests=no prefix= cuda= gpu_libraries=no own_torch=
while [ $# -gt 0 ]; do
  case $1 in
    --no-build) build=no ;;
    --tests) tests=yes ;;
    --cuda=12 | --cuda=13) cuda=${1#--cuda=} ;;
    --cuda | --cuda=*) echo "setup.sh: '$1': CUDA 12 or 13, as --cuda=12 or --cuda=13" >&2; exit 2 ;;
    --gpu-libraries) gpu_libraries=yes ;;
    --torch)
      [ -f "${2:-}/version.py" ] ||
        { echo "setup.sh: --torch needs the folder torch of the Python packages, with version.py" >&2; exit 2; }
      own_torch=$(cd "$2" && pwd)
      shift ;;
    --prefix)
      case ${2:-} in
        '' | -*) echo "setup.sh: --prefix needs a folder" >&2; exit 2 ;;
      esac
      mkdir -p "$2"
      prefix=$(cd "$2" && pwd)
      shift ;;
    -h | --help) sed -n '2,20s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "setup.sh: unknown argument '$1'; try --help" >&2; exit 2 ;;
  esac
  shift
done
if [ "$gpu_libraries" = yes ] && [ "$cuda" != 13 ]; then
  echo "setup.sh: --gpu-libraries goes with --cuda=13: another LibTorch comes with its own" >&2
  exit 2
fi
if [ "$cuda" = 12 ] && ! { grep -qs "^cuda.*'12\." "$own_torch/version.py" &&
    grep -qs "^__version__.*'2\.11\." "$own_torch/version.py"; }; then
  echo "setup.sh: --cuda=12 needs --torch DIR, a LibTorch 2.11 that is of CUDA 12; PyPI's is of CUDA 13" >&2
  exit 2
elif [ "$cuda" != 12 ] && [ -n "$own_torch" ]; then
  echo "setup.sh: --torch goes with --cuda=12" >&2
  exit 2
fi
cd "$(dirname "$0")/.."

# find_nvcc MAJOR: the compiler of a CUDA toolkit of that release; fails where there is none.
find_nvcc() {
  local nvcc
  for nvcc in "${CUDACXX:-}" "${CUDA_HOME:-}/bin/nvcc" "${CUDA_PATH:-}/bin/nvcc" \
              "$(command -v nvcc || true)" /usr/local/cuda-"$1"*/bin/nvcc /usr/local/cuda/bin/nvcc; do
    [ -x "$nvcc" ] && "$nvcc" --version | grep -q "release $1\." || continue
    echo "$nvcc"
    return
  done
  return 1
}

nvcc=
if [ "$cuda" = 12 ] && ! nvcc=$(find_nvcc 12); then
  echo "setup.sh: no nvcc of CUDA 12 in CUDACXX, CUDA_HOME, PATH or /usr/local, and PyPI has none" >&2
  echo "setup.sh: load your cluster's (module load cuda/12) or install NVIDIA's package cuda-toolkit-12-8" >&2
  exit 1
fi
if [ -n "$cuda" ]; then
  declare -A oldest_driver=([12]=525 [13]=580)  # NVIDIA's CUDA Compatibility, minor version compatibility
  needed=${oldest_driver[$cuda]}
  driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -n 1) || driver=
  if [[ ! $driver =~ ^[0-9]+\. ]]; then
    echo "setup.sh: GPUs need an NVIDIA driver of $needed or newer for CUDA $cuda; there is none here"
  elif [ "${driver%%.*}" -lt "$needed" ]; then
    echo "setup.sh: the driver here is $driver, and CUDA $cuda needs $needed or newer: no GPU of this machine will" >&2
    echo "setup.sh: be found. Install a newer driver$([ "$cuda" = 12 ] || echo ', or build with --cuda=12')" >&2
  fi
fi

packages=(g++ cmake ninja-build ccache mold git python3 python3-pip python3-venv
          libopenmpi-dev openmpi-bin libhdf5-dev zlib1g-dev libboost-program-options-dev libboost-dev
          nlohmann-json3-dev libcereal-dev libprotobuf-dev protobuf-compiler libxxhash-dev libspdlog-dev
          libpcre2-dev libutf8proc-dev)
[ "$tests" = yes ] && packages+=(libgtest-dev libgmock-dev libbenchmark-dev clang-format clang-tidy clang-19 procps
                                hdf5-tools python3-jinja2 slurm-wlm slurm-wlm-basic-plugins munge
                                iproute2 bubblewrap g++-aarch64-linux-gnu qemu-user)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "setup.sh: installing ${missing[*]}"
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      echo "setup.sh: needs root or sudo to install ${missing[*]}" >&2
      echo "setup.sh: once they are there it needs neither" >&2
      exit 1
    }
    as_root=(sudo)
  fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# pip_into FOLDER WHAT ARGUMENTS...: what these arguments of pip install, into FOLDER, unless it is there.
pip_into() {
  local folder=$1 what=$2
  shift 2
  [ ! -f "$folder/complete" ] || return 0
  echo "setup.sh: installing $what into $folder"
  rm -rf "$folder" && mkdir -p "$folder"
  local flags=(--quiet --no-compile --target "$folder")
  # A system Python refuses pip unless told that --target leaves the system alone.
  python3 -m pip install --help | grep -q break-system-packages && flags+=(--break-system-packages)
  PIP_ROOT_USER_ACTION=ignore python3 -m pip install "${flags[@]}" "$@"
  touch "$folder/complete"
}

# LibTorch is the PyPI wheel. Without its dependencies it lacks the CUDA libraries (4 GB), which the
# CPU part does not use, except for the two small ones named here.
deps=${prefix:-build}/deps
torch=$deps/torch
if [ "$gpu_libraries" = yes ]; then
  torch=$deps/torch_gpu
  pip_into "$torch" "LibTorch with its CUDA libraries (3 GB)" torch==2.11.0
elif [ -z "$own_torch" ]; then
  pip_into "$torch" "LibTorch (0.5 GB)" --no-deps torch==2.11.0 nvidia-cuda-cupti nvidia-cuda-runtime
fi

# The CUDA toolkit and NCCL, of the releases that LibTorch's wheel of CUDA 13 names. Wheels leave out the names by which
# linkers ask for libraries.
cuda_options=()
if [ -n "$cuda" ]; then
  wheels_of_12=(nvidia-nccl-cu12==2.28.9)
  wheels_of_13=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
                nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-nvtx==13.0.85
                nvidia-nccl-cu13==2.28.9)
  declare -n wheels_of=wheels_of_$cuda
  toolkit=$deps/cuda$cuda
  pip_into "$toolkit" "what CUDA $cuda is compiled with" --no-deps "${wheels_of[@]}"
  toolkit=$(cd "$toolkit" && pwd)/nvidia
  if [ "$cuda" = 13 ]; then
    nvcc=$toolkit/cu13/bin/nvcc
    ln -sfn lib "$toolkit/cu13/lib64"
  fi
  for library in "$toolkit"/cu13/lib/libcudart.so.* "$toolkit"/nccl/lib/libnccl.so.*; do
    [ ! -f "$library" ] || ln -sf "${library##*/}" "${library%.so.*}.so"
  done
  cuda_options=(-DCMAKE_CUDA_COMPILER="$nvcc" -DORRERY_NCCL_INCLUDE="$toolkit/nccl/include"
                -DORRERY_NCCL_LIBRARY="$toolkit/nccl/lib/libnccl.so" -DORRERY_TORCH_DIR="${own_torch:-$(cd "$torch" && pwd)/torch}")
  [ "$tests" = yes ] || cuda_options+=(-DORRERY_TESTS=OFF)
fi

if [ "$tests" = yes ]; then
  # What tools/rewards/math_answer.py stands on. Only its own test finds it there: a job takes it from
  # the Python that it runs with.
  pip_into build/rewards math-verify math-verify==0.9.0
  # What docs/tutorial.md takes from PyPI, but torch: its test runs there with these.
  pip_into build/python "the Python packages of docs/tutorial.md" \
    transformers==5.24.0 h5py==3.16.0 jinja2==3.1.6
fi

if [ "$build" = yes ]; then
  preset=release
  [ -z "$cuda" ] || preset=cuda
  echo "setup.sh: building build/$preset/orrery"
  mkdir -p build
  # --fresh: CMake does not take another CUDA compiler for a folder that was configured with one.
  configure=(cmake --preset "$preset")
  [ -z "$cuda" ] || configure+=(--fresh "${cuda_options[@]}")
  [ -n "$cuda" ] || [ -z "$prefix" ] || configure+=(-DORRERY_TORCH_DIR="$torch/torch")
  "${configure[@]}" >build/configure.log || { cat build/configure.log >&2; exit 1; }
  cmake --build "build/$preset" --target orrery
  if [ -n "$prefix" ]; then
    install -D "build/$preset/orrery" "$prefix/bin/orrery"
    echo "setup.sh: installed $prefix/bin/orrery"
  fi
fi
echo "setup.sh: done"
