#!/usr/bin/env python3
"""What judging answers while others are generated saves, with a reward that takes 20 ms an answer.

    tools/bench_early_rewards.py [--orrery PROGRAM] [--turns N]      default: build/release/orrery, 3 turns

Runs GRPO of a 1 M parameter model with and without call.reward.while_generating, in turn, and prints the medians
over the steps but the first: generation and reward together, the reward's call alone, and the whole step. The reward
sleeps, so it wants no processor. cost: a minute or two on 2 cores
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
FUNCTION = """import time

def reward(records):
    time.sleep(0.02 * len(records))
    return [float(len(record["response"]) % 2) for record in records]
"""
SETS = ["experiment.total_steps=6", "call.reward.interface=command_reward", "call.reward.batch_size=2",
        "call.actor_gen.group_size=8", "call.actor_gen.max_new_tokens=240", "call.actor_gen.max_batch=2",
        "model.actor.n_layers=4", "model.actor.hidden_size=128", "model.actor.intermediate_size=384",
        "model.actor.max_positions=256", "export.at_end=false", "evaluate.every_steps=0", "evaluate.at_start=false",
        "evaluate.at_end=false"]


def run(program, folder, name, early):
    """Seconds of each step but the first: generation and reward, reward, all."""
    sets = [*SETS, f"call.reward.function={folder / 'slow.py'}:reward", f"call.reward.while_generating={early}",
            f"experiment.output_dir={folder}", f"experiment.name={name}"]
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                   "PMIX_MCA_psec": "native", "OMP_NUM_THREADS": "1"}
    subprocess.run(["mpirun", "--oversubscribe", "-n", "3", program, "train", str(REPOSITORY / "configs/grpo_tiny.cfg"),
                    "--resume", "off", *(word for text in sets for word in ("--set", text))],
                   check=True, capture_output=True, env=environment)
    rows = [json.loads(line)["metrics"] for line in (folder / name / "metrics.jsonl").read_text().splitlines()]

    def series(metric):
        return [row[metric] for row in rows if metric in row][1:]

    reward = series("time/reward/total")
    return {"generation and reward": [a + b for a, b in zip(series("time/actor_gen/total"), reward)], "reward": reward,
            "step": series("time/step"), "share": series("time/reward/judged_early_share"), "loss": series("actor_train/loss")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orrery", default=str(REPOSITORY / "build/release/orrery"))
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    found = {"false": [], "true": []}
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "slow.py").write_text(FUNCTION)
        for turn in range(arguments.turns):
            for early in found:
                found[early].append(run(arguments.orrery, folder, f"{early}-{turn}", early))
    for what in ("generation and reward", "reward", "step"):
        late, early = (statistics.median(x for one in found[key] for x in one[what]) for key in ("false", "true"))
        print(f"{what}: {late:.2f} s after generation, {early:.2f} s while generating: {late / early:.2f} x")
    shares = [share for one in found["true"] for share in one["share"]]
    print(f"judged while others were generated: {min(shares):.2f} to {max(shares):.2f} of the answers")
    losses = {tuple(one["loss"]) for runs in found.values() for one in runs}
    print("the losses of all runs are", "the same" if len(losses) == 1 else f"NOT the same: {losses}")


if __name__ == "__main__":
    main()
