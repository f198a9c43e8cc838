#!/usr/bin/env python3
"""Makes the Markdown of docs/performance.md from a report of tools/gpu_check.sh.

    tools/gpu_check/table.py gpu-report.json

Refused (exit code 2): a report of a simulated GPU, whose times mean nothing; one of another schema; a file that
is no report.
"""
import json
import sys

SCHEMA = 1


def fail(text):
    print(f"table.py: {text}", file=sys.stderr)
    sys.exit(2)


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        marks = [report["simulated"], *(figure["simulated"] for figure in report["figures"])]
        schema = report["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        fail(f"{path}: not a report of tools/gpu_check.sh: {error!r}")
    if schema != SCHEMA:
        fail(f"{path}: schema {schema}, expected {SCHEMA}")
    if any(mark is not False for mark in marks):
        fail(f"{path}: of a simulated GPU: its figures are no measurements")
    return report


def number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def version(cuda):
    return f"{cuda // 1000}.{cuda % 1000 // 10}"


def row(figure):
    shape = ", ".join(f"{name} {value}" for name, value in figure["shape"].items())
    what = figure["name"].replace("_", " ") + (f": {shape}" if shape else "")
    value = f"{number(figure['value'])} {figure['unit']}" if "value" in figure else figure["outcome"]
    reference = figure.get("reference")
    against = f"{number(reference['value'])} {figure['unit']}, {reference['name']}" if reference else ""
    ratio = f"{figure['ratio']:.2f}" if "ratio" in figure else ""
    difference = figure.get("difference")
    compared = f"{difference:.1g} of {figure['allowed_difference']:.1g}" if difference is not None else ""
    peak = f"peak of memory {figure['peak_gb']:.3g} GB" if "peak_gb" in figure else ""
    remark = figure.get("why", peak)
    return f"| {what} | {value} | {against} | {ratio} | {compared} | {remark} |"


def markdown(report):
    machine = report["machine"]
    yield (f"`tools/gpu_check.sh` of commit {report['commit']} on {machine['gpu']} "
           f"({machine['memory_bytes'] / 1e9:.0f} GB, {machine['multiprocessors']} multiprocessors), driver "
           f"{machine['driver']}, CUDA {version(machine['cuda_of_runtime'])}, {report['made']}: {report['outcome']}.")
    yield ""
    yield "| what | figure | against | ratio | difference to the CPU, allowed | remark |"
    yield "| --- | --- | --- | --- | --- | --- |"
    yield from map(row, report["figures"])
    yield ""
    yield "| part | outcome | remark |"
    yield "| --- | --- | --- |"
    for part in report["parts"]:
        yield f"| {part['name']} | {part['outcome']} | {part.get('why', '')} |"


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    print("\n".join(markdown(read(sys.argv[1]))))


if __name__ == "__main__":
    main()
