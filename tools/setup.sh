#!/usr/bin/env bash
# Installs what Orrery needs and builds the release program, build/release/orrery. Idempotent: a
# second run finds everything there and takes seconds.
#
#   tools/setup.sh [--prefix DIR] [--no-build] [--tests]
#
# cost: the first time about 0.6 GB of downloads and some minutes of building on 2 cores
# needs: Debian 12 or Ubuntu 24.04; root or sudo if packages are missing; Debian's and PyPI's packages
#   --prefix DIR  LibTorch goes into DIR/deps instead of build/deps, and the program is installed into
#                 DIR as well: DIR/bin/orrery
#   --no-build    install what is needed only
#   --tests       also what the tests and checks need
set -euo pipefail

build=yes tests=no prefix=
while [ $# -gt 0 ]; do
  case $1 in
    --no-build) build=no ;;
    --tests) tests=yes ;;
    --prefix)
      case ${2:-} in
        '' | -*) echo "setup.sh: --prefix needs a folder" >&2; exit 2 ;;
      esac
      mkdir -p "$2"
      prefix=$(cd "$2" && pwd)
      shift ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "setup.sh: unknown argument '$1'; try --help" >&2; exit 2 ;;
  esac
  shift
done
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build ccache mold git python3 python3-pip libopenmpi-dev openmpi-bin
          libhdf5-dev zlib1g-dev libboost-program-options-dev libboost-dev nlohmann-json3-dev libcereal-dev
          libprotobuf-dev protobuf-compiler libxxhash-dev libspdlog-dev
          libpcre2-dev libutf8proc-dev)
[ "$tests" = yes ] && packages+=(libgtest-dev libgmock-dev libbenchmark-dev clang-format clang-tidy procps
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
torch=${prefix:-build}/deps/torch
pip_into "$torch" "LibTorch (0.5 GB)" --no-deps torch==2.11.0 nvidia-cuda-cupti nvidia-cuda-runtime

if [ "$tests" = yes ]; then
  # What tools/rewards/math_answer.py stands on. Only its own test finds it there: a job takes it from
  # the Python that it runs with.
  pip_into build/rewards math-verify math-verify==0.9.0
  # What docs/tutorial.md takes from PyPI, but torch: its test runs there with these.
  pip_into build/python "the Python packages of docs/tutorial.md" \
    transformers==5.24.0 h5py==3.16.0 jinja2==3.1.6
fi

if [ "$build" = yes ]; then
  echo "setup.sh: building build/release/orrery"
  mkdir -p build
  configure=(cmake --preset release)
  [ -z "$prefix" ] || configure+=(-DORRERY_TORCH_DIR="$torch/torch")
  "${configure[@]}" >build/configure.log || { cat build/configure.log >&2; exit 1; }
  cmake --build build/release --target orrery
  if [ -n "$prefix" ]; then
    install -D build/release/orrery "$prefix/bin/orrery"
    echo "setup.sh: installed $prefix/bin/orrery"
  fi
fi
echo "setup.sh: done"
