"""Memory that a training on a CPU keeps."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc', reason='only glibc is told what to keep'
)
# Each turn frees eight blocks of 16 MiB. A page has 4 KiB or more.
COUNT = """
import resource, sys, torch
from mmdmlora.engine.freed_memory import keep_freed_memory

if sys.argv[1] == 'kept':
    print(keep_freed_memory())
def turn():
    blocks = [torch.ones(2**22) for _ in range(8)]
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    turn()
before = faults()
for _ in range(10):
    turn()
print((faults() - before) / 10)
"""


def run(*arguments: str, **environment: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, '-c', COUNT, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.split()


def test_a_step_takes_no_page_from_the_system():
    said, kept = run('kept')
    assert said == 'True'
    # By default glibc returns it too, unless something small lies on top of it.
    (returned,) = run('returned', MALLOC_MMAP_THRESHOLD_='1000000')
    page = os.sysconf('SC_PAGE_SIZE')
    assert float(kept) < 100
    assert float(returned) > 4 * 16 * 2**20 / page


@pytest.mark.parametrize(
    'variable',
    [
        dict(MALLOC_TRIM_THRESHOLD_='1000000'),
        dict(MALLOC_MMAP_THRESHOLD_='1000000'),
        dict(GLIBC_TUNABLES='glibc.malloc.trim_threshold=1000000'),
    ],
)
def test_the_environment_counts(variable):
    said, faults = run('kept', **variable)
    assert said == 'False' and float(faults) > 1000
