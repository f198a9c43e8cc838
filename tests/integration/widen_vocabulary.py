#!/usr/bin/env python3
"""Copies a Hugging Face directory of fp32 weights with a larger vocabulary: new rows repeat old ones.

usage: widen_vocabulary.py FROM TO SIZE
Needs nothing but Python: the safetensors format is read and written here by hand, so what the
program reads was not written by the program.
"""
import json
import pathlib
import struct
import sys


def main():
    source, target, size = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    target.mkdir(parents=True)
    config = json.loads((source / "config.json").read_text())
    old = config["vocab_size"]
    config["vocab_size"] = size
    config["eos_token_id"] = 257
    config["max_position_embeddings"] = 512
    (target / "config.json").write_text(json.dumps(config))

    raw = (source / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8:8 + length]), raw[8 + length:]
    header.pop("__metadata__", None)
    new_header, new_data = {}, b""
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        content, shape = data[begin:end], list(tensor["shape"])
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            row = len(content) // old
            content = b"".join(content[(i % old) * row:(i % old + 1) * row] for i in range(size))
            shape[0] = size
        new_header[name] = {"dtype": tensor["dtype"], "shape": shape,
                            "data_offsets": [len(new_data), len(new_data) + len(content)]}
        new_data += content
    text = json.dumps(new_header).encode()
    text += b" " * (-len(text) % 8)
    (target / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + new_data)


main()
