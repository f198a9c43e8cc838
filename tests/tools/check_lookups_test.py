"""tools/check_lookups.py finds a lookup that takes what cannot be read for absent, and names its line."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools/check_lookups.py"


def check(name, text):
    with tempfile.TemporaryDirectory() as root:
        path = pathlib.Path(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        result = subprocess.run([sys.executable, SCRIPT, root], text=True, capture_output=True)
    return result.returncode, result.stdout


class CheckLookups(unittest.TestCase):
    def test_accepts_those_of_base(self):
        status, output = check("src/cli/a.cpp", "#include <fstream>  // ifstream\nbase::exists(path);\n"
                                                "// not std::filesystem::exists\n::fstat(handle, &status);\n")
        self.assertEqual(status, 0, output)

    def test_refuses_bare_ones(self):
        for line in ("fs::exists(path, ignored)", "std::filesystem::is_directory(path)", "fs::file_size(path)",
                     "for (auto& e : fs::directory_iterator(path, error))", "std::ifstream in(file)",
                     "::stat(name, &status)", "::access(name.c_str(), R_OK)"):
            status, output = check("src/model/a.cpp", "\n" + line + ";\n")
            self.assertEqual(status, 1, line)
            self.assertIn("src/model/a.cpp:2: ", output)

    def test_does_not_pass_for_want_of_files(self):
        self.assertEqual(check("README.md", "")[0], 1)


if __name__ == "__main__":
    unittest.main()
