#!/usr/bin/env python3
"""Times torch's operators at the shapes of a report's kernels, in the same run.

    tools/gpu_check/torch_kernels.py --report gpu-report.json --out FILE [--seconds 120] [--device cuda]

The value of a figure is torch's time, the reference Orrery's of the report: a ratio above 1 says that Orrery is
faster. As there, runs follow each other in a CUDA graph, and attention reads other keys and values in each.
Also taken: the rate of a large bf16 matmul, and the memory that the first one costs (cuBLAS).

--device cpu: to try the script itself; the times are of no use
"""
import argparse
import json
import pathlib
import statistics
import sys
import time

import torch

from torch_clock import TorchClock

ROUNDS = 5
SECONDS = 0.2  # for each time that is taken, roughly


class Device(TorchClock):
    """Where torch computes, and how long that takes."""

    def __init__(self, name):
        super().__init__(name)
        self.name = name
        self.l2_bytes = torch.cuda.get_device_properties(0).L2_cache_size if self.is_gpu else 0

    def seconds_of(self, work):
        """Of one work(run); the median of some rounds."""
        for run in range(3):
            work(run)
        budget = SECONDS / ROUNDS if self.is_gpu else 0
        n_runs = max(1, min(256, int(budget / max(self.timed(lambda: work(0)), 1e-7))))

        def many():
            for run in range(n_runs):
                work(run)

        if self.is_gpu:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                many()
            many = graph.replay
        n_launches = max(1, int(budget / max(self.timed(many), 1e-7)))
        return statistics.median(self.timed(lambda: [many() for _ in range(n_launches)])
                                 for _ in range(ROUNDS)) / (n_launches * n_runs)

    def bytes_taken(self):
        free, total = torch.cuda.mem_get_info()
        return total - free - torch.cuda.memory_reserved()


def attention(device, shape):
    """scaled_dot_product_attention of one query a sequence over contiguous keys and values."""
    batch, heads, kv_heads = shape["batch"], shape["heads"], shape["kv_heads"]
    context, head_dim = shape["context"], shape["head_dim"]
    q = torch.randn(batch, heads, 1, head_dim, dtype=torch.bfloat16, device=device.name)
    size_bytes = 4 * batch * kv_heads * context * head_dim
    copies = [tuple(torch.randn(batch, kv_heads, context, head_dim, dtype=torch.bfloat16, device=device.name)
                    for _ in "kv")
              for _ in range(min(256, 2 * device.l2_bytes // size_bytes + 1))]

    def work(run):
        k, v = copies[run % len(copies)]
        torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    return work


def sampling(device, shape):
    """softmax and multinomial, after topk or after a sort where there is a filter."""
    logits = 8 * torch.randn(shape["rows"], shape["vocabulary"], device=device.name)

    def draw_all(_):
        torch.multinomial(torch.softmax(logits, -1), 1)

    def draw_top_k(_):
        best, ids = torch.topk(logits / 0.7, 50)
        ids.gather(1, torch.multinomial(torch.softmax(best, -1), 1))

    def draw_top_k_top_p(_):
        ordered, ids = torch.sort(logits / 0.7, descending=True)
        weights = torch.softmax(ordered, -1)
        is_removed = torch.cumsum(weights, -1) - weights > 0.9
        is_removed[:, 50:] = True
        ids.gather(1, torch.multinomial(weights.masked_fill(is_removed, 0), 1))

    return {"all": draw_all, "top_k 50": draw_top_k, "top_k 50, top_p 0.9": draw_top_k_top_p}[shape["filter"]]


def token_log_probs(device, shape):
    """log_softmax and gather; Orrery's gives logsumexp and entropy as well."""
    logits = 8 * torch.randn(shape["rows"], shape["vocabulary"], device=device.name)
    targets = torch.randint(shape["vocabulary"], (shape["rows"], 1), device=device.name)
    return lambda _: torch.log_softmax(logits, -1).gather(1, targets)


def pack(device, shape):
    """copy_ of half of the columns of each matrix."""
    types = {"bf16": torch.bfloat16, "fp32": torch.float32}
    half = shape["columns"] // 2
    sources = [torch.randn(shape["rows"], 2 * half, device=device.name).to(types[shape["from"]])
               for _ in range(shape["matrices"])]
    packed = torch.empty(shape["matrices"], shape["rows"], half, dtype=types[shape["to"]], device=device.name)

    def work(_):
        for to, source in zip(packed, sources):
            to.copy_(source[:, half:])
    return work


OPERATORS = {"decode_attention": ("scaled_dot_product_attention", attention),
             "sampling": ("sort or topk, softmax, multinomial", sampling),
             "token_log_probs": ("log_softmax, gather", token_log_probs),
             "pack": ("copy_", pack)}


def compare(device, kernel):
    """The figure of torch's operator beside that of a kernel."""
    name, make = OPERATORS[kernel["name"]]
    figure = {"name": f"torch {name}", "shape": kernel["shape"]}
    try:
        value = device.seconds_of(make(device, kernel["shape"])) * 1e6
    except (RuntimeError, TypeError) as error:
        # What torch cannot do here is no fault of what is checked.
        return {**figure, "outcome": "skipped", "why": f"torch: {error}".splitlines()[0]}
    return {**figure, "unit": "us", "value": value,
            "reference": {"name": f"Orrery's {kernel['name']} in this run", "value": kernel["value"]},
            **({"ratio": value / kernel["value"]} if kernel["value"] > 0 else {}), "outcome": "passed"}


def first_matmul(device):
    """What cuBLAS takes beside torch's own tensors."""
    torch.empty(1, device=device.name)
    before = device.bytes_taken()
    a = torch.randn(1024, 1024, device=device.name).bfloat16()
    reserved = torch.cuda.memory_reserved()
    a @ a
    device.wait()
    value = device.bytes_taken() - before + torch.cuda.memory_reserved() - reserved
    return {"name": "allowance_cublas_gb", "shape": {}, "unit": "GB", "value": value / 1e9, "outcome": "passed"}


def large_matmul(device):
    n = 8192 if device.is_gpu else 64
    a, b = (torch.randn(n, n, device=device.name).bfloat16() for _ in "ab")
    out = torch.empty_like(a)
    seconds = device.seconds_of(lambda _: torch.mm(a, b, out=out))
    return {"name": "torch mm", "shape": {"rows": n, "columns": n, "depth": n, "type": "bf16"}, "unit": "TFLOP/s",
            "value": 2 * n**3 / seconds / 1e12, "outcome": "passed"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--report", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        options.out.write_text(json.dumps({"figures": [{"name": "torch", "shape": {}, "outcome": "skipped",
                                                        "why": "Python's torch finds no GPU"}]}))
        return
    end = time.monotonic() + options.seconds
    device = Device(options.device)
    figures = [first_matmul(device)] if device.is_gpu else []
    figures.append(large_matmul(device))
    for kernel in json.loads(options.report.read_text())["figures"]:
        if kernel["name"] not in OPERATORS or "value" not in kernel:
            continue
        if time.monotonic() > end:
            figures.append({"name": f"torch {OPERATORS[kernel['name']][0]}", "shape": kernel["shape"], "outcome": "skipped",
                            "why": f"cut: the {options.seconds:g} seconds of this part are over"})
        else:
            figures.append(compare(device, kernel))
        options.out.write_text(json.dumps({"figures": figures}, indent=1) + "\n")
    options.out.write_text(json.dumps({"figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
