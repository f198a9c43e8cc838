#!/usr/bin/env python3
"""Tiny random Hugging Face checkpoints with the numbers that transformers gives for them.

    tools/golden/hf_models.py OUT [NAME...]

Writes OUT/NAME/{config.json,generation_config.json,model*.safetensors,expected.json,
expected.safetensors} in the schema of tests/fixtures/hf/README.md (without the float32 runs).
Cost: seconds. Needs: transformers 5.23, torch 2.11 (CPU), safetensors, numpy.

Everything is computed in float64. transformers passes norms, softmax, router and rotary angles
through float32 whatever the model's type is, so torch's name for float32 is given to float64 before
transformers is imported; the weights are drawn in float32 (or narrower) first and are exact.
tools/check_export.py loads what is written here into an unchanged transformers.
"""
import json
import math
import pathlib
import sys

import torch
from safetensors.torch import save_file

STORED = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
REAL_FLOAT32 = torch.float32
torch.float32 = torch.float = torch.float64
torch.Tensor.float = torch.Tensor.double
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

import transformers  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification  # noqa: E402

COMMON = dict(vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
              num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
              bos_token_id=1, tie_word_embeddings=False)
EXPERTS = dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=12)
# name: (class, stored type, key style, bytes a file, config). v4: rope_theta, rope_scaling,
# torch_dtype; v5: rope_parameters, dtype.
MODELS = {
    "llama3-tied-f16": ("LlamaForCausalLM", "float16", "v4", None, dict(
        COMMON, model_type="llama", tie_word_embeddings=True, num_attention_heads=8,
        num_key_value_heads=2, rms_norm_eps=1e-5, rope_theta=500.0,
        rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                          high_freq_factor=4.0, original_max_position_embeddings=16))),
    "llama-linear-bias": ("LlamaForCausalLM", "float32", "v4", None, dict(
        COMMON, model_type="llama", attention_bias=True, mlp_bias=True, rope_theta=10000.0,
        rope_scaling=dict(type="linear", factor=4.0))),
    "qwen2-yarn-layers": ("Qwen2ForCausalLM", "float32", "v5", 40000, dict(
        COMMON, model_type="qwen2", use_sliding_window=True, sliding_window=6,
        max_window_layers=1, rms_norm_eps=1e-6,
        rope_parameters=dict(rope_type="yarn", rope_theta=1000.0, factor=4.0,
                             original_max_position_embeddings=32))),
    "qwen2-moe": ("Qwen2MoeForCausalLM", "bfloat16", "v4", None, dict(
        {**COMMON, **EXPERTS}, model_type="qwen2_moe", num_hidden_layers=3,
        shared_expert_intermediate_size=20, norm_topk_prob=False, decoder_sparse_step=1,
        mlp_only_layers=[1], rms_norm_eps=1e-6, rope_theta=10000.0)),
    "qwen3-moe": ("Qwen3MoeForCausalLM", "float32", "v5", None, dict(
        {**COMMON, **EXPERTS}, model_type="qwen3_moe", num_hidden_layers=2, head_dim=16,
        norm_topk_prob=True, decoder_sparse_step=2, rms_norm_eps=1e-6,
        rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "gemma-reward": ("GemmaForSequenceClassification", "float32", "v5", None, dict(
        COMMON, model_type="gemma", head_dim=16, num_labels=1, pad_token_id=0,
        tie_word_embeddings=True, rms_norm_eps=1e-6,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0))),
    "gemma3": ("Gemma3ForCausalLM", "float32", "v5", None, dict(
        COMMON, model_type="gemma3_text", num_hidden_layers=4, head_dim=16, tie_word_embeddings=True,
        rms_norm_eps=1e-6, sliding_window=6, query_pre_attn_scalar=24,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=dict(
            full_attention=dict(rope_type="linear", factor=4.0, rope_theta=1e5),
            sliding_attention=dict(rope_type="default", rope_theta=100.0)))),
    # As the files of text and images have it: nested, with a prefix, and a part that is no text.
    "gemma3-nested": ("Gemma3ForCausalLM", "bfloat16", "v4", None, dict(
        COMMON, model_type="gemma3_text", num_hidden_layers=3, head_dim=8, tie_word_embeddings=True,
        rms_norm_eps=1e-6, sliding_window=5, sliding_window_pattern=2, query_pre_attn_scalar=8,
        rope_theta=1e5, rope_local_base_freq=50.0, rope_scaling=dict(rope_type="linear", factor=8.0))),
    "olmo2": ("Olmo2ForCausalLM", "float32", "v4", None, dict(
        COMMON, model_type="olmo2", num_hidden_layers=3, rms_norm_eps=1e-6, rope_theta=1000.0)),
    "smollm3": ("SmolLM3ForCausalLM", "float32", "v4", None, dict(
        COMMON, model_type="smollm3", pad_token_id=0, num_hidden_layers=4, tie_word_embeddings=True, rms_norm_eps=1e-6,
        rope_theta=1000.0, no_rope_layers=[1, 0, 1, 0])),
    "smollm3-window": ("SmolLM3ForCausalLM", "float32", "v5", None, dict(
        COMMON, model_type="smollm3", pad_token_id=0, num_hidden_layers=4, attention_bias=True, mlp_bias=True,
        use_sliding_window=True, sliding_window=5, no_rope_layer_interval=2,
        rope_parameters=dict(rope_type="default", rope_theta=1000.0))),
    "gemma3-reward": ("Gemma3TextForSequenceClassification", "float32", "v4", None, dict(
        COMMON, model_type="gemma3_text", num_hidden_layers=2, head_dim=16, num_labels=1, pad_token_id=0,
        tie_word_embeddings=True, rms_norm_eps=1e-6, sliding_window=6, sliding_window_pattern=2,
        query_pre_attn_scalar=16, rope_theta=1e5, rope_local_base_freq=100.0)),
}
LENGTHS = [1, 2, 7, 23, 40]


