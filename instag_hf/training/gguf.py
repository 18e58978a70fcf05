"""LoRA adapters between peft and llama.cpp.

Both hold the same two matrices for each projection under other names; only files of the llama family order the rows of
the query and key projections differently, because they rotate neighbouring pairs of rows where transformers rotates
the two halves of a head.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from instag_hf.engines.merging import gguf_package
from instag_hf.errors import InputError

PREFIX = "base_model.model."
ROTATED = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
REORDERED = {"llama": True, "mistral": True, "qwen2": False, "qwen3": False}  # model type: rows of q and k reordered?
ARCHITECTURES = {"mistral": "llama"}  # llama.cpp's name, where it is another


class LoraFile(NamedTuple):
    """An adapter's matrices by the base's tensor name: `(A, B)` of shapes (rank, in) and (out, rank), and its alpha."""

    matrices: dict[str, tuple[np.ndarray, np.ndarray]]
    alpha: float


def save_gguf(
    matrices: Mapping[str, tuple[np.ndarray, np.ndarray]],
    alpha: float,
    config: Any,
    target: Path,
    dtype: type[np.floating[Any]] = np.float16,
) -> None:
    """Write a LoRA adapter as a GGUF file that llama.cpp applies to its base.

    Args:
        matrices: For each projection by transformers' name (`model.layers.0.self_attn.q_proj`), `(A, B)` of shapes
            (rank, in) and (out, rank).
        alpha: LoRA's alpha; llama.cpp adds `alpha / rank * B @ A`.
        config: The base model's configuration.
        target: The file to write.
        dtype: Of the matrices in the file; llama.cpp also rounds what it multiplies them with to it.

    Raises:
        InputError: The base's architecture, or one of its projections, has no known counterpart in llama.cpp.
        MissingError: The package `gguf` is not installed.
    """
    gguf = gguf_package()
    names = _names(gguf, config, matrices)
    writer = gguf.GGUFWriter(target, ARCHITECTURES.get(config.model_type, config.model_type))
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(alpha))
    for module, (a, b) in matrices.items():
        writer.add_tensor(f"{names[module]}.lora_a", a.astype(dtype))
        writer.add_tensor(f"{names[module]}.lora_b", _reorder(module, b, config).astype(dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def load_gguf(path: Path, config: Any, modules: list[str]) -> LoraFile:
    """Read a GGUF adapter back under transformers' names: the inverse of `save_gguf`.

    Args:
        path: The adapter.
        config: The base model's configuration.
        modules: The base's projections by transformers' name.

    Raises:
        InputError: The file is no adapter for this base.
        MissingError: The package `gguf` is not installed.
    """
    gguf = gguf_package()
    try:
        reader = gguf.GGUFReader(path)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"adapter: expected a GGUF file, found {path.name}: {error}.") from error
    alpha = reader.get_field("adapter.lora.alpha")
    if alpha is None:
        raise InputError(f"adapter: expected a LoRA adapter, found {path.name} without adapter.lora.alpha.")
    names, wanted = _names(gguf, config, modules), ARCHITECTURES.get(config.model_type, config.model_type)
    told = reader.get_field("general.architecture")
    if told is None or told.contents() != wanted:  # tensors of many architectures have the same names
        found = "none" if told is None else told.contents()
        raise InputError(
            f"adapter: expected an adapter of the architecture {wanted}, found {found!s:.40} in {path.name}. "
            "Choose an adapter of this base."
        )
    tensors = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    matrices = {}
    for module, name in names.items():
        if {f"{name}.lora_a", f"{name}.lora_b"} <= tensors.keys():
            a, b = (tensors.pop(f"{name}.lora_{side}") for side in "ab")
            matrices[module] = (a, _reorder(module, b, config, back=True))
    if tensors or not matrices:
        raise InputError(f"adapter: {path.name} has tensors that the base has not: {sorted(tensors)[:3]}.")
    return LoraFile(matrices, float(alpha.contents()))


def lora_matrices(state: Mapping[str, Any]) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """Take the pairs of matrices out of a peft adapter's state, by transformers' name of the projection."""
    for key in state:
        if key.endswith(".lora_A.weight"):
            module = key.removeprefix(PREFIX).removesuffix(".lora_A.weight")
            a, b = (state[key.replace("lora_A", side)].float().cpu().numpy() for side in ("lora_A", "lora_B"))
            yield module, (a, b)


def check_gguf(config: Any) -> None:
    """Refuse a base whose adapters could not be written for llama.cpp.

    Raises:
        InputError: The architecture is not one of those we know the row order of.
        MissingError: The package `gguf` is not installed.
    """
    gguf_package()
    if config.model_type not in REORDERED:
        raise InputError(
            f"gguf: expected a base of the architectures {sorted(REORDERED)}, found {config.model_type!r}. "
            "Write the formats adapter or merged, and convert them with llama.cpp's own scripts."
        )


def _names(gguf: Any, config: Any, modules: Any) -> dict[str, str]:
    check_gguf(config)
    wanted = ARCHITECTURES.get(config.model_type, config.model_type)
    arch = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == wanted)
    known = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    names = {module: known.get_name(module) for module in modules}
    missing = [module for module, name in names.items() if name is None]
    if missing:
        raise InputError(f"gguf: llama.cpp has no tensor for the projections {missing[:3]}.")
    return {module: f"{name}.weight" for module, name in names.items()}


def _reorder(module: str, b: np.ndarray, config: Any, *, back: bool = False) -> np.ndarray:
    heads = ROTATED.get(module.rsplit(".", 1)[-1])
    if heads is None or not REORDERED[config.model_type]:
        return b
    if len(b) % (2 * getattr(config, heads)):
        raise InputError(f"adapter: expected rows of {module} for {getattr(config, heads)} heads, found {len(b)} rows.")
    halves = len(b) // getattr(config, heads) // 2
    shape = (-1, halves, 2, b.shape[1]) if back else (-1, 2, halves, b.shape[1])
    return b.reshape(shape).swapaxes(1, 2).reshape(b.shape)
