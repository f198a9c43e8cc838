"""What the user can put right: of the whole run, or of one record."""
import importlib.util
import pathlib

# By its path: the standard library has a module of this name.
_spec = importlib.util.spec_from_file_location("orrery_tokenize", pathlib.Path(__file__).resolve().parents[1] / "tokenize.py")
tokens = importlib.util.module_from_spec(_spec)  # what writes pre-tokenized datasets: tools/tokenize.py
_spec.loader.exec_module(tokens)

Problem = tokens.Problem


class BadRecord(ValueError):
    """Why one record cannot be used."""