def draw(model, generator, stored):
    """Wide random weights that the stored type holds exactly."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            values = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            if "norm" in name and name.endswith("weight"):
                centre = 0.0 if "Gemma" in type(model).__name__ else 1.0
                values = centre + 0.3 * values
            elif p.dim() == 1:
                values = 0.3 * values
            elif "embed" in name or "lm_head" in name or "score" in name:
                values = 0.3 * values
            else:
                values = 1.2 * values / math.sqrt(p.shape[-1])
            p.copy_(values.to(STORED[stored]).double())


def checkpoint_names(model, tensors):
    """Tensors of the model in memory -> those of its checkpoint (transformers 5 fuses experts)."""
    out = {}
    for name, t in tensors.items():
        if name.endswith("mlp.experts.gate_up_proj"):
            for e in range(t.shape[0]):
                gate, up = t[e].chunk(2, 0)
                stem = name.replace("gate_up_proj", str(e))
                out[f"{stem}.gate_proj.weight"] = gate
                out[f"{stem}.up_proj.weight"] = up
        elif name.endswith("mlp.experts.down_proj"):
            for e in range(t.shape[0]):
                out[name.replace("down_proj", f"{e}.down_proj.weight")] = t[e]
        else:
            out[name] = t
    return {k: v.detach().contiguous().clone() for k, v in out.items()}


def write_checkpoint(folder, tensors, stored, file_bytes):
    files, size = [[]], 0
    width = torch.tensor([], dtype=STORED[stored]).element_size()
    for name, t in tensors.items():
        if file_bytes and files[-1] and size + t.numel() * width > file_bytes:
            files.append([])
            size = 0
        files[-1].append(name)
        size += t.numel() * width
    index = {"metadata": {}, "weight_map": {}}
    for i, names in enumerate(files):
        file = ("model.safetensors" if len(files) == 1 else
                f"model-{i + 1:05}-of-{len(files):05}.safetensors")
        save_file({n: tensors[n].to(STORED[stored]) for n in names}, folder / file,
                  metadata={"format": "pt"})
        index["weight_map"].update({n: file for n in names})
    if len(files) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


def greedy(model, prompt, n):
    ids, margin = list(prompt), math.inf
    for _ in range(n):
        best = torch.topk(model(torch.tensor([ids])).logits[0, -1], 2).values
        margin = min(margin, (best[0] - best[1]).item())
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt):], margin


def generation(model, generator, vocab):
    """Greedy answers, and an end token that stops some of them and not all at once."""
    prompts = [torch.randint(3, vocab, (n,), generator=generator).tolist() for n in (1, 5, 12)]
    with torch.no_grad():
        answers = [greedy(model, p, 32) for p in prompts]
    counts = {}
    for i, (tokens, _) in enumerate(answers):
        for at, t in enumerate(tokens):
            counts.setdefault(t, {}).setdefault(i, at)
    late = [t for t in counts if min(counts[t].values()) > 2]
    if not late:  # answers that begin with all they have: another seed
        return None, 0
    eos = min((t for t in late), key=lambda t: (len(counts[t]) == 3, min(counts[t].values())))
    cases = []
    for prompt, (tokens, margin) in zip(prompts, answers):
        end = tokens.index(eos) + 1 if eos in tokens else len(tokens)
        cases.append({"prompt": prompt, "no_eos": tokens, "min_margin": margin,
                      "with_eos": tokens[:end],
                      "stopped_by": "eos" if eos in tokens else "length"})
    return {"max_new_tokens": 32, "eos_token_id": eos, "cases": cases}, min(m for _, m in answers)


def balance(logits, top_k):
    """The load-balancing loss of one sequence over all its layers, before its coefficient."""
    p = torch.cat([layer.softmax(-1) for layer in logits])
    n = p.shape[-1]
    counts = torch.zeros(n)
    for i in p.topk(top_k, -1).indices.flatten():
        counts[i] += 1
    return float(n * (counts / p.shape[0] * p.mean(0)).sum())


def language_numbers(model, sequences, expected, numbers):
    routers, total, aux = [], 0, []
    for name, module in model.named_modules():
        if type(module).__name__.endswith("TopKRouter"):
            layer = int(name.split(".layers.")[1].split(".")[0])
            module.register_forward_hook(lambda m, i, out, layer=layer: routers.append((layer, out)))
    n_tokens = sum(len(s) - 1 for s in sequences)
    for i, ids in enumerate(sequences):
        routers.clear()
        out = model(torch.tensor([ids]), output_hidden_states=i == 2)
        seen = list(routers)
        logits = out.logits[0]
        logprobs = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:]).view(-1, 1))[:, 0]
        total = total - logprobs.sum() / n_tokens
        numbers[f"logits.s{i}"] = logits.detach()
        numbers[f"logprobs.s{i}"] = logprobs.detach()
        if i == 2:
            for layer, h in enumerate(out.hidden_states):
                last = layer == len(out.hidden_states) - 1
                numbers[f"hidden.s2.{'final' if last else layer}"] = h[0].detach()
        n = len(ids)
        expected["sequences"].append({
            "name": f"s{i}", "length": n, "ids": ids, "sum_logprob": float(logprobs.sum().detach()),
            "mean_nll": None if n == 1 else float(-logprobs.mean().detach())})
        for layer, (_, weight, index) in seen:
            numbers[f"router_index.s{i}.{layer}"] = index
            numbers[f"router_weight.s{i}.{layer}"] = weight.detach()
        if seen:
            aux.append(balance([o[0].detach() for _, o in seen], seen[0][1][2].shape[-1]))
    if aux:
        expected["router"] = {"per_sequence_aux_loss": aux}
    expected["loss"] = {"mean_nll": float(total.detach()), "n_tokens": n_tokens}
    return total, "loss.mean_nll"


def reward_numbers(model, sequences, expected, numbers):
    rewards, total = [], 0
    pairs = [[4, 3], [2, 3], [0, 1]]
    for i, ids in enumerate(sequences):
        hidden = model.model(torch.tensor([ids])).last_hidden_state[0]
        scores = (hidden @ model.score.weight.T)[:, 0]
        check = model(torch.tensor([ids])).logits[0, 0]
        assert abs(float((check - scores[-1]).detach())) < 1e-12
        numbers[f"scores.s{i}"] = scores.detach()
        rewards.append(scores[-1])
        expected["sequences"].append({"name": f"s{i}", "length": len(ids), "ids": ids,
                                      "reward": float(scores[-1].detach())})
    for chosen, rejected in pairs:
        total = total - torch.nn.functional.logsigmoid(rewards[chosen] - rewards[rejected]) / len(pairs)
    expected["pairwise"] = {"pairs": pairs, "loss": float(total.detach())}
    return total, "pairwise.loss"


def make(out, name, seed):
    cls, stored, style, file_bytes, keys = MODELS[name]
    is_reward = cls.endswith("SequenceClassification")
    generator = torch.Generator().manual_seed(seed)
    auto = AutoModelForSequenceClassification if is_reward else AutoModelForCausalLM
    config = AutoConfig.for_model(**json.loads(json.dumps(keys)))
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = auto.from_config(config).double().eval()
    assert type(model).__name__ == cls, type(model)
    draw(model, generator, stored)
    vocab = keys["vocab_size"]
    sequences = [torch.randint(3, vocab, (n,), generator=generator).tolist() for n in LENGTHS]
    expected = {"schema": 1, "name": name, "architecture": cls, "config_style": style,
                "weights_dtype": stored, "seed": seed, "sequences": [],
                "made_with": {"by": "tools/golden/hf_models.py", "torch": "2.11.0",
                              "transformers": transformers.__version__}}
    numbers, eos = {}, None
    if not is_reward:
        expected["generation"], margin = generation(model, generator, vocab)
        if margin < 2e-3:
            return make(out, name, seed + 1000)
        eos = expected["generation"]["eos_token_id"]
    loss, of = (reward_numbers if is_reward else language_numbers)(model, sequences, expected, numbers)
    loss.backward()
    tied = bool(keys["tie_word_embeddings"])
    grads = {n: p.grad if p.grad is not None else torch.zeros_like(p)
             for n, p in model.named_parameters()}
    grads = checkpoint_names(model, grads)
    tensors = checkpoint_names(model, dict(model.named_parameters()))
    assert not tied or "lm_head.weight" not in tensors
    expected["grad"] = {"global_norm": float(sum(g.pow(2).sum() for g in grads.values()).sqrt()),
                        "n_tensors": len(grads), "of": of}
    numbers.update({f"grad.{n}": g.to(REAL_FLOAT32) for n, g in grads.items()})

    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    act = "hidden_activation" if keys["model_type"] == "gemma3_text" else "hidden_act"
    written = {"architectures": [cls], **keys, "eos_token_id": eos,
               act: "gelu_pytorch_tanh" if keys["model_type"].startswith("gemma") else "silu",
               "torch_dtype" if style == "v4" else "dtype": stored}
    if is_reward:
        written.update(id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0})
    if style == "v5":
        written.update(transformers_version=transformers.__version__, pad_token_id=None)
        if keys.get("use_sliding_window"):
            written["layer_types"] = config.layer_types
    if is_reward:
        written["pad_token_id"] = 0
    if name.endswith("-nested"):
        written = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
                   "eos_token_id": written.pop("eos_token_id"), "torch_dtype": written.pop("torch_dtype"),
                   "text_config": {k: v for k, v in written.items() if k != "architectures"},
                   "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 8}}
        tensors = {f"language_model.{n}": t for n, t in tensors.items()}
        tensors["vision_tower.vision_model.post_layernorm.weight"] = torch.ones(8)
        tensors["multi_modal_projector.mm_soft_emb_norm.weight"] = torch.ones(8)
    (folder / "config.json").write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
    if not is_reward:
        (folder / "generation_config.json").write_text(json.dumps(
            {"bos_token_id": 1, "eos_token_id": eos}, indent=1) + "\n")
    write_checkpoint(folder, tensors, stored, file_bytes)
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    save_file({k: v.contiguous() for k, v in numbers.items()}, folder / "expected.safetensors")
    print(f"{name}: {len(tensors)} tensors, loss {float(loss.detach()):.4f}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for number, model_name in enumerate(MODELS):
        if len(sys.argv) == 2 or model_name in sys.argv[2:]:
            make(pathlib.Path(sys.argv[1]), model_name, 300 + number)
