"""What all tests share: two host devices, a compilation cache, and double precision.

Compiling takes most of the suite's time, running almost none. So what XLA compiles is kept in
.cache/, which may be deleted at any time, and is compiled without most optimisations, by the
emitters of XLA that are quickest where this XLA has them still.
"""

import gc
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest


def _with_quick_emitters() -> str:
    """XLA_FLAGS for half the compile time, or as they are where XLA would stop at the flag."""
    flags = os.environ.get("XLA_FLAGS", "")
    more = f"{flags} --xla_cpu_use_fusion_emitters=false".strip()
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    tried = subprocess.run(command, env={**os.environ, "XLA_FLAGS": more}, capture_output=True)
    return flags if tried.returncode else more


if "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit it
    os.environ["XLA_FLAGS"] = _with_quick_emitters()
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_disable_most_optimizations", True)

# Entries are not written atomically: each process of a parallel run keeps its own.
_CACHE = Path(__file__).parents[1] / ".cache" / "jax" / os.environ.get("PYTEST_XDIST_WORKER", "gw0")
jax.config.update("jax_compilation_cache_dir", str(_CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def pytest_configure(config):
    # An entry that cannot be read is compiled again; that is no failure of a test.
    config.addinivalue_line("filterwarnings", "ignore:Error (reading|writing) persistent compil")


@pytest.fixture(autouse=True, scope="module")
def _programs_of_other_modules_are_let_go():
    """Each compiled program takes maps of memory, of which Linux allows a process 65,530."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def x64():
    """Double precision, for comparisons and finite differences to many digits."""
    with jax.enable_x64(True):
        yield
