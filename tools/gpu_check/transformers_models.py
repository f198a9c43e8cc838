#!/usr/bin/env python3
"""Times Hugging Face's transformers at the shapes of a report's decoding and training, in the same run.

    tools/gpu_check/transformers_models.py --report gpu-report.json --fixtures tests/fixtures --out FILE
        [--seconds 120] [--device cuda]

The value of a figure is Hugging Face's rate, the reference Orrery's of the report: a ratio above 1 says that Orrery
is faster. Weights are random on both sides. Decoding is generate() at the same context, prompts left out; it and
scoring have weights of bf16. Training has weights of fp32, autocast to bf16, the fused AdamW and, where Orrery
recomputed its layers, gradient checkpointing.

--device cpu: to try the script itself; the rates are of no use
"""
import argparse
import contextlib
import gc
import json
import pathlib
import sys
import time

import torch
import transformers

from torch_clock import TorchClock

TIMED_TOKENS = 64


class Model(TorchClock):
    """Of the sizes of a config.json in `fixtures`, with random weights."""

    def __init__(self, fixtures, name, device, dtype):
        path = next(path for path in (fixtures / "shapes" / name, fixtures / "hf" / name) if path.is_dir())
        config = transformers.AutoConfig.from_pretrained(path)
        config.eos_token_id = None  # answers go on to their length
        super().__init__(device)
        self.device = device
        with torch.device(device):
            self.model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
        self.optimizer = None

    def tokens(self, n, length):
        return torch.randint(self.model.config.vocab_size, (n, length), device=self.device)

    def generate(self, prompts, n):
        self.model.generate(input_ids=prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=n,
                            min_new_tokens=n, do_sample=True, top_k=0, top_p=1.0, temperature=1.0, pad_token_id=0)

    def log_probs(self, tokens):
        logits = self.model(input_ids=tokens, use_cache=False).logits[:, :-1]
        return torch.log_softmax(logits.float(), -1).gather(2, tokens[:, 1:, None])

    def step(self, parts):
        self.optimizer.zero_grad()
        n_actions = sum(part.numel() - len(part) for part in parts)
        for part in parts:
            with torch.autocast(self.device, dtype=torch.bfloat16):
                loss = -self.log_probs(part).sum() / n_actions
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()


def decoding(model, shape):
    """Tokens a second of the last steps before `context`."""
    n = min(TIMED_TOKENS, shape["context"] // 2)
    prompts = model.tokens(shape["batch"], shape["context"] - n)
    model.model.eval()
    with torch.inference_mode():
        model.generate(prompts, 2)
        of_first = model.timed(lambda: model.generate(prompts, 1))
        of_all = model.timed(lambda: model.generate(prompts, n))
    return shape["batch"] * (n - 1) / max(of_all - of_first, 1e-9)


def micro_batches(model, shape):
    return model.tokens(shape["sequences"], shape["length"]).split(max(1, shape["micro_batch_tokens"] // shape["length"]))


def log_probs_pass(model, shape):
    parts = micro_batches(model, shape)
    model.model.eval()
    with torch.inference_mode():
        model.log_probs(parts[0])
        seconds = model.timed(lambda: [model.log_probs(part) for part in parts])
    return shape["sequences"] * shape["length"] / seconds


def training_step(model, shape):
    parts = micro_batches(model, shape)
    model.model.train()
    if shape["recomputed_layers"] > 0:
        model.model.gradient_checkpointing_enable()
    else:
        model.model.gradient_checkpointing_disable()
    if model.optimizer is None:
        model.optimizer = torch.optim.AdamW(model.model.parameters(), lr=1e-5, fused=True)
    model.step(parts)
    return shape["sequences"] * shape["length"] / model.timed(lambda: model.step(parts))


MEASURES = {"decoding": (decoding, torch.bfloat16), "log_probs_pass": (log_probs_pass, torch.bfloat16),
            "training_step": (training_step, torch.float32)}


class Models:
    """One at a time."""

    def __init__(self, fixtures, device):
        self.fixtures, self.device, self.key, self.model = fixtures, device, None, None

    def get(self, name, dtype):
        if self.key != (name, dtype):
            self.forget()
            self.model = Model(self.fixtures, name, self.device, dtype)
            self.key = name, dtype
        return self.model

    def forget(self):
        self.key = self.model = None
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()


def compare(models, ours):
    """The figure of Hugging Face beside that of the report."""
    measure, dtype = MEASURES[ours["name"]]
    figure = {"name": f"transformers {ours['name']}", "shape": {**ours["shape"], "type": "bf16"}}
    with contextlib.ExitStack() as stack:
        if models.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        try:
            value = measure(models.get(ours["shape"]["model"], dtype), ours["shape"])
        except torch.OutOfMemoryError:
            stack.callback(models.forget)  # once the error's frames hold nothing any more
            return {**figure, "outcome": "skipped", "why": "there is no memory for it"}
        if models.device == "cuda":
            figure["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return {**figure, "unit": "tokens/s", "value": value,
            "reference": {"name": f"Orrery's {ours['name']} in this run, {ours['shape']['type']}", "value": ours["value"]},
            "ratio": ours["value"] / value, "outcome": "passed"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--report", type=pathlib.Path, required=True)
    parser.add_argument("--fixtures", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    figures = []

    def add(figure):
        figures.append(figure)
        options.out.write_text(json.dumps({"figures": figures}, indent=1) + "\n")

    if options.device == "cuda" and not torch.cuda.is_available():
        add({"name": "transformers", "shape": {}, "outcome": "skipped", "why": "Python's torch finds no GPU"})
        return
    end = time.monotonic() + options.seconds
    models = Models(options.fixtures, options.device)
    ours = [figure for figure in json.loads(options.report.read_text())["figures"]
            if figure["name"] in MEASURES and "value" in figure]
    if not ours:
        add({"name": "transformers", "shape": {}, "outcome": "skipped", "why": "there is no figure to compare with"})
    for figure in ours:
        if time.monotonic() > end:
            add({"name": f"transformers {figure['name']}", "shape": figure["shape"], "outcome": "skipped",
                 "why": f"cut: the {options.seconds:g} seconds of this part are over"})
        else:
            add(compare(models, figure))


if __name__ == "__main__":
    sys.exit(main())
