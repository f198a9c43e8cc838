"""tools/setup.sh puts things where its options say, with stand-ins for the programs that it calls."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

SETUP = pathlib.Path(__file__).resolve().parents[2] / "tools/setup.sh"
STAND_INS = {
    "dpkg-query": 'echo "$PACKAGES"',
    "id": 'echo "$USER_ID"',
    "python3": 'echo "python3 $*" >>"$CALLS"',
    "cmake": 'echo "cmake $*" >>"$CALLS"; mkdir -p build/release; echo program >build/release/orrery',
}
NEEDED = ("bash", "env", "dirname", "mkdir", "rm", "touch", "cat", "grep", "sed", "install")  # and no sudo


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

    def setup(self, *arguments, packages="install ok installed", user_id="1000"):
        environment = {"PATH": str(self.root / "bin"), "CALLS": str(self.calls), "PACKAGES": packages, "USER_ID": user_id}
        done = subprocess.run([self.root / "tree/tools/setup.sh", *arguments], cwd=self.root, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

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

    def test_wrong_arguments_are_refused(self):
        for arguments in (["--prefix"], ["--prefix", "--tests"], ["--prefx", "mine"]):
            status, said = self.setup(*arguments)
            self.assertEqual(status, 2, said)


if __name__ == "__main__":
    unittest.main()
