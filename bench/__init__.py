"""Measurements against peers, in one run: `python -m bench [NAME ...]`; `--list` names them."""
