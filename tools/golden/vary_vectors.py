#!/usr/bin/env python3
"""A second set of golden vectors of the same schema, to see that the tests take what they have not seen.

    tools/golden/vary_vectors.py OUT [--seed N]
    ORRERY_GOLDEN_DIR=OUT/golden ORRERY_OBJECTIVES_DIR=OUT/golden_objectives ctest --test-dir build/dev -L golden

OUT/golden gets the files of tests/golden with other names of cases in another order, optional fields
left out, unknown tags (some on cases whose numbers were changed), sections that are empty or gone,
and new cases: other sizes, single and empty batches, numbers that are not finite, an error of every
kind. The expected numbers of new cases are computed here from the formulas in tests/golden/README.md.
"""

import argparse
import copy
import json
import math
import pathlib
import random

ROOT = pathlib.Path(__file__).resolve().parents[2] / "tests"
NO_LIMIT = 10**12


def f32(x):
    import struct

    return struct.unpack("f", struct.pack("f", x))[0]


def ffd(values, capacity, min_groups):
    """The rule of datapack.json; None where it is an error."""
    if any(v > capacity or v < 0 for v in values) or len(values) < min_groups or (values and min_groups < 1):
        return None
    groups, sums = [], []
    for i in sorted(range(len(values)), key=lambda i: -values[i]):
        fits = [g for g in range(len(groups)) if sums[g] + values[i] <= capacity]
        if len(groups) < min_groups or not fits:
            groups.append([i])
            sums.append(values[i])
            continue
        best = min(fits, key=lambda g: (len(groups[g]), sums[g], g))
        groups[best].append(i)
        sums[best] += values[i]
    return groups, sums


def new_ffd(r):
    for _ in range(40):
        values = [r.randint(0, 50) for _ in range(r.choice([0, 1, 2, 7, 33]))]
        capacity, k = r.choice([50, 60, 200, NO_LIMIT, 20]), r.choice([1, 2, 5])
        got = ffd(values, capacity, k)
        expect = {"error": "AnyError"} if got is None else {
            "groups": got[0], "sums": got[1], "groups_sorted": sorted(sorted(g) for g in got[0])}
        yield {"values": values, "capacity": capacity, "min_groups": k, "expect": expect}


def new_dispatch(r):
    for i in range(30):
        n, dp, generates = r.choice([1, 2, 5, 17]), r.choice([1, 2, 3, 6]), r.random() < 0.5
        lens = [[r.randint(0, 40) for _ in range(r.choice([1, 1, 3]))] for _ in range(n)]
        case = {"dp_size": dp, "is_generate": generates, "ids": [f"x{i}_{j}" for j in range(n)],
                "seqlens": [["packed_input_ids", lens], ["rewards", [[1] * len(x) for x in lens]]],
                "buf_indices": r.sample(range(100), n)}
        totals = {k: [sum(x) for x in v] for k, v in case["seqlens"]}
        key = max(totals, key=lambda k: sum(totals[k]))
        got = ffd([1] * n if generates else totals[key], NO_LIMIT, dp)
        if got is None:
            case["expect"] = {"error": "AnyError"}
        else:
            parts = sorted(sorted(g) for g in got[0])
            order = [i for p in parts for i in p]
            ends = [sum(len(p) for p in parts[: k + 1]) for k in range(dp)]
            case["expect"] = {
                "split_key": key, "order": order, "partitions": [[e - len(p), e] for e, p in zip(ends, parts)],
                "ids": [case["ids"][i] for i in order], "buf_indices": [case["buf_indices"][i] for i in order],
                "tokens": [sum(totals[key][i] for i in p) for p in parts],
                "seqlens": [[k, [v[i] for i in order]] for k, v in case["seqlens"]]}
        yield case


def new_flops(r):
    for _ in range(12):
        model = {"n_layers": r.randint(0, 90), "hidden_dim": r.randint(1, 9000),
                 "intermediate_dim": r.randint(1, 30000), "vocab_size": r.randint(1, 200000)}
        lens = [r.randint(0, 100000) for _ in range(r.choice([0, 1, 4]))]
        layers, h = model["n_layers"], model["hidden_dim"]
        token = layers * (8 * h * h + 6 * h * model["intermediate_dim"]) + 4 * model["vocab_size"] * h
        total = sum(n * token + 4 * layers * n * n * h for n in lens)
        yield {"model": model, "batch_size": len(lens), "seqlens": lens, "expect": {"flops": str(total)}}


def new_gae(r):
    for _ in range(12):
        lens = [r.choice([0, 1, 2, 9]) for _ in range(r.choice([1, 3]))]
        gamma, lam = r.choice([1.0, 0.99, 0.5]), r.choice([1.0, 0.95, 0.0])
        rewards = [f32(r.gauss(0, 1)) for _ in range(sum(lens))]
        values = [f32(r.gauss(0, 1)) for _ in range(sum(lens) + len(lens))]
        boot = [r.randint(0, 1) for _ in lens]
        adv, ret, begin = [0.0] * len(rewards), [0.0] * len(rewards), 0
        for i, n in enumerate(lens):
            following = 0.0
            for t in reversed(range(n)):
                v = values[begin + i : begin + i + n + 1]
                after = v[t + 1] * (boot[i] if t + 1 == n else 1)
                following = rewards[begin + t] + gamma * after - v[t] + gamma * lam * following
                adv[begin + t], ret[begin + t] = following, following + v[t]
            begin += n
        cu = [sum(lens[:k]) for k in range(len(lens) + 1)]
        yield {"reward_lens": lens, "cu_seqlens": cu, "gamma": gamma, "lam": lam, "bootstrap": boot,
               "rewards": rewards, "values": values, "expect": {"advantages": adv, "returns": ret}}
    yield {"reward_lens": [2], "cu_seqlens": [0, 2], "gamma": 1.0, "lam": 1.0, "bootstrap": [0],
           "rewards": ["inf", 1.0], "values": [0.0, 0.0, 0.0],
           "expect": {"advantages": ["inf", 1.0], "returns": ["inf", 1.0]}}
    yield {"reward_lens": [2], "cu_seqlens": [0, 2], "gamma": 1.0, "lam": 1.0, "bootstrap": [0],
           "rewards": [1.0, "nan"], "values": [0.0, 0.0, 0.0],
           "expect": {"advantages": ["nan", "nan"], "returns": ["nan", "nan"]}}


