#!/usr/bin/env python3
"""Generation and training steps, Orrery against Hugging Face `transformers`, in one run.

    tools/bench_hf.py [--sizes 1M,20M,125M] [--rounds 5] [--only decode,train,rl] [--json FILE]

Both sides get one thread and turns of a few seconds, one after the other, so that whatever else
the machine does meets both; each figure is the best of its turns. Both decode greedily from the
same weights and prompts (the share of equal tokens is printed: fp32 sums in another order now and
then prefer another token) and take optimizer steps on the same sequences (the losses are compared).
Hugging Face trains padded, sorted by length into quarters, and packed into one row; the best
counts. `roofline` is the ratio that a program would reach that only reads its weights once a step, at
the rate of reading as much memory, or only computes its matmuls, at the rate of a large one, both
measured here; keys, values and sampling cost nothing there.
The whole steps of GRPO and PPO are compared with TRL's on the same job, every answer of 24 tokens.
TRL has PPO up to 0.2x only: `--only rl` in an environment with trl==0.19.1 transformers==4.53.3.

cost: about 15 minutes and 6 GB for everything; `--sizes 1M` two minutes
needs: pip install torch transformers safetensors numpy (trl accelerate datasets for the RL steps);
       what is missing is skipped with a message. The programs: built here if need be (preset bench).
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
ROOT = pathlib.Path(__file__).resolve().parent.parent

# Llama decoders with tied embeddings; `new` tokens are generated from prompts of 16.
SIZES = {
    "1M": dict(vocab=512, hidden=128, middle=344, layers=4, heads=4, new=64, sequences=64),
    "20M": dict(vocab=4096, hidden=384, middle=1024, layers=10, heads=6, new=64, sequences=32),
    "125M": dict(vocab=50304, hidden=768, middle=2048, layers=12, heads=12, new=32, sequences=8),
}
PROMPT = 16
BATCHES = (1, 8, 32)
TARGETS = {
    ("decode", "1M"): (30, 10, 5), ("decode", "20M"): (2.5, 3, 2), ("decode", "125M"): (1.8, 2.5, 1.8),
    ("train", "1M"): 2, ("train", "20M"): 1.35, ("train", "125M"): 1.7,
}


def prompt_token(sequence, position, vocab):
    """The same rule in tests/bench/hf_model.cpp."""
    return (sequence * 131 + position * 7919 + 17) % vocab


def training_lengths(n):
    """Answers end where they end: 16 to 128 tokens."""
    draw = random.Random(1)
    return [draw.randint(16, 128) for _ in range(n)]


class Orrery:
    """The other half, a process that answers line by line."""

    def __init__(self, program, directory):
        self.process = subprocess.Popen([program, directory], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.n_parameters = int(self.process.stdout.readline().split()[1])

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        words = self.process.stdout.readline().split()
        if not words or words[0] == "error":
            sys.exit(f"bench_hf.py: the Orrery half failed at `{line}`: {' '.join(words)}")
        answer = {}
        while words:
            if words[0] == "tokens":
                answer["tokens"] = [int(w) for w in words[1:]]
                break
            answer[words[0]] = float(words[1])
            words = words[2:]
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class HuggingFace:
    def __init__(self, directory):
        import torch
        import transformers
        self.torch = torch
        self.directory = directory
        self.model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        self.model.eval()
        self.trained = None

    def generate(self, batch, prompt, new):
        torch, vocab = self.torch, self.model.config.vocab_size
        ids = torch.tensor([[prompt_token(i, t, vocab) for t in range(prompt)] for i in range(batch)])
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            start = time.process_time()
            out = self.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=new,
                                      min_new_tokens=new, do_sample=False, use_cache=True)
            seconds = time.process_time() - start
        return seconds, out[:, prompt:].reshape(-1).tolist()

    def start_training(self):
        import transformers
        self.trained = transformers.AutoModelForCausalLM.from_pretrained(
            self.directory, dtype=self.torch.float32)
        self.trained.train()
        self.optimizer = self.torch.optim.AdamW(self.trained.parameters(), lr=1e-5, fused=True)

    def train(self, way, sequences):
        """One optimizer step. Returns seconds and the mean loss."""
        torch = self.torch
        actions = sum(len(s) - 1 for s in sequences)
        start = time.process_time()
        self.optimizer.zero_grad()
        total = 0.0
        for part in self.parts(way, sequences):
            logits = self.trained(**{k: v for k, v in part.items() if k != "labels"},
                                  use_cache=False).logits
            labels = part["labels"][:, 1:].reshape(-1)
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1].reshape(-1, logits.shape[-1]), labels, ignore_index=-100,
                reduction="sum") / actions
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.trained.parameters(), 1.0)
        self.optimizer.step()
        return time.process_time() - start, total

    def parts(self, way, sequences):
        if way == "padded":
            return [self.padded(sequences)]
        if way == "sorted":
            ordered = sorted(sequences, key=len)
            n = max(1, len(ordered) // 4)
            return [self.padded(ordered[i:i + n]) for i in range(0, len(ordered), n)]
        ids, labels, positions = [], [], []
        for s in sequences:
            ids += s
            labels += [-100] + s[1:]
            positions += range(len(s))
        tensor = lambda row: self.torch.tensor([row])
        return [dict(input_ids=tensor(ids), position_ids=tensor(positions), labels=tensor(labels))]

    def padded(self, sequences):
        longest = max(map(len, sequences))
        pad = lambda s, value: s + [value] * (longest - len(s))
        tensor = lambda rows: self.torch.tensor(rows)
        return dict(input_ids=tensor([pad(s, 0) for s in sequences]),
                    attention_mask=tensor([pad([1] * len(s), 0) for s in sequences]),
                    labels=tensor([pad(s, -100) for s in sequences]))


def make_model(size, directory):
    import torch
    import transformers
    s = SIZES[size]
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=s["vocab"], hidden_size=s["hidden"], intermediate_size=s["middle"],
        num_hidden_layers=s["layers"], num_attention_heads=s["heads"],
        num_key_value_heads=s["heads"], max_position_embeddings=2048, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=None, pad_token_id=0)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(directory)


def matmul_flops(size):
    """Of one token through the layers and the head, forwards."""
    s = SIZES[size]
    layer = 4 * s["hidden"] ** 2 + 3 * s["hidden"] * s["middle"]
    return 2 * (s["layers"] * layer + s["vocab"] * s["hidden"])


def measure(size, parts, rounds, program, row):
    with tempfile.TemporaryDirectory() as directory:
        make_model(size, directory)
        ours, theirs = Orrery(program, directory), HuggingFace(directory)
        rates = ours.ask("rates")
        if "decode" in parts:
            decode(size, rounds, ours, theirs, rates, row)
        if "train" in parts:
            train(size, rounds, ours, theirs, rates, row)
        ours.close()


def decode(size, rounds, ours, theirs, rates, row):
    new = SIZES[size]["new"]
    for batch, target in zip(BATCHES, TARGETS["decode", size]):
        line = f"generate {batch} {PROMPT} {new}"
        ours.ask(line)
        theirs.generate(batch, PROMPT, 4)
        mine, other = [], []
        for _ in range(rounds):
            answer = ours.ask(line)
            mine.append(answer["seconds"])
            seconds, tokens = theirs.generate(batch, PROMPT, new)
            other.append(seconds)
        equal = sum(a == b for a, b in zip(answer["tokens"], tokens)) / len(tokens)
        # A step reads the weights once, or computes `batch` tokens' matmuls; prefill likewise.
        flops = matmul_flops(size) * batch
        step = max(flops / rates["GFLOP/s"] / 1e9, matmul_flops(size) * 2 / rates["GB/s"] / 1e9)
        roofline = new * step + flops * PROMPT / rates["GFLOP/s"] / 1e9
        row("decode", f"{size}, batch {batch}", batch * new, min(mine), min(other), target, roofline,
            f"{equal:.0%} of the tokens equal")


def train(size, rounds, ours, theirs, rates, row):
    vocab = SIZES[size]["vocab"]
    lengths = training_lengths(SIZES[size]["sequences"])
    sequences = [[prompt_token(i, t, vocab) for t in range(n)] for i, n in enumerate(lengths)]
    line = "train 1 " + " ".join(map(str, lengths))
    loss = ours.ask(line)["loss"]
    theirs.start_training()
    losses = [theirs.train(way, sequences)[1] for way in ("packed",)]
    if abs(losses[0] - loss) > 1e-3:
        sys.exit(f"bench_hf.py: {size}: losses differ: Orrery {loss}, Hugging Face {losses[0]}")
    mine, other = [], {"padded": [], "sorted": [], "packed": []}
    for _ in range(rounds):
        mine.append(ours.ask(line)["seconds"])
        for way, times in other.items():
            times.append(theirs.train(way, sequences)[0])
    best = min(other, key=lambda way: min(other[way]))
    roofline = 3 * matmul_flops(size) * sum(lengths) / rates["GFLOP/s"] / 1e9
    row("train", f"{size}, {len(lengths)} sequences", sum(lengths), min(mine), min(other[best]),
        TARGETS["train", size], roofline,
        "best: " + best + "; " + ", ".join(f"{w} {min(t):.3g} s" for w, t in other.items()))


RL_PROMPTS = 4
RL_SAMPLES = 8
RL_NEW_TOKENS = 24
RL_STEPS = 24
RL_WARM_UP = 4  # steps that are not counted


def median(values):
    return sorted(values)[len(values) // 2]


SIZE_1M = {"n_layers": 4, "hidden_size": 128, "intermediate_size": 344, "n_heads": 4,
           "n_kv_heads": 4}


def orrery_step(program, folder, config, settings):
    """Seconds of a step of `mpirun -n 2 orrery train`: a master, which idles, and one worker."""
    data = pathlib.Path(folder) / "additions.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{10 + i}+{99 - i}=", "answer": "109"}) + "\n"
                            for i in range(64)))
    command = ["mpirun", "--oversubscribe", "-n", "2", program, "train", config, "--resume", "off"]
    settings = {"experiment.name": "bench", "experiment.output_dir": folder,
                "experiment.total_steps": RL_STEPS, "dataset.train.path": data,
                "dataset.eval.path": data, "call.actor_gen.max_new_tokens": RL_NEW_TOKENS,
                "call.actor_gen.min_new_tokens": RL_NEW_TOKENS, "evaluate.every_steps": 0} | settings
    for key, value in settings.items():
        command += ["--set", f"{key}={value}"]
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit("bench_hf.py: " + " ".join(map(str, command)) + "\n" + done.stdout[-2000:] +
                 done.stderr[-2000:])
    ends = {}
    for line in open(pathlib.Path(folder) / "bench/metrics.jsonl"):
        record = json.loads(line)
        ends[record["step"]] = max(ends.get(record["step"], 0), record["time_s"])
    times = [ends[step] for step in sorted(ends)]
    return median([b - a for a, b in zip(times[RL_WARM_UP:], times[RL_WARM_UP + 1:])])


def orrery_grpo_step(program, folder):
    settings = {f"model.actor.{key}": value for key, value in SIZE_1M.items()}
    settings |= {f"call.{call}.n_seqs": RL_PROMPTS for call in ("actor_gen", "reward", "actor_train")}
    return orrery_step(program, folder, "configs/grpo_tiny.cfg",
                       settings | {"call.actor_gen.group_size": RL_SAMPLES})


def orrery_ppo_step(program, folder):
    """Four roles of 1 M each, all on the one worker."""
    settings = {f"model.{role}.{key}": value for role in ("actor", "critic", "ref", "reward")
                for key, value in (SIZE_1M | {"max_positions": 64}).items()}
    settings |= {f"call.{call}.n_seqs": RL_PROMPTS for call in
                 ("actor_gen", "reward", "ref_inf", "critic_inf", "actor_train", "critic_train")}
    return orrery_step(program, folder, "configs/ppo_reward_model.cfg",
                       settings | {"call.actor_gen.group_size": RL_SAMPLES})


def trl_tokenizer_and_config():
    import tokenizers
    import transformers
    vocabulary = {"<pad>": 0, "<eos>": 1, **{chr(i): i + 2 for i in range(257)}}
    model = tokenizers.models.WordLevel(vocabulary, unk_token="<pad>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>",
                                                eos_token="<eos>")
    config = transformers.LlamaConfig(
        vocab_size=259, hidden_size=128, intermediate_size=344, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=64,
        bos_token_id=None, eos_token_id=1, pad_token_id=0)
    return fast, config


def trl_grpo_step(folder):
    """The same job by TRL: one process, one thread."""
    import datasets
    import transformers
    import trl
    fast, config = trl_tokenizer_and_config()
    times = []

    class Clock(transformers.TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            times.append(time.perf_counter())

    trainer = trl.GRPOTrainer(
        model=transformers.LlamaForCausalLM(config), processing_class=fast,
        reward_funcs=lambda completions, **_: [float(len(set(c))) for c in completions],
        args=trl.GRPOConfig(
            output_dir=folder, per_device_train_batch_size=RL_PROMPTS * RL_SAMPLES,
            num_generations=RL_SAMPLES, max_completion_length=RL_NEW_TOKENS, beta=0.0, use_cpu=True,
            report_to=[], save_strategy="no", logging_steps=1000, max_steps=RL_STEPS,
            gradient_checkpointing=False, bf16=False, disable_tqdm=True, top_k=0, top_p=1.0,
            learning_rate=1e-3, generation_kwargs={"min_new_tokens": RL_NEW_TOKENS}),
        train_dataset=datasets.Dataset.from_list(
            [{"prompt": f"{10 + i}+{99 - i}="} for i in range(64)]),
        callbacks=[Clock()])
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return median([b - a for a, b in zip(times[RL_WARM_UP:], times[RL_WARM_UP + 1:])])


def trl_ppo_step(folder, collect_garbage):
    """PPO by TRL: 32 prompts instead of 4 x 8, one epoch of two minibatches as in configs/ppo_tiny."""
    import datasets
    import transformers
    import trl
    import trl.trainer.ppo_trainer
    fast, config = trl_tokenizer_and_config()
    config.num_labels = 1
    n = RL_PROMPTS * RL_SAMPLES
    times = []

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            times.append(time.perf_counter())

    class NoCollector:
        collect = staticmethod(lambda: 0)

    collector = trl.trainer.ppo_trainer.gc
    if not collect_garbage:
        trl.trainer.ppo_trainer.gc = NoCollector
    prompts = [{"input_ids": fast(f"{10 + i % 64}+{99 - i % 64}=")["input_ids"]} for i in range(8 * n)]
    critic, reward = (transformers.LlamaForSequenceClassification(config) for _ in range(2))
    trainer = trl.PPOTrainer(
        args=trl.PPOConfig(
            output_dir=folder, per_device_train_batch_size=n, gradient_accumulation_steps=1,
            num_ppo_epochs=1, num_mini_batches=2, local_rollout_forward_batch_size=n,
            total_episodes=RL_STEPS * n, response_length=RL_NEW_TOKENS, stop_token=None,
            num_sample_generations=0, report_to=[], save_strategy="no", logging_steps=1000,
            use_cpu=True, bf16=False, disable_tqdm=True, learning_rate=1e-3),
        processing_class=fast, model=transformers.LlamaForCausalLM(config),
        ref_model=transformers.LlamaForCausalLM(config), reward_model=reward, value_model=critic,
        train_dataset=datasets.Dataset.from_list(prompts),
        eval_dataset=datasets.Dataset.from_list(prompts[:n]), callbacks=[Clock()])
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.log = lambda *args, **kwargs: None
    trainer.train()
    trl.trainer.ppo_trainer.gc = collector
    return median([b - a for a, b in zip(times[RL_WARM_UP:], times[RL_WARM_UP + 1:])])


def compare_rl(rounds, program, row):
    try:
        import datasets
        import trl
    except ImportError as error:
        print(f"grpo     SKIPPED: {error}; pip install trl accelerate datasets")
        return
    samples = RL_PROMPTS * RL_SAMPLES

    def compare(name, ours, theirs, target, note=""):
        mine, other = [], []
        for _ in range(min(rounds, 3)):
            with tempfile.TemporaryDirectory() as folder:
                mine.append(ours(program, folder))
                other.append(theirs(folder))
        row(name, f"1M, {RL_PROMPTS} x {RL_SAMPLES} samples", samples, min(mine), min(other), target,
            None, f"TRL {trl.__version__}; samples/s; "
            f"{min(mine) * 1e3:.3g} ms against {min(other) * 1e3:.3g} ms{note}")

    compare("grpo", orrery_grpo_step, trl_grpo_step, 3)
    if not hasattr(trl, "PPOTrainer"):
        print(f"ppo      SKIPPED: TRL {trl.__version__} has no PPOTrainer; an environment with "
              "trl==0.19.1 transformers==4.53.3 has")
        return
    compare("ppo", orrery_ppo_step, lambda folder: trl_ppo_step(folder, True), 4)
    compare("ppo", orrery_ppo_step, lambda folder: trl_ppo_step(folder, False), 4,
            ", whose garbage collection is left out")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--only", default="decode,train,rl")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--program", default=str(ROOT / "build/bench/tests/bench/bench_hf_model"))
    parser.add_argument("--orrery", default=str(ROOT / "build/bench/orrery"))
    parser.add_argument("--json", help="the table as one JSON object a line")
    args = parser.parse_args()
    try:
        import torch
        import transformers
    except ImportError as error:
        print(f"bench_hf.py: SKIPPED: {error}; pip install torch transformers safetensors numpy")
        return
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    parts = args.only.split(",")
    if not pathlib.Path(args.program).exists() or not pathlib.Path(args.orrery).exists():
        for command in (["cmake", "--preset", "bench"],
                        ["cmake", "--build", "build/bench", "--target", "bench_hf_model", "orrery"]):
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    cpu = next(l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name"))
    print(f"{cpu}, {os.cpu_count()} cores; torch {torch.__version__}, transformers "
          f"{transformers.__version__}; one thread each")
    print(f"{'':8} {'':22} {'Orrery':>10} {'HF':>10} {'ratio':>6} {'target':>6} {'roofline':>6}")
    out = open(args.json, "a") if args.json else None

    def row(kind, what, tokens, mine, other, target, roofline, note):
        bound = f"{other / roofline:6.2f}" if roofline else f"{'':6}"
        print(f"{kind:8} {what:22} {tokens / mine:10.0f} {tokens / other:10.0f} {other / mine:6.2f} "
              f"{target:6.2f} {bound}  {note}", flush=True)
        if out:
            print(json.dumps(dict(kind=kind, what=what, tokens=tokens, orrery_s=mine, hf_s=other,
                                  ratio=other / mine, target=target,
                                  roofline=other / roofline if roofline else None, note=note)),
                  file=out, flush=True)

    for size in args.sizes.split(",") if {"decode", "train"} & set(parts) else []:
        measure(size, parts, args.rounds, args.program, row)
    if "rl" in parts:
        compare_rl(args.rounds, args.orrery, row)


if __name__ == "__main__":
    main()
