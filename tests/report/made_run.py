"""Writes run directories as `orrery train` does, of any length, for tests of what reads them."""
import json
import math
import pathlib
import random

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
HOSTILE = ["</script><script>window.hacked = 1</script>", "<img src=x onerror='window.hacked = 1'>", "\u2028\u2029 {{data}} <!--",
           "\x1b[2J\x00 control", "𝕌nicode und Umläute"]
# Beside the shipped example: the resolved file has the same keys.
CONFIG = f"include = {REPOSITORY}/configs/grpo_tiny.cfg\n[experiment]\nname = %s\nseed = %d\n[model.actor]\nlr = %s\n"


def line(step, call, metrics):
    return json.dumps({"step": step, "time_s": 0.5 * step, "call": call, "metrics": metrics}) + "\n"


def write_metrics(path, steps, draw):
    with path.open("w") as out:
        for step in range(1, steps + 1):
            share = step / steps
            reward = 0.2 + 0.7 * (1 - math.exp(-4 * share)) + draw.gauss(0, 0.05)
            seconds = 0.4 + 0.1 * draw.random()
            out.write(line(step, "actor_gen", {
                "actor_gen/generated_tokens": 160, "actor_gen/response_length": 5 + draw.random(), "actor_gen/no_eos_ratio": 0.1 * draw.random(),
                "time/actor_gen/total": 0.5 * seconds, "time/actor_gen/main/max": 0.45 * seconds, "time/actor_gen/main/mean": 0.4 * seconds,
                "time/actor_gen/pre/param_realloc/max": 0.04 * seconds, "actor_gen/tokens_per_second": 300 / seconds}))
            out.write(line(step, "reward", {"reward/reward": reward, "reward/reward_min": 0, "reward/reward_max": 1, "reward/reward_std": 0.3,
                                            "time/reward/total": 0.05 * seconds, "time/reward/main/max": 0.04 * seconds}))
            train = {f"actor_train/{name}": draw.gauss(1, 0.2) * scale for name, scale in (
                ("loss", 0.1), ("grad_norm", 2), ("entropy", 1 - 0.8 * share), ("approx_kl", 1e-4), ("clip_fraction", 0.1), ("lr", 1e-4),
                ("actor_loss", 0.1), ("advantage", 0.01), ("importance_weight", 1), ("new_logp", -0.5), ("old_logp", -0.5))}
            if step % 97 == 0:
                train["actor_train/grad_norm"] = None
            train.update({"actor_train/task_reward": reward, "time/actor_train/total": 0.4 * seconds, "time/actor_train/main/max": 0.38 * seconds})
            out.write(line(step, "actor_train", train))
            out.write(line(step, None, {"time/step": seconds, "time/master": 0.01, "samples": 8, "epoch": step // 100, "flops": 1.5e9}))
            if step % max(1, steps // 10) == 0 or step == 1:
                out.write(line(step, None, {"eval/accuracy": min(1, reward), "eval/response_length": 5, "eval/n_prompts": 64, "time/evaluation": 0.2}))


def write_trace(path, steps, worker, draw):
    with path.open("w") as out:
        out.write('[\n{"ph":"M","name":"process_name","pid":%d,"tid":0,"args":{"name":"worker %d on node"}},\n' % (worker, worker))
        for step in range(1, steps + 1):
            start = step * 1_000_000
            for name, length in (("actor_gen", 180_000 + 40_000 * worker), ("reward", 20_000), ("actor_train", 150_000 + draw.randrange(20_000))):
                event = {"ph": "X", "name": name, "cat": "call", "ts": start, "dur": length, "pid": worker, "tid": 0,
                         "args": {"step": str(step), "call": name}}
                out.write(json.dumps(event) + ",\n")
                start += length + 1000
            out.write(json.dumps({"ph": "C", "name": "resident_bytes", "ts": start, "pid": worker,
                                  "args": {"value": 3e8 + 1e5 * min(step, 300)}}) + ",\n")


def write_samples(folder, steps, per_step, draw, log_probs, text_length):
    for step in range(1, steps + 1):
        with (folder / f"step-{step:08d}-rank-0.jsonl").open("w") as out:
            for i in range(per_step):
                prompt = f"{(step * 7 + i // 4) % 61}+{(i // 4) % 9}="
                sample = {"step": step, "id": step * 8 + i // 4, "member": i % 4, "prompt": prompt, "response": str(draw.randrange(100)),
                          "answer": "7", "reward": float(draw.random() < 0.2 + 0.7 * step / steps), "finish": draw.choice(["eos", "length"]),
                          "dataset": "additions", "record": {"line": (step * 7 + i // 4) % 61}}
                if text_length:
                    sample["response"] += " " + "lorem ipsum " * draw.randrange(text_length // 12)
                if i == 0:
                    sample["prompt"] = HOSTILE[step % len(HOSTILE)]
                if i == 1 and step == max(1, steps // 2):
                    sample["response"] = "the needle of this run"
                if i == 2 and step % 10 == 0:
                    sample["reward"], sample["failed"] = None, "timeout"
                if log_probs:
                    sample["tokens"] = list(sample["response"])
                    sample["logprobs"] = [-draw.expovariate(0.7) for _ in sample["tokens"]]
                out.write(json.dumps(sample) + "\n")


def make_run(root, steps=200, per_step=8, seed=1, lr="1e-3", workers=2, log_probs=False, text_length=0):
    """A run directory that has ended."""
    root = pathlib.Path(root)
    for folder in ("samples", "trace"):
        (root / folder).mkdir(parents=True)
    draw = random.Random(seed)
    (root / "config.cfg").write_text(CONFIG % (root.name, seed, lr))
    (root / "log.txt").write_text("2026-01-02T03:04:05.678 warning the reward did not change for 20 steps\n" * 3 +
                                  "2026-01-02T03:05:05.678 error worker 1: <b>stopped</b>\nits second line\n"
                                  "2026-01-02T03:06:05.678 info exit code 0 (done)\n")
    write_metrics(root / "metrics.jsonl", steps, draw)
    for worker in range(workers):
        write_trace(root / "trace" / f"worker-{worker}.json", steps, worker, draw)
    write_samples(root / "samples", steps, per_step, draw, log_probs, text_length)
    return root
