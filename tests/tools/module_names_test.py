"""The programs in tools/ find Python's own library, whatever they are called themselves."""
import pathlib
import subprocess
import sys
import tempfile

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"

failed = 0
for program in sorted(TOOLS.glob("*.py")):
    with tempfile.TemporaryDirectory() as elsewhere:
        # As a program in tools/ does: its folder comes first.
        code = (f"import sys; sys.path.insert(0, {str(TOOLS)!r}); import {program.stem} as m, inspect, "
                "linecache, traceback; linecache.getline(linecache.__file__, 1)")
        done = subprocess.run([sys.executable, "-B", "-c", code], cwd=elsewhere, text=True,
                              capture_output=True)
    if done.returncode != 0:
        failed += 1
        print(f"{program.name}: {done.stderr.strip().splitlines()[-1]}")
print(f"{failed} failed")
sys.exit(failed != 0)
