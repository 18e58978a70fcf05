"""Sparse matrices and graphs, which are scipy's; loaded when first needed, so that a saved vocabulary works without."""

from typing import Any

import numpy as np

from instag_hf.errors import MissingError


def sparse() -> Any:
    """Return `scipy.sparse`, with its graphs.

    Raises:
        MissingError: scipy is not installed.
    """
    try:
        import scipy.sparse.csgraph
    except ImportError as error:
        raise MissingError('normalizer: needs scipy. pip install "instag-hf[normalize]"') from error
    return scipy.sparse


def components(count: int, one: Any, other: Any, *, strong: bool = False) -> np.ndarray:
    """Number the connected components of a graph.

    Args:
        count: The number of points.
        one: Where each edge begins, shape (edges,).
        other: Where it ends.
        strong: Whether edges have a direction, and points must reach each other.

    Returns:
        Shape (count,): the component of each point.

    Raises:
        MissingError: scipy is not installed.
    """
    edges = np.ones(len(one), bool)
    graph = sparse().coo_matrix((edges, (one, other)), (count, count))
    found: np.ndarray = sparse().csgraph.connected_components(graph, directed=strong, connection="strong")[1]
    return found
