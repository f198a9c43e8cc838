#!/usr/bin/env python3
"""Runs a configuration with several values and seeds, and tells how they did.

    tools/sweep.py CONFIG --grid model.actor.lr=1e-5,3e-5 [--grid KEY=V1,V2]... [--seeds 1,2,3] [options]
    tools/sweep.py CONFIG --grid ... --slurm slurm/cpu_one_node.sbatch      writes a job array instead
    tools/sweep.py --table DIR                                              the table of a sweep so far

Every combination is a run of its own, DIR/NAME/POINT, and `orrery plan` has accepted all of them before the
first one starts. The same command goes on with what was stopped and skips what is done. The table has, for
each combination, the mean and the standard deviation over the seeds.

needs: Python 3, the program, mpirun (or Slurm)
"""
import argparse
import csv
import itertools
import json
import math
import os
import pathlib
import re
import shlex
import subprocess
import sys

STOPPED = 85  # the program's exit code for "stopped on purpose: start it again"
OWN_KEYS = {"experiment.seed": "--seeds", "experiment.name": "--name", "experiment.output_dir": "--output"}
METRICS = ["eval/accuracy", "eval/preference_accuracy", "eval/loss"]


def fail(text):
    sys.exit(f"sweep.py: {text}")


def listed(text):
    return [value for value in (piece.strip() for piece in text.split(",")) if value]


def refuse_own_keys(settings, option):
    """Each run has these keys from the sweep itself."""
    for key in (setting.partition("=")[0].strip() for setting in settings):
        if key in OWN_KEYS:
            fail(f"{option} {key}: a sweep sets this key of its runs; use {OWN_KEYS[key]}")


def grid_of(arguments):
    """[(key, [values])] of all --grid."""
    grid = []
    for argument in arguments:
        key, sign, values = argument.partition("=")
        if not sign or not key.strip() or not listed(values):
            fail(f"--grid must be KEY=VALUE,VALUE, got '{argument}'")
        if key.strip() in [known for known, _ in grid]:
            fail(f"--grid {key.strip()}: given twice")
        grid.append((key.strip(), listed(values)))
    return grid


def points_of(grid, seeds):
    """Every combination: [{name, values: {key: value}, seed}]."""
    points = []
    for values in itertools.product(*(choices for _, choices in grid)):
        chosen = dict(zip((key for key, _ in grid), values))
        for seed in seeds:
            parts = [f"{key.rsplit('.', 1)[-1]}-{value}" for key, value in chosen.items()] + [f"seed-{seed}"]
            points.append({"name": re.sub(r"[^A-Za-z0-9._+-]", "_", "_".join(parts)), "values": chosen, "seed": seed})
    names = [point["name"] for point in points]
    for name in names:
        if names.count(name) > 1:  # two keys with one last part, or one value twice
            fail(f"two points would be called '{name}': give each value once")
    return points


def sets_of(point, folder, further):
    """--set arguments of a point."""
    settings = [f"{key}={value}" for key, value in point["values"].items()]
    settings += [f"experiment.seed={point['seed']}", f"experiment.output_dir={folder}", f"experiment.name={point['name']}"]
    return [part for setting in further + settings for part in ("--set", setting)]


