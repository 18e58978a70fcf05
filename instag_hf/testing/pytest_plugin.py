"""A Hub of this machine for a whole test session: `pytest_plugins = "instag_hf.testing.pytest_plugin"` in conftest.py.

It is asked for by name and is no entry point, because it turns every client of the session away from the real Hub.
"""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from instag_hf.testing.hub import LocalHub

_HUB = pytest.StashKey[LocalHub]()
_BEFORE = pytest.StashKey[dict[str, str | None]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the Hub and point the clients to it before any test file imports them.

    Raises:
        pytest.UsageError: One is imported already, so that it would ask the real Hub.
    """
    if "huggingface_hub.constants" in sys.modules:
        raise pytest.UsageError(
            "instag_hf.testing.pytest_plugin: expected huggingface_hub not to be imported yet, for it reads where the "
            "Hub is only then. Import it, datasets and transformers in tests or below, not in conftest.py."
        )
    hub = config.stash[_HUB] = LocalHub().start()
    config.stash[_BEFORE] = {name: os.environ.get(name) for name in hub.environ}
    os.environ.update(hub.environ)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the Hub, and put the environment back."""
    hub = config.stash.get(_HUB, None)
    if hub is None:
        return
    hub.close()
    for name, value in config.stash[_BEFORE].items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture
def local_hub(request: Any) -> Iterator[LocalHub]:
    """The session's Hub, with no faults and nothing seen; repositories stay, so give each test's a name of its own."""
    hub: LocalHub = request.config.stash[_HUB]
    yield _fresh(hub)
    _fresh(hub)


def _fresh(hub: LocalHub) -> LocalHub:
    try:
        hub.forget()
    except OSError:  # a test let it die
        hub.kill()
        hub.start()
    return hub
