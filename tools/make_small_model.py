#!/usr/bin/env python3
"""Makes the directory of a small chat model as `transformers` writes one, for where no hub can be reached.

    tools/make_small_model.py OUT DATA [--seed N] [--vocab-size N] [--layers N] [--hidden-size N]

The architecture and the tokenizer's rules are those of the Qwen2.5 family, the chat template is of its form; there are
0.8 M parameters unless sizes are given, the weights are random, and the byte-level BPE is trained on the texts
of DATA (JSON lines; every text field counts). Same arguments and same packages, same bytes. A model of your own is
used in just the same way (docs/tutorial.md).

cost: seconds
needs: pip install transformers (it brings tokenizers, numpy and safetensors; torch is not needed)
"""
import argparse
import json
import pathlib
import sys

PIECES = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = ("{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
            "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def import_packages():
    """For all functions here; what is missing is said in a line."""
    global numpy, save_file, AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    global GenerationConfig, PreTrainedTokenizerFast, Qwen2Config
    try:
        import numpy
        from safetensors.numpy import save_file
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
        from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config
    except ImportError as error:
        sys.exit(f"make_small_model.py: {error}; pip install transformers")


def texts_of(path):
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield from (value for value in json.loads(line).values() if isinstance(value, str))


def tokenizer_of(texts, vocab_size):
    """A byte-level BPE of these texts: digits stay single, the special tokens come last."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    return tokenizer


def weights_of(config, seed):
    """Parameters by name: normal with the configuration's deviation, norms one, biases zero."""
    draw = numpy.random.default_rng(seed)
    hidden, middle = config.hidden_size, config.intermediate_size
    head = hidden // config.num_attention_heads

    def normal(*shape):
        return draw.normal(0, config.initializer_range, shape).astype(numpy.float32)

    weights = {"model.embed_tokens.weight": normal(config.vocab_size, hidden),
               "model.norm.weight": numpy.ones(hidden, numpy.float32)}
    for i in range(config.num_hidden_layers):
        layer = f"model.layers.{i}."
        for name, heads in (("q", config.num_attention_heads), ("k", config.num_key_value_heads),
                            ("v", config.num_key_value_heads)):
            weights[f"{layer}self_attn.{name}_proj.weight"] = normal(heads * head, hidden)
            weights[f"{layer}self_attn.{name}_proj.bias"] = numpy.zeros(heads * head, numpy.float32)
        weights[f"{layer}self_attn.o_proj.weight"] = normal(hidden, hidden)
        weights[f"{layer}mlp.gate_proj.weight"] = normal(middle, hidden)
        weights[f"{layer}mlp.up_proj.weight"] = normal(middle, hidden)
        weights[f"{layer}mlp.down_proj.weight"] = normal(hidden, middle)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{layer}{name}.weight"] = numpy.ones(hidden, numpy.float32)
    return weights


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, metavar="OUT")
    parser.add_argument("data", type=pathlib.Path, metavar="DATA")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--vocab-size", type=int, default=512)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--hidden-size", type=int, default=128)
    arguments = parser.parse_args()
    import_packages()
    tokenizer = tokenizer_of(texts_of(arguments.data), arguments.vocab_size)
    end, pad = tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")
    config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=arguments.hidden_size,
        intermediate_size=3 * arguments.hidden_size, num_hidden_layers=arguments.layers, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, bos_token_id=pad,
        eos_token_id=end, architectures=["Qwen2ForCausalLM"], dtype="float32")
    weights = weights_of(config, arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                            chat_template=TEMPLATE).save_pretrained(arguments.out)
    config.save_pretrained(arguments.out)
    GenerationConfig(eos_token_id=end, pad_token_id=pad).save_pretrained(arguments.out)
    save_file(weights, arguments.out / "model.safetensors", metadata={"format": "pt"})
    n = sum(weight.size for weight in weights.values())
    print(f"{arguments.out}: {n:,} parameters, {config.vocab_size} tokens")


if __name__ == "__main__":
    main()
