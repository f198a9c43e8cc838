#!/usr/bin/env python3
"""Turns data as people have it into pre-tokenized datasets: chat template, columns, splits.

    tools/prepare_data.py IN OUT --model DIR [--style gsm8k] [--split eval=0.05] [...]

IN is JSON lines, a JSON array, Parquet (or a directory of it), CSV, or a directory that `datasets`
saved with save_to_disk. Prompts are texts or lists of messages; they are rendered with the chat
template of DIR as apply_chat_template does. OUT is a file that `dataset.NAME.path` takes; it appears
under its name when it is whole. Says at the end what it did, with the lines for the configuration.
docs/data.md describes it.

cost: what the tokenizer needs, on all cores, and some 100 us a record for the template; JSON is
read twice, the first time for its columns; memory: a block of records, and about 100 bytes for each
id, and each record with --dedup or of --against
needs: pip install tokenizers h5py jinja2; for Parquet and saved data sets also pyarrow
exit status: 0 done, 2 wrong usage or data
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from prepare import program  # noqa: E402

if __name__ == "__main__":
    sys.exit(program.main(__doc__))
