"""What `import jaxae` leaves undone."""

import subprocess
import sys


def test_an_import_starts_no_device_so_that_hosts_and_processes_can_still_be_set_up():
    code = (
        "import jax, jaxae; jax.config.update('jax_num_cpu_devices', 3); print(len(jax.devices()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "3"
