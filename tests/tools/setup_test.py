"""tools/setup.sh puts things where its options say, with stand-ins for the programs that it calls."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

SETUP = pathlib.Path(__file__).resolve().parents[2] / "tools/setup.sh"
TUTORIAL = SETUP.parents[1] / "docs/tutorial.md"
# As pip does, it leaves libraries without the names that linkers ask for.
PIP = """echo "python3 $*" >>"$CALLS"
case $* in
  *nvidia-nccl*)
    while [ "$1" != --target ]; do shift; done
    mkdir -p "$2"/nvidia/{cu13,nccl}/lib
    touch "$2"/nvidia/cu13/lib/libcudart.so.13 "$2"/nvidia/nccl/lib/libnccl.so.2 ;;
esac"""
STAND_INS = {
    "dpkg-query": 'echo "$PACKAGES"',
    "id": 'echo "$USER_ID"',
    "python3": PIP,
    "cmake": 'echo "cmake $*" >>"$CALLS"; mkdir -p build/{release,cuda}; echo program | tee build/{release,cuda}/orrery >/dev/null',
    "nvidia-smi": '[ -n "$DRIVER" ] && echo "$DRIVER"',
}
NEEDED = ("bash", "env", "dirname", "mkdir", "rm", "touch", "cat", "grep", "sed", "install", "ln", "head", "tee")  # and no sudo


class Setup(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.root = pathlib.Path(temporary.name)
        self.calls = self.root / "calls"
        (self.root / "bin").mkdir()
        for name, text in STAND_INS.items():
            (self.root / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
            (self.root / "bin" / name).chmod(0o755)
        for name in NEEDED:
            (self.root / "bin" / name).symlink_to(shutil.which(name))
        (self.root / "tree/tools").mkdir(parents=True)
        shutil.copy(SETUP, self.root / "tree/tools/setup.sh")

    def setup(self, *arguments, packages="install ok installed", user_id="1000", driver="", cuda_home=""):
        environment = {"PATH": str(self.root / "bin"), "CALLS": str(self.calls), "PACKAGES": packages, "USER_ID": user_id,
                       "DRIVER": driver, "CUDA_HOME": cuda_home}
        done = subprocess.run([self.root / "tree/tools/setup.sh", *arguments], cwd=self.root, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def torch_of(self, cuda, release="2.11.0"):
        folder = self.root / f"torch{cuda}"
        folder.mkdir(exist_ok=True)
        (folder / "version.py").write_text(f"__version__ = '{release}+cu'\ncuda: Optional[str] = '{cuda}'\n")
        return str(folder)

    def test_without_a_prefix_everything_stays_in_the_tree(self):
        status, said = self.setup()

        self.assertEqual(status, 0, said)
        self.assertTrue((self.root / "tree/build/deps/torch/complete").exists())
        self.assertNotIn("ORRERY_TORCH_DIR", self.calls.read_text())

    def test_with_a_prefix_libtorch_and_program_are_there_and_nothing_needs_root(self):
        status, said = self.setup("--prefix", "mine/orrery")

        self.assertEqual(status, 0, said)
        prefix = (self.root / "mine/orrery").resolve()
        self.assertTrue((prefix / "deps/torch/complete").exists())
        self.assertFalse((self.root / "tree/build/deps").exists())
        self.assertIn(f"--target {prefix}/deps/torch", self.calls.read_text())
        self.assertIn(f"-DORRERY_TORCH_DIR={prefix}/deps/torch/torch", self.calls.read_text())
        self.assertTrue(os.access(prefix / "bin/orrery", os.X_OK))

    def test_packages_that_are_missing_are_named_where_nobody_may_install_them(self):
        status, said = self.setup("--prefix", "mine", packages="unknown")

        self.assertEqual(status, 1)
        self.assertRegex(said, "needs root or sudo to install .*libopenmpi-dev")
        self.assertFalse(self.calls.exists())

    def test_what_the_tutorial_makes_its_environment_with_is_among_the_packages(self):
        self.assertIn("python3 -m venv", TUTORIAL.read_text())

        said = self.setup(packages="unknown")[1]

        self.assertRegex(said, r"to install .*\bpython3-venv\b")

    def test_wrong_arguments_are_refused(self):
        for arguments in (["--prefix"], ["--prefix", "--tests"], ["--prefx", "mine"], ["--cuda"], ["--cuda=11"],
                          ["--gpu-libraries"], ["--cuda=12", "--gpu-libraries"], ["--torch", "nowhere"], ["--cuda=12"],
                          ["--cuda=12", "--torch", self.torch_of("13.0")],
                          ["--cuda=12", "--torch", self.torch_of("12.9", release="2.10.0")], ["--torch", self.torch_of("12.8")]):
            status, said = self.setup(*arguments)
            self.assertEqual(status, 2, said)

    def test_for_cuda_13_compiler_and_nccl_are_pypis_and_linkers_find_them(self):
        status, said = self.setup("--cuda=13", "--prefix", "mine")

        self.assertEqual(status, 0, said)
        toolkit = (self.root / "mine/deps/cuda13/nvidia").resolve()
        self.assertTrue((toolkit / "cu13/lib64/libcudart.so").exists())
        calls = self.calls.read_text()
        for wheel in ("nvidia-cuda-nvcc==13.", "nvidia-nvtx==13."):
            self.assertIn(wheel, calls)
        self.assertIn("--preset cuda", calls)
        self.assertIn(f"-DCMAKE_CUDA_COMPILER={toolkit}/cu13/bin/nvcc", calls)
        self.assertIn(f"-DORRERY_NCCL_LIBRARY={toolkit}/nccl/lib/libnccl.so", calls)
        self.assertTrue((toolkit / "nccl/lib/libnccl.so").exists())
        self.assertTrue(os.access(self.root / "mine/bin/orrery", os.X_OK))

    def test_for_cuda_12_compiler_and_libtorch_are_the_machines(self):
        nvcc = self.root / "cuda/bin/nvcc"
        nvcc.parent.mkdir(parents=True)
        nvcc.write_text("#!/bin/bash\necho 'Cuda compilation tools, release 12.8, V12.8.93'\n")
        nvcc.chmod(0o755)

        status, said = self.setup("--cuda=12", "--torch", self.torch_of("12.8"), cuda_home=str(self.root / "cuda"))

        self.assertEqual(status, 0, said)
        calls = self.calls.read_text()
        self.assertIn(f"-DCMAKE_CUDA_COMPILER={nvcc}", calls)
        self.assertIn("nvidia-nccl-cu12", calls)
        self.assertNotIn("torch==", calls)
        self.assertIn(f"-DORRERY_TORCH_DIR={self.torch_of('12.8')}", calls)

    def test_for_cuda_12_a_compiler_of_13_is_none(self):
        nvcc = self.root / "bin/nvcc"
        nvcc.write_text("#!/bin/bash\necho 'Cuda compilation tools, release 13.0, V13.0.88'\n")
        nvcc.chmod(0o755)

        status, said = self.setup("--cuda=12", "--torch", self.torch_of("12.8"))

        self.assertEqual(status, 1)
        self.assertIn("no nvcc of CUDA 12", said)
        self.assertFalse(self.calls.exists())

    def test_with_gpu_libraries_libtorch_comes_with_its_dependencies(self):
        status, said = self.setup("--cuda=13", "--gpu-libraries", "--no-build")

        self.assertEqual(status, 0, said)
        line = next(line for line in self.calls.read_text().splitlines() if "torch==2.11.0" in line)
        self.assertIn("--target build/deps/torch_gpu", line)
        self.assertNotIn("--no-deps", line)

    def test_a_driver_that_is_too_old_for_the_cuda_release_is_named_with_what_to_do(self):
        for driver, says in (("550.54.15", "the driver here is 550.54.15, and CUDA 13 needs 580 or newer"),
                             ("580.65.06", None), ("", "GPUs need an NVIDIA driver of 580 or newer for CUDA 13")):
            status, said = self.setup("--cuda=13", "--no-build", driver=driver)
            self.assertEqual(status, 0, said)
            self.assertIn(says, said) if says else self.assertNotIn("driver", said)
        self.assertIn("--cuda=12", self.setup("--cuda=13", "--no-build", driver="550.54.15")[1])


if __name__ == "__main__":
    unittest.main()
