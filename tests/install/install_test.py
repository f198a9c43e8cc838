"""What `cmake --install` leaves behind works without the build folder: the program runs, and a project
outside the tree finds the libraries, adds an interface and trains with it under mpirun.

    install_test.py --build BUILD --cmake CMAKE --generator GENERATOR --torch DIR
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROJECT = ROOT / "tests/install/project"
parser = argparse.ArgumentParser()
parser.add_argument("--build", type=pathlib.Path, required=True)
parser.add_argument("--cmake", required=True)
parser.add_argument("--generator", required=True)
parser.add_argument("--torch", required=True)
arguments = parser.parse_args()


def run(*command, cwd=None):
    done = subprocess.run([str(word) for word in command], cwd=cwd, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        there = pathlib.Path(cls.folder.name)
        cls.must(arguments.cmake, "--install", arguments.build, "--prefix", there / "first")
        # Elsewhere than it was installed to.
        cls.prefix = (there / "first").rename(there / "moved")
        cls.project = there / "project"

    @classmethod
    def must(cls, *command, cwd=None):
        status, output = run(*command, cwd=cwd)
        if status != 0:
            raise AssertionError(f"{command}: exit status {status}\n{output}")
        return output

    def configure(self, source, *definitions):
        return run(arguments.cmake, "-S", source, "-B", self.project, "-G", arguments.generator,
                   f"-DCMAKE_PREFIX_PATH={self.prefix}", *definitions)

    def test_the_program_runs_and_plans_a_shipped_configuration(self):
        output = self.must(self.prefix / "bin/orrery", "plan", self.prefix / "share/orrery/configs/grpo_tiny.cfg",
                           cwd=self.folder.name)
        self.assertIn("actor_train", output)

    def test_nothing_installed_names_the_build_folder_or_the_prefix(self):
        package = self.prefix / "lib/cmake/Orrery"
        self.assertTrue(package.is_dir())
        for path in package.iterdir():
            text = path.read_text().replace(arguments.torch, "")
            for folder in (str(arguments.build), str(ROOT), f"{self.folder.name}/first"):
                self.assertNotIn(folder, text, path.name)
        _, libraries = run("ldd", self.prefix / "bin/orrery")
        self.assertIn("libtorch_cpu.so", libraries)
        self.assertNotIn("not found", libraries)
        self.assertNotIn(str(arguments.build), libraries)

    def test_a_project_outside_trains_with_an_interface_of_its_own(self):
        shutil.rmtree(self.project, ignore_errors=True)
        status, output = self.configure(PROJECT)
        self.assertEqual(status, 0, output)
        self.must(arguments.cmake, "--build", self.project)
        self.must(ROOT / "tools/mpi_test.sh", 3, 120, self.project / "my_orrery", "train",
                  self.project / "short_answers.cfg", cwd=self.project)
        lines = (self.project / "runs/short_answers/metrics.jsonl").read_text().splitlines()
        metrics = [record["metrics"] for record in map(json.loads, lines)]
        lengths = [step["actor_gen/response_length"] for step in metrics if "actor_gen/response_length" in step]
        rewards = [step["reward/reward"] for step in metrics if "reward/reward" in step]
        self.assertEqual(len(rewards), 4)
        for length, reward in zip(lengths, rewards, strict=True):
            self.assertGreater(length, 0)
            self.assertAlmostEqual(reward, 1 - length / 12, places=6)

    def test_a_missing_dependency_is_named_with_where_it_comes_from(self):
        shutil.rmtree(self.project, ignore_errors=True)
        status, output = self.configure(PROJECT, "-DORRERY_TORCH_DIR=/nowhere",
                                        "-DCMAKE_DISABLE_FIND_PACKAGE_spdlog=ON")
        self.assertNotEqual(status, 0)
        self.assertIn("LibTorch, which is not in /nowhere", output)
        self.assertIn("spdlog (apt-get install libspdlog-dev)", output)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
