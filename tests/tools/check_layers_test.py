"""tools/check_layers.py finds an #include that its folder may not have, and names its line."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools/check_layers.py"


def check(files):
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = pathlib.Path(root) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        result = subprocess.run([sys.executable, SCRIPT, root], text=True, capture_output=True)
    return result.returncode, result.stdout


class CheckLayers(unittest.TestCase):
    def test_accepts_folders_before(self):
        status, output = check({"src/comm/a.cpp": '#include <mpi.h>\n#include "orrery/base/error.h"\n'
                                                  '#include "mpi_frames.h"\n'})
        self.assertEqual(status, 0, output)

    def assert_offence(self, files, text):
        status, output = check(files)
        self.assertEqual(status, 1, output)
        self.assertIn(text, output)

    def test_refuses_a_folder_after(self):
        self.assert_offence({"include/orrery/graph/a.h": '#pragma once\n#include "orrery/data/b.h"\n'},
                            "include/orrery/graph/a.h:2: graph may not use data")

    def test_keeps_master_and_worker_apart(self):
        self.assert_offence({"src/master/a.cpp": '#include "orrery/worker/b.h"\n'},
                            "src/master/a.cpp:1: master may not use worker")
        self.assert_offence({"src/worker/a.cpp": '#include "orrery/master/b.h"\n'},
                            "src/worker/a.cpp:1: worker may not use master")

    def test_keeps_tensors_from_the_master(self):
        self.assert_offence({"src/master/a.cpp": "#include <ATen/core/Tensor.h>\n"},
                            "src/master/a.cpp:1: master may not see tensors")
        self.assert_offence({"src/master/a.cpp": '#include "orrery/model/decoder.h"\n'},
                            "src/master/a.cpp:1: master may not use model")

    def test_refuses_another_folders_private_header(self):
        self.assert_offence({"src/worker/a.cpp": '#include "../comm/mpi_frames.h"\n'},
                            "src/worker/a.cpp:1: worker may not see a private header of comm")

    def test_refuses_a_folder_that_is_not_in_the_table(self):
        self.assert_offence({"src/utils/a.cpp": "\n"}, "src/utils/a.cpp:1: unknown folder utils")

    def test_does_not_pass_for_want_of_files(self):
        self.assertEqual(check({"README.md": ""})[0], 1)


if __name__ == "__main__":
    unittest.main()
