"""What slurm/gpu_*.sbatch ask Slurm for, and how they start their tasks, with a stand-in for srun."""
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path.name for path in (ROOT / "slurm").glob("gpu_*.sbatch"))


def options(script):
    """{name: value} of its #SBATCH lines."""
    lines = re.findall(r"^#SBATCH --([a-z-]+)=?(\S*)", (ROOT / "slurm" / script).read_text(), re.MULTILINE)
    return dict(lines)


def started_with(script, *arguments):
    """The words of srun."""
    with tempfile.TemporaryDirectory() as folder:
        srun = pathlib.Path(folder) / "srun"
        srun.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
        srun.chmod(0o755)
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(ROOT),
                       "ORRERY_PROGRAM": "orrery"}
        environment.pop("SLURM_JOB_ID", None)
        environment.pop("ORRERY_COMMAND", None)
        done = subprocess.run(["bash", ROOT / "slurm" / script, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


class GpuBatchScripts(unittest.TestCase):
    def test_are_for_one_node_and_for_many(self):
        self.assertEqual(SCRIPTS, ["gpu_many_nodes.sbatch", "gpu_one_node.sbatch"])

    def test_ask_for_a_task_a_gpu_and_one_for_the_master_on_the_first_node(self):
        for script in SCRIPTS:
            asked = options(script)
            gpus, nodes = int(asked["gpus-per-node"]), int(asked["nodes"])
            self.assertEqual(int(asked["ntasks"]), gpus * nodes + 1, script)
            if nodes > 1:
                self.assertEqual(int(asked["ntasks-per-node"]), gpus + 1, script)
                self.assertEqual(asked["distribution"], "block", script)

    def test_give_gpus_and_cores_to_nodes_and_not_to_tasks(self):
        for script in SCRIPTS:
            words = started_with(script, "CONFIG")
            self.assertIn("--cpu-bind=none", words, script)
            self.assertIn("--gpu-bind=none", words, script)
            asked = {*words, *(f"--{name}" for name in options(script))}
            self.assertFalse([word for word in asked if re.match("--(gpus-per-task|ntasks-per-gpu|gpu-bind=[^n])", word)], script)

    def test_hand_their_arguments_to_the_program(self):
        for script in SCRIPTS:
            words = started_with(script, "CONFIG", "--set", "experiment.seed=1")
            self.assertEqual(words[words.index("orrery"):], ["orrery", "train", "CONFIG", "--set", "experiment.seed=1"], script)


if __name__ == "__main__":
    unittest.main()
