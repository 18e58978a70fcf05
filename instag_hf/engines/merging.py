"""A base model and a LoRA adapter in, one GGUF file out, since applying an adapter at run time costs speed."""

import functools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instag_hf.errors import InputError, MissingError

if TYPE_CHECKING:
    import gguf
    import numpy as np


def merge(base: Path, adapter: Path, target: Path) -> None:
    """Add a LoRA adapter to its base model and write one GGUF file, with the changed matrices in Q8_0.

    Args:
        base: A GGUF model.
        adapter: A GGUF adapter for it; its change of a matrix is `alpha / rank * B @ A`.
        target: Where to write; appears whole or not at all.

    Raises:
        InputError: The adapter is of another base.
        MissingError: The package `gguf` is not installed.
    """
    gguf = gguf_package()
    model, change = gguf.GGUFReader(base), gguf.GGUFReader(adapter)
    alpha = float(change.get_field("adapter.lora.alpha").contents())
    matrices = {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type) for tensor in change.tensors}
    _check_adapter(model, matrices, base, adapter)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    os.close(handle)
    try:
        writer = gguf.GGUFWriter(name, model.get_field("general.architecture").contents())
        _copy_fields(gguf, model, writer)
        for tensor in model.tensors:
            a, b = (matrices.get(f"{tensor.name}.lora_{side}") for side in "ab")
            if a is None or b is None:
                writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
                continue
            merged = gguf.dequantize(tensor.data, tensor.tensor_type) + alpha / a.shape[0] * (b @ a)
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(tensor.name, gguf.quantize(merged, kind), raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)


def gguf_package() -> Any:
    """Return the package that reads and writes GGUF files.

    Raises:
        MissingError: It is not installed.
    """
    try:
        import gguf
    except ImportError as error:
        raise MissingError('GGUF files: need the package gguf. pip install "instag-hf[embedded]"') from error
    return gguf


def is_adapter(path: Path) -> bool:
    """Whether a GGUF file is an adapter, and not a whole model.

    Raises:
        InputError: It is no GGUF file.
        MissingError: The package `gguf` is not installed.
    """
    found = path.stat()
    return _says_adapter(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache
def _says_adapter(path: Path, changed_ns: int, size: int) -> bool:
    """Read a file's header once, as long as it is the same file."""
    try:
        field = gguf_package().GGUFReader(path).get_field("general.type")
    except (ValueError, IndexError) as error:
        raise InputError(f"engine embedded: expected a GGUF file, found {path.name}: {error}.") from error
    return field is not None and field.contents() == "adapter"


def _check_adapter(model: "gguf.GGUFReader", matrices: Mapping[str, "np.ndarray"], base: Path, adapter: Path) -> None:
    """Refuse an adapter of another base, of which a part would be left out or fit by chance."""
    fitting: set[str] = set()
    for tensor in model.tensors:
        names = [f"{tensor.name}.lora_{side}" for side in "ab"]
        a, b = (matrices.get(name) for name in names)
        if a is None or b is None:
            continue
        if (len(b), a.shape[1]) == tuple(tensor.shape[::-1]) and b.shape[1] == len(a):
            fitting.update(names)
    if other := sorted(set(matrices) - fitting):
        raise InputError(
            f"engine embedded: expected an adapter for {base.name}, found {adapter.name}, whose {other[0]} has no "
            "place in it. Give a whole GGUF model, or an adapter of this base."
        )


def _copy_fields(gguf: Any, model: "gguf.GGUFReader", writer: "gguf.GGUFWriter") -> None:
    for name, field in model.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":  # the writer writes these itself
            continue
        kind = field.types[0]
        writer.add_key_value(
            name, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        )
