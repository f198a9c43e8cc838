"""tools/check_headers.sh finds a header that does not include what it uses."""
import pathlib
import subprocess
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools/check_headers.sh"


def check(text):
    with tempfile.TemporaryDirectory() as folder:
        header = pathlib.Path(folder) / "a.h"
        header.write_text(text)
        result = subprocess.run([SCRIPT, header], text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
    return result.returncode, result.stdout


class CheckHeaders(unittest.TestCase):
    def test_accepts_a_header_that_stands_alone(self):
        status, output = check("#pragma once\n#include <string>\ninline std::string a;\n")
        self.assertEqual(status, 0, output)

    def test_names_a_header_that_does_not(self):
        status, output = check("#pragma once\ninline std::string a;\n")
        self.assertEqual(status, 1, output)
        self.assertIn("a.h does not compile alone", output)


if __name__ == "__main__":
    unittest.main()
