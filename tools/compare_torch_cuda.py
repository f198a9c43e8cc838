#!/usr/bin/env python3
"""Compares the operators of the simulated GPU with those of LibTorch's real libtorch_cuda.so, without a GPU.

    tools/compare_torch_cuda.py [BUILD]     (default: build/cuda_check, with operator_probe built)

LibTorch's operators check their arguments and make their results on the host; only then do they launch.
Here they launch nothing: the simulated runtime skips kernels that it does not know, and every library
that libtorch_cuda.so needs besides is replaced by one whose functions do nothing, made from its list of
undefined symbols. So neither a GPU nor the 4 GB of CUDA wheels are needed, only the wheel of LibTorch
itself, as tools/setup.sh installs it.

Exit 0: the same answers to all that operator_probe asks, but for KNOWN. 1: not. 2: one of them could not be asked.
cost: seconds, and half a GB of memory
"""

import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TORCH = ROOT / "build" / "deps" / "torch" / "torch" / "lib"

# Bodies of functions that have to give something; all others return 0, success.
BODIES = {
    "cuCtxGetCurrent": "(void** context) { *context = (void*)16; return 0; }",
    "cuDevicePrimaryCtxGetState":
        "(int device, unsigned* flags, int* active) { *flags = 0; *active = 1; return 0; }",
    "cuGetErrorString": "(int error, const char** text) { *text = \"an error\"; return 0; }",
    "cublasCreate_v2": "(void** handle) { *handle = (void*)16; return 0; }",
    "cublasLtCreate": "(void** handle) { *handle = (void*)16; return 0; }",
    "cublasGetMathMode": "(void* handle, int* mode) { *mode = 0; return 0; }",
    "cublasGetPointerMode_v2": "(void* handle, int* mode) { *mode = 0; return 0; }",
    "cudaDeviceGetPCIBusId": "(char* id, int size) { strncpy(id, \"0000:01:00.0\", size); return 0; }",
    "cudaFuncGetAttributes":  # maxThreadsPerBlock, then versions of what it was compiled for
        "(int* a) { memset(a, 0, 64); a[6] = 1024; a[8] = a[9] = 90; return 0; }",
    "cudaGetSymbolAddress": "(const void** address, const void* symbol) { *address = symbol; return 0; }",
    "cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags": "(int* n) { *n = 2; return 0; }",
    "cudaPointerGetAttributes": "(int* a) { memset(a, 0, 24); a[0] = 2; return 0; }",  # of a device
}


# Where the simulated GPU is known to differ: what is asked, and why.
KNOWN = {
    "abs Bool": "the CPU's operator refuses it",
    "abs transposed": "results of operators that resize their own `out` are contiguous here",
    "logical_not transposed": "likewise",
    "or transposed": "likewise",
    "or both transposed": "likewise",
}

# Of the driver, whose libcuda.so.1 LibTorch opens by name.
DRIVER = {"cuInit", "cuCtxGetCurrent", "cuDevicePrimaryCtxGetState", "cuGetErrorString"}


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols_of(library, which):
    """(name, version or '') of a library's dynamic symbols."""
    lines = output_of("nm", "-D", which, str(library)).split("\n")
    words = [line.split()[-1] for line in lines if line.strip()]
    return [tuple((re.split("@+", word) + [""])[:2]) for word in words]


def needed_by(library):
    return re.findall(r"NEEDED.*\[(.*)\]", output_of("readelf", "-d", str(library)))


def versions_needed_by(library):
    """soname -> version of its symbols, of those that a library needs with one."""
    text = output_of("readelf", "-V", "-W", str(library))
    return dict(re.findall(r"File: (\S+) .*?\n.*?Name: (\S+) ", text))


def build_stub(folder, soname, functions, version):
    source = folder / (soname + ".c")
    source.write_text("#include <string.h>\n" + "".join(
        f"int {name}{BODIES.get(name, '(void) { return 0; }')}\n" for name in sorted(functions)))
    command = ["cc", "-shared", "-fPIC", "-w", str(source), "-o", str(folder / soname),
               f"-Wl,-soname,{soname}"]
    if version:
        script = folder / (soname + ".map")
        script.write_text(version + " { global: *; };\n")
        command.append(f"-Wl,--version-script={script}")
    subprocess.run(command, check=True)
    return folder / soname


def build_stubs(folder, simulated):
    """Libraries of functions that do nothing, for what LibTorch's CUDA half needs and lacks here."""
    real = TORCH / "libtorch_cuda.so"
    undefined = symbols_of(real, "--undefined-only")
    have = {name for name, _ in symbols_of(simulated / "libcudart.so", "--defined-only")}
    parts = (real, TORCH / "libtorch_nvshmem.so")
    versions = {k: v for part in parts for k, v in versions_needed_by(part).items()}
    sonames = {name for part in parts for name in needed_by(part)
               if re.match("lib(cu|nccl|nv)", name) and not name.startswith("libcudart")}
    stubs = [build_stub(folder, "libcuda.so.1", DRIVER, "")]
    for soname in sorted(sonames):
        version = versions.get(soname, "")
        functions = {n for n, v in undefined if version and v == version}
        stubs.append(build_stub(folder, soname, functions, version))
    runtime = next(name for name in needed_by(real) if name.startswith("libcudart"))
    rest = {n for n, v in undefined if v == versions[runtime] and n not in have}
    stubs.append(build_stub(folder, "librest_of_cudart.so", rest, versions[runtime]))
    unversioned = {n for n, v in undefined if not v and re.match("nccl|cusparse", n)}
    stubs.append(build_stub(folder, "librest.so", unversioned, ""))
    return stubs


def answers(build, libraries, **environment):
    """What operator_probe prints with these libraries in place of those it was linked with."""
    command = ["env", "LD_PRELOAD=" + ":".join(map(str, libraries)), f"LD_LIBRARY_PATH={TORCH}",
               "OMP_NUM_THREADS=1", *(f"{k}={v}" for k, v in environment.items()),
               str(build / "tests" / "simulated_gpu" / "operator_probe")]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0 or not run.stdout:
        print(f"compare_torch_cuda.py: no answer ({run.returncode}): {run.stderr[:2000]}")
        sys.exit(2)
    return run.stdout.splitlines()


def main():
    build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "cuda_check").resolve()
    simulated = build / "tests" / "simulated_gpu" / "cuda"
    with tempfile.TemporaryDirectory(dir=build) as folder:
        stubs = build_stubs(pathlib.Path(folder), simulated)
        real = answers(build, [simulated / "libcudart.so", *stubs], SIMULATED_GPU_DRY=1)
    here = answers(build, [simulated / "libcudart.so", simulated / "libtorch_cuda.so"])
    all_different = [(a, b) for a, b in zip(real, here) if a != b]
    different = [(a, b) for a, b in all_different if a.split(":")[0] not in KNOWN]
    for a, b in different:
        print(f"LibTorch:  {a}\nsimulated: {b}")
    gone = KNOWN.keys() - {a.split(":")[0] for a, _ in all_different}
    if gone:
        print("no longer different, to be removed from KNOWN: " + ", ".join(sorted(gone)))
    version = re.search("__version__ = '(.*)'", (TORCH.parent / "version.py").read_text()).group(1)
    print(f"{len(real)} answers of LibTorch {version}, {len(all_different)} of the simulated GPU differ, "
          f"{len(all_different) - len(different)} of them known")
    return 1 if different or gone or len(real) != len(here) else 0


if __name__ == "__main__":
    sys.exit(main())
