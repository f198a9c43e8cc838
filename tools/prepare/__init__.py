"""Parts of tools/prepare_data.py."""
