#!/usr/bin/env python3
"""Loads Hugging Face directories into transformers and compares logits, in float32.

    tools/check_export.py ORRERY FIXTURES      what `orrery convert` writes of each fixture, through
                                               an Orrery checkpoint of 2 x 2 shards and back, and
                                               straight in bf16
    tools/check_export.py --plain FIXTURES     the fixtures themselves, but not a text part beside
                                               others

FIXTURES holds directories in the schema of tests/fixtures/hf/README.md. Passes when transformers
gives the expected logits (scores of a reward model) within 3e-5. Needs transformers and torch; exit
code 77, with a message, where they are not installed. Cost: seconds a model.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

BOUND = 3e-5


def import_libraries():
    try:
        import torch
        import transformers
        from safetensors import safe_open
    except ImportError as error:
        print(f"SKIPPED: exports were NOT checked against transformers: {error}")
        sys.exit(77)
    torch.set_num_threads(1)
    return torch, transformers, safe_open


def worst_difference(libraries, folder, fixture):
    torch, transformers, safe_open = libraries
    expected = json.loads((fixture / "expected.json").read_text())
    is_reward = "pairwise" in expected
    auto = (transformers.AutoModelForSequenceClassification if is_reward
            else transformers.AutoModelForCausalLM)
    model, info = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                       output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            raise SystemExit(f"{folder.name}: {kind}: {info[kind]}")
    model.eval()
    worst = 0.0
    with safe_open(fixture / "expected.safetensors", "pt") as numbers, torch.no_grad():
        for sequence in expected["sequences"]:
            ids = torch.tensor([sequence["ids"]])
            if is_reward:
                got = model(ids).logits[0, -1].double()
                want = torch.tensor(sequence["reward"], dtype=torch.float64)
            else:
                got = model(ids).logits[0].double()
                want = numbers.get_tensor("logits." + sequence["name"])
            worst = max(worst, float((got - want).abs().max()))
    return worst


def is_nested(fixture):
    """Whether the directory has parts beside the text: transformers wants all of them to load it."""
    return "text_config" in json.loads((fixture / "config.json").read_text())


def rounding_difference(libraries, orrery, fixture, exported, work):
    """Largest difference of a weight that transformers reads of an export in bf16 from the fixture's,
    rounded; where transformers cannot load that, all from the export in fp32."""
    torch, transformers, _ = libraries
    source = exported if is_nested(fixture) else fixture
    convert(orrery, source, work / "bf16", "--as", "hf", "--dtype", "bf16")
    is_reward = "pairwise" in json.loads((fixture / "expected.json").read_text())
    auto = (transformers.AutoModelForSequenceClassification if is_reward
            else transformers.AutoModelForCausalLM)
    whole, narrow = (auto.from_pretrained(folder, dtype=torch.float32).state_dict()
                     for folder in (source, work / "bf16"))
    return max(float((narrow[name] - x.bfloat16().float()).abs().max()) for name, x in whole.items())


def convert(orrery, source, target, *options):
    done = subprocess.run([orrery, "convert", "--from", source, "--to", target, *options],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"orrery convert of {source} failed:\n{done.stdout}{done.stderr}")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    libraries = import_libraries()
    failures = 0
    fixtures = sorted(p.parent for p in pathlib.Path(sys.argv[2]).glob("*/expected.json"))
    if sys.argv[1] == "--plain":
        fixtures = [f for f in fixtures if not is_nested(f)]
    for fixture in fixtures:
        with tempfile.TemporaryDirectory() as work:
            exported = fixture
            if sys.argv[1] != "--plain":
                checkpoint, exported = pathlib.Path(work) / "checkpoint", pathlib.Path(work) / "hf"
                convert(sys.argv[1], fixture, checkpoint, "--layout", "t2p2")
                convert(sys.argv[1], checkpoint, exported)
            worst = worst_difference(libraries, exported, fixture)
            rounded = 0.0
            if sys.argv[1] != "--plain":
                rounded = rounding_difference(libraries, sys.argv[1], fixture, exported,
                                              pathlib.Path(work))
        is_ok = worst <= BOUND and rounded == 0
        failures += not is_ok
        print(f"{fixture.name:20} {worst:.1e} in bf16 {rounded:.1e} {'ok' if is_ok else 'FAILED'}",
              flush=True)
    print(f"{len(fixtures) - failures} of {len(fixtures)} exports give the expected logits")
    sys.exit(1 if failures or not fixtures else 0)


if __name__ == "__main__":
    main()
