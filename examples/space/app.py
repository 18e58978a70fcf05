"""A Space that explores a dataset."""

from instag_hf.app import launch

launch("me/alpaca-instag")