def new_normalization(r):
    for i in range(20):
        n = r.choice([2, 5, 40])
        middle, spread = r.choice([(0, 1), (1e6, 0.25), (-50, 3), (1000, 0.125)])
        x = [f32(middle + spread * r.gauss(0, 1)) for _ in range(n)]
        mask = None if i % 3 == 0 else [1, 1] + [r.randint(0, 1) for _ in range(n - 2)]
        chosen = [a for a, m in zip(x, mask or [1] * n) if m]
        unbiased = r.random() < 0.5
        mean = math.fsum(chosen) / len(chosen)
        var = math.fsum((a - mean) ** 2 for a in chosen) / (len(chosen) - unbiased)
        y = [((a if m else 0.0) - mean) / (math.sqrt(var) + 1e-5) for a, m in zip(x, mask or [1] * n)]
        yield {"x": x, "mask": mask, "unbiased": unbiased, "high_precision": True, "eps": 1e-5, "expect": {"y": y}}


def new_kl(r):
    for _ in range(6):
        value, target, horizon = 0.2, r.uniform(1, 8), r.choice([1000, 10000])
        case = {"type": "adaptive", "init": value, "target": target, "horizon": horizon, "steps": []}
        for _ in range(5):
            current, n = r.uniform(-1, 20), r.randint(1, 64)
            value *= 1 + min(max(current / target - 1, -0.2), 0.2) * n / horizon
            case["steps"].append({"current": current, "n_steps": n, "value_after": value})
        yield case


def new_stats(r):
    yield {"per_rank": [{"a": 1.0, "b": "nan"}, {"a": 3.0, "b": 2.0}], "expect": {"stats": {"a": 2.0, "b": "nan"}}}
    yield {"per_rank": [{"a": "inf"}, {"a": 3.0}], "expect": {"stats": {"a": "inf"}}}


def new_sizes(r):
    for bs, n in [(0, 1), (0, 3), (1, 1), (1, 4), (7, 3), (64, 5)]:
        yield {"op": "ppo_minibatch_sizes", "inputs": [], "args": {"bs": bs, "n_minibatches": n},
               "expect": {"sizes": [bs // n + (i < bs % n) for i in range(n)]}}
    yield {"op": "no_such_operation", "inputs": [], "args": {}, "expect": {"sizes": []}}


NEW = {("datapack.json", "ffd_allocate"): new_ffd, ("dispatch.json", "data_parallel_dispatch"): new_dispatch,
       ("flops.json", "forward"): new_flops, ("gae.json", "packed"): new_gae,
       ("ppo_prepare.json", "masked_normalization"): new_normalization, ("kl_controller.json", "cases"): new_kl,
       ("stats.json", "gather_stat"): new_stats, ("sequence_sample.json", "cases"): new_sizes}
# Fields that may be left out where they hold what the README gives as their default.
DEFAULTS = {"mask": None, "proximal_logprobs": None, "c_clip": None, "behav_imp_weight_cap": None,
            "loss_mask": None, "temperature": None, "early_stop_imp_ratio": None, "early_stop_kl": None}


def shuffled(r, value):
    """The same with the members of its objects in another order."""
    if isinstance(value, dict):
        return dict(r.sample([(k, shuffled(r, v)) for k, v in value.items()], len(value)))
    return [shuffled(r, v) for v in value] if isinstance(value, list) else value


def spoiled(value):
    """The same with other numbers."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, list):
        return [spoiled(v) for v in value]
    return {k: spoiled(v) for k, v in value.items()}


def varied_cases(r, cases):
    cases = copy.deepcopy(cases)
    r.shuffle(cases)
    for i, case in enumerate(cases):
        case["name"] = f"other {i}" if i % 5 else i
        for field, default in DEFAULTS.items():
            if field in case and case[field] is default and r.random() < 0.5:
                del case[field]
        if isinstance(case.get("eos_token_id"), int) and i % 2:
            case["eos_token_id"] = [case["eos_token_id"]]
        if "quirk" not in case and i % 7 == 3:
            case["quirk"] = "never-heard-of"
            if i % 2 and isinstance(case.get("expect"), dict) and "error" not in case["expect"]:
                case["expect"] = spoiled(case["expect"])
    return [shuffled(r, c) for c in cases]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    r = random.Random(arguments.seed)
    for folder in ("golden", "golden_objectives"):
        to = arguments.out / folder
        to.mkdir(parents=True, exist_ok=True)
        for path in sorted((ROOT / folder).glob("*.json")):
            whole = json.loads(path.read_text())
            for section, cases in list(whole.items()):
                if not isinstance(cases, list):
                    continue
                extra = list(NEW.get((path.name, section), lambda r: [])(r))
                whole[section] = varied_cases(r, cases + extra)
                if path.name in ("topology.json", "steps.json") and section in ("equality", "frequency_control"):
                    whole[section] = []
                if (path.name, section) in (("value_norm.json", "data_parallel"), ("gae.json", "padded")):
                    del whole[section]
            (to / path.name).write_text(json.dumps(whole))


if __name__ == "__main__":
    main()