def check_points(program, config, points, folder, further, workers):
    """Has `orrery plan` look at every point as it will run; exits with what it says of the first that it refuses."""
    for point in points:
        command = [*program, "plan", config, "--workers", str(workers), *sets_of(point, folder, further)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            said = result.stderr.strip() or result.stdout.strip()
            fail(f"nothing was started: {point['name']} is refused (`orrery train --help` lists all keys)\n{said}")


def lines_that_count(path, seen=()):
    """Of a configuration and what it includes, without comments and blanks."""
    result = []
    for line in (line.strip() for line in path.read_text(errors="replace").split("\n")):
        if not line or line[0] in "#;":
            continue
        key, _, value = line.partition("=")
        included = re.match(r'"[^"]*"|.*?(?=\s[#;]|$)', value.strip()).group().strip().strip('"')
        if key.strip() == "include" and (path.parent / included).is_file() and included not in seen:
            result += lines_that_count(path.parent / included, (*seen, included))
        result.append(line)
    return result


def refuse_changed(folder, config, earlier, points):
    """Runs that are done stand for the configuration as it was."""
    done = [point["name"] for point in earlier["points"] if ending_of(folder / point["name"]) == 0]
    if done and earlier.get("lines", config) != config:
        changed = sorted(set(earlier["lines"]) ^ set(config))
        fail(f"the configuration, or what it includes, is not what {done[0]} ran with ({', '.join(changed[:3]) or 'another order'}): choose "
             f"another --name, or remove {folder}")
    keys = list(earlier["points"][0]["values"])
    if keys != list(points[0]["values"]):
        fail(f"{folder} is a sweep over {', '.join(keys) or 'seeds alone'}, and one table is of one grid: choose another --name")


def workers_of(template):
    """Model workers of a batch script: one task more is the master."""
    found = re.search(r"^#SBATCH --ntasks=(\d+)", template.read_text(), re.MULTILINE)
    return int(found.group(1)) - 1 if found else fail(f"{template}: no #SBATCH --ntasks; say how many workers with --workers")


def ending_of(run):
    """The exit code that a run's log ends with, or None."""
    log = run / "log.txt"
    if not log.is_file():
        return None
    lines = [line for line in log.read_text(errors="replace").split("\n") if line.strip()]
    found = re.search(r"exit code (\d+) \(", lines[-1]) if lines else None
    return int(found.group(1)) if found else None


def run_points(program, config, points, folder, further, workers):
    """One after another. Returns the names of those that failed."""
    failed = []
    environment = dict(os.environ, OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1"))
    if os.geteuid() == 0:
        environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    for number, point in enumerate(points, 1):
        run = folder / point["name"]
        if ending_of(run) == 0:
            print(f"[{number}/{len(points)}] {point['name']}: done before", flush=True)
            continue
        print(f"[{number}/{len(points)}] {point['name']}", flush=True)
        output = folder / f"{point['name']}.out"
        command = ["mpirun", "--oversubscribe", "-n", str(workers + 1), *program, "train", config, *sets_of(point, folder, further)]
        with output.open("a") as out:
            out.write(f"$ {shlex.join(command)}\n")
            out.flush()
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment).returncode
        if code == STOPPED:
            fail(f"{point['name']} was stopped on purpose; the same command goes on with it")
        if code != 0:
            print(f"  exit code {code}; see {output}", flush=True)
            failed.append(point["name"])
    return failed


def write_job_array(template, program, config, points, folder, further, workers):
    """sweep.sbatch and its points.tsv in `folder`, from one of the batch scripts in slurm/."""
    lines = template.read_text().split("\n")
    head = next((i for i, line in enumerate(lines) if line.startswith("#SBATCH")), None)
    body = next((i for i, line in enumerate(lines) if line.startswith("source slurm/environment.sh")), None)
    if head is None or body is None:
        fail(f"{template}: not one of the batch scripts in slurm/ (no #SBATCH or no 'source slurm/environment.sh')")
    table = folder / "points.tsv"
    table.write_text("".join("\t".join([config, *sets_of(point, folder, further)]) + "\n" for point in points))
    pick = ["# The arguments of this task's point.",
            f'mapfile -t -d $\'\\t\' arguments < <(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {shlex.quote(str(table))} | tr -d \'\\n\')',
            'set -- "${arguments[@]}"']
    if program != ["build/release/orrery"]:
        pick.append(f"export ORRERY_PROGRAM={shlex.quote(os.path.abspath(program[0]))}")
        lines[body:body + 1] = [*pick, lines[body]]
    else:
        lines[body:body + 1] = [lines[body], *pick]
    lines[head:head] = [f"#SBATCH --array=0-{len(points) - 1}"]
    text = "\n".join(lines).replace("%x-%j.out", "%x-%A_%a.out")
    if workers:
        text = re.sub(r"(#SBATCH --ntasks=)\d+.*", rf"\g<1>{workers + 1}", text)
    script = folder / "sweep.sbatch"
    script.write_text(text)
    return script


def last_values(run):
    """Last value of each metric of a run, and its last step; damaged lines are named."""
    values, step = {}, None
    path = run / "metrics.jsonl"
    if not path.is_file():
        return values, step
    whole, _, _ = path.read_bytes().decode(errors="replace").rpartition("\n")
    for number, line in enumerate(filter(None, whole.split("\n")), 1):
        try:
            row = json.loads(line)
            values.update({name: value for name, value in row["metrics"].items() if isinstance(value, (int, float))})
            step = max(step or 0, row["step"])
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
            print(f"sweep.py: {path}:{number}: damaged, left out", file=sys.stderr)
    return values, step


def mean_and_deviation(values):
    """Of a sample: the squares are divided by n - 1."""
    mean = sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else math.nan
    return mean, deviation


def table_of(folder, sweep, metrics):
    """Rows of texts, the heading first; also of every run alone as results.csv."""
    runs = []
    for point in sweep["points"]:
        values, step = last_values(folder / point["name"])
        runs.append({**point, "last": values, "step": step, "exit": ending_of(folder / point["name"])})
    if not metrics:
        known = set().union(*(run["last"] for run in runs))
        metrics = [name for name in METRICS if name in known] or sorted(name for name in known if name.endswith("/task_reward"))[:1] or \
            sorted(name for name in known if name.endswith("/loss"))[:1]
    keys = list(sweep["points"][0]["values"])
    with (folder / "results.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([*keys, "seed", "run", "step", "exit code", *metrics])
        for run in runs:
            writer.writerow([*run["values"].values(), run["seed"], run["name"], run["step"], run["exit"], *(run["last"].get(name) for name in metrics)])
    rows = [[*keys, "runs", *(text for name in metrics for text in (name, "deviation"))]]
    for values in dict.fromkeys(tuple(run["values"].values()) for run in runs):
        members = [run for run in runs if tuple(run["values"].values()) == values]
        done = [run for run in members if run["exit"] == 0]
        row = [*values, f"{len(done)} of {len(members)}"]
        for name in metrics:
            numbers = [run["last"][name] for run in done if name in run["last"]]
            mean, deviation = mean_and_deviation(numbers) if numbers else (math.nan, math.nan)
            row += ["-" if math.isnan(number) else f"{number:.4g}" for number in (mean, deviation)]
        rows.append(row)
    return rows


def print_table(folder, metrics):
    sweep = json.loads((folder / "sweep.json").read_text())
    rows = table_of(folder, sweep, metrics)
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    print()
    for row in rows:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f"\nlast values, mean and standard deviation over the seeds of runs that are done; each run: {folder / 'results.csv'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="Keys are those of `orrery train --help`.")
    parser.add_argument("config", nargs="?", help="the configuration that is varied")
    parser.add_argument("--grid", action="append", default=[], metavar="KEY=V1,V2", help="values of a key; several: all combinations")
    parser.add_argument("--seeds", default="1", metavar="S1,S2", help="values of experiment.seed for each combination")
    parser.add_argument("--set", action="append", default=[], dest="further", metavar="KEY=VALUE", help="for all runs")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs"), metavar="DIR", help="folder of sweeps (runs)")
    parser.add_argument("--name", help="of the sweep; without it sweep-CONFIG")
    parser.add_argument("--workers", type=int, default=0, help="model workers of a run (2; with --slurm as the template says)")
    parser.add_argument("--program", default="build/release/orrery")
    parser.add_argument("--slurm", type=pathlib.Path, metavar="TEMPLATE", help="write a job array from one of the scripts in slurm/; nothing is started")
    parser.add_argument("--metric", action="append", default=[], help="for the table; several times for several")
    parser.add_argument("--table", type=pathlib.Path, metavar="DIR", help="only print the table of the sweep in DIR")
    arguments = parser.parse_args()
    if arguments.table:
        if not (arguments.table / "sweep.json").is_file():
            fail(f"{arguments.table} is no sweep: there is no sweep.json")
        print_table(arguments.table, arguments.metric)
        return
    if not arguments.config:
        parser.error("CONFIG is missing")
    if not pathlib.Path(arguments.config).is_file():
        fail(f"{arguments.config}: no such file")
    program = [arguments.program]
    if not pathlib.Path(arguments.program).is_file():
        fail(f"{arguments.program}: no such file; build it, or say where it is with --program")
    seeds = listed(arguments.seeds)
    if not seeds or not all(re.fullmatch(r"\d+", seed) for seed in seeds):
        fail(f"--seeds must be numbers with commas, got '{arguments.seeds}'")
    refuse_own_keys(arguments.grid, "--grid")
    refuse_own_keys(arguments.further, "--set")
    points = points_of(grid_of(arguments.grid), seeds)
    folder = (arguments.output / (arguments.name or f"sweep-{pathlib.Path(arguments.config).stem}")).absolute()
    config = str(pathlib.Path(arguments.config).absolute())
    described = {"config": config, "set": arguments.further, "lines": lines_that_count(pathlib.Path(config)), "points": points}
    earlier = json.loads((folder / "sweep.json").read_text()) if (folder / "sweep.json").is_file() else described
    if (earlier["config"], earlier["set"]) != (config, arguments.further):
        fail(f"{folder} is a sweep of {earlier['config']} with --set {earlier['set']}: choose another --name")
    refuse_changed(folder, described["lines"], earlier, points)
    workers = arguments.workers or (workers_of(arguments.slurm) if arguments.slurm else 2)
    check_points(program, config, points, folder, arguments.further, workers)
    folder.mkdir(parents=True, exist_ok=True)
    named = {point["name"] for point in points}
    kept = [point for point in earlier["points"] if point["name"] not in named]
    (folder / "sweep.json").write_text(json.dumps({**described, "points": points + kept}, indent=1) + "\n")
    if arguments.slurm:
        script = write_job_array(arguments.slurm, program, config, points, folder, arguments.further, arguments.workers)
        print(f"{len(points)} runs; start them with\n  sbatch {script}\nand look at them with\n  tools/sweep.py --table {folder}")
        return
    failed = run_points(program, config, points, folder, arguments.further, workers)
    print_table(folder, arguments.metric)
    if failed:
        fail(f"{len(failed)} of {len(points)} runs failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
