"""Rows in, a model out: a tagger from tagged rows (paper section 5), or a TagLM from a selected dataset (section 4.1).

Loops are those of transformers and trl, LoRA is peft's. What is ours is what goes into them token by token, what the
loss is on, and a record of everything.
"""

from instag_hf.training.lm import (
    CONTROL,
    LM_PRESETS,
    MODEL,
    LMJob,
    LMSettings,
    first_process,
    train,
    train_lm,
    train_with_control,
)
from instag_hf.training.runs import ADAPTER, CHECKPOINTS, MERGED, RECORD, add_lora, load_base, record
from instag_hf.training.taggers import FORMATS, GGUF, PRESETS, Job, Settings, train_tagger

__all__ = [
    "ADAPTER",
    "CHECKPOINTS",
    "CONTROL",
    "FORMATS",
    "GGUF",
    "LM_PRESETS",
    "MERGED",
    "MODEL",
    "PRESETS",
    "RECORD",
    "Job",
    "LMJob",
    "LMSettings",
    "Settings",
    "add_lora",
    "first_process",
    "load_base",
    "record",
    "train",
    "train_lm",
    "train_tagger",
    "train_with_control",
]
