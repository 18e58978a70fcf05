"""A llama of two layers with random weights and a real tokenizer, small enough to train and compare in seconds.

Of the base's tokens it has the first 4,096, since reading all 49,152 costs transformers ten seconds each time. They are
a tokenizer of their own: first the control tokens, then the bytes, then what each merge makes, in the merges' order.
"""

import gguf
import numpy as np

from instag_hf.engines import embedded

LAYERS, HEADS, KV_HEADS, WIDTH, INNER = 2, 4, 2, 64, 128
VOCABULARY, UNMERGED = 4096, 252  # tokens; those of the base that no merge makes


def drawn(draw, scale, shape):
    """Draw float32 values that bfloat16 holds exactly, so that loading in either loses nothing."""
    values = draw.normal(0, scale, shape).astype(np.float32)
    return (values.view(np.uint32) & 0xFFFF0000).view(np.float32)


def write_tiny_llama(path, seed=0):
    """Write a float32 GGUF model with the first tokens of the embedded tagger's base."""
    base = gguf.GGUFReader(embedded.find_base())
    writer = gguf.GGUFWriter(path, "llama")
    for name, field in base.fields.items():
        if name.startswith("tokenizer."):
            kind = field.types[0]
            if kind == gguf.GGUFValueType.ARRAY:
                writer.add_key_value(name, first_tokens(name, field.contents()), kind, field.types[-1])
            else:
                writer.add_key_value(name, field.contents(), kind)
    writer.add_context_length(512)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    kv = WIDTH * KV_HEADS // HEADS
    shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (kv, WIDTH), "attn_v": (kv, WIDTH), "attn_output": (WIDTH, WIDTH)}
    shapes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    draw = np.random.default_rng(seed)
    writer.add_tensor("token_embd.weight", drawn(draw, 0.3, (VOCABULARY, WIDTH)))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
        for name, shape in shapes.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", drawn(draw, 0.12, shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def first_tokens(name, values):
    """Keep what a list of the tokenizer says of the first tokens."""
    return values[: VOCABULARY - UNMERGED if name.endswith(".merges") else VOCABULARY]


def write_tiny_folder(folder):
    """Write the same model as transformers keeps it, which is loaded in a tenth of the time."""
    from instag_hf.training import load_base

    model, tokenizer = load_base(str(write_tiny_llama(folder / "tiny.gguf")), exact=True)
    model.save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(folder / "tiny")
    return folder / "tiny"
