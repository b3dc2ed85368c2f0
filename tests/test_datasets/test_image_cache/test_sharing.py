"""Processes of one machine share one copy of the images."""

from __future__ import annotations

import os
import socket
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch.distributed as dist

from mmdmlora.datasets import CustomDataset
from mmdmlora.datasets.image_cache import sharing
from tests.photos import class_folders, write_photo

PIPELINE = [
    dict(type='mmdmlora.LoadImageFromFile'),
    dict(type='Resize', scale=(24, 24)),
    dict(type='PackInputs'),
]
linux = pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc')


def mapped_inodes() -> set[str]:
    """The memory files that this process has mapped."""
    maps = Path('/proc/self/maps')
    lines = maps.read_text().splitlines() if maps.exists() else []
    return {line.split()[4] for line in lines if '/memfd:mmdmlora' in line}


def process(rank: int, root: str, case: str, port: int, queue) -> None:
    inherited = mapped_inodes()
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    dist.init_process_group('gloo', rank=rank, world_size=2)
    folder = f'photos{rank}' if case == 'other images' else 'photos'
    if case == 'two machines':
        sharing._machine = lambda: (f'host {rank}', '')
    if case == 'closed' and rank == 1:
        sharing.ImageStore.open = _refuse
    budget = 1e-6 if case == 'small' else 1
    dataset = CustomDataset(
        data_root=root,
        data_prefix=folder,
        pipeline=PIPELINE,
        cache='memory',
        cache_gib=budget,
    )
    try:
        report = dataset.fill_cache()
        outcome = (report.is_shared, report.reason, dataset[2]['inputs'].sum().item())
    except ValueError as error:
        outcome = str(error)
    dist.barrier()
    queue.put((rank, outcome, mapped_inodes() - inherited))
    dist.barrier()


def _refuse(handle):
    raise PermissionError(13, 'Permission denied')


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def both(root: Path, case: str) -> list[tuple]:
    """What the processes report, and the memory files that each has mapped."""
    context = get_context('fork')
    queue = context.Queue()
    port = free_port()
    processes = [
        context.Process(target=process, args=(rank, str(root), case, port, queue))
        for rank in range(2)
    ]
    for each in processes:
        each.start()
    found = sorted((queue.get(timeout=120) for _ in processes), key=lambda x: x[0])
    for each in processes:
        each.join(60)
    return [(outcome, inodes) for _, outcome, inodes in found]


@linux
def test_two_processes_of_a_machine_have_one_copy(tmp_path):
    class_folders(tmp_path / 'photos')
    (first, first_maps), (second, second_maps) = both(tmp_path, 'one copy')
    assert (first[0], second[0]) == (False, True)
    assert first[1:] == second[1:] and not first[1]
    assert len(first_maps) == 1 and first_maps == second_maps


@linux
@pytest.mark.parametrize('case', ['two machines', 'closed', 'other images'])
def test_others_have_copies_of_their_own(case, tmp_path):
    for number, name in enumerate(('photos', 'photos0', 'photos1')):
        class_folders(tmp_path / name, 6 + number)
    (first, first_maps), (second, second_maps) = both(tmp_path, case)
    assert not first[0] and not second[0] and not first[1] and not second[1]
    assert first[2] == second[2]
    assert len(first_maps) == len(second_maps) == 1
    assert first_maps.isdisjoint(second_maps)


def test_both_fall_back_to_the_files(tmp_path):
    class_folders(tmp_path / 'photos')
    (first, _), (second, _) = both(tmp_path, 'small')
    assert first == second and 'more than cache_gib=1e-06' in first[1]


def test_a_damaged_image_ends_both_with_the_same_message(tmp_path):
    class_folders(tmp_path / 'photos')
    path = tmp_path / 'photos' / 'dog' / '3.jpg'
    write_photo(path, 3)
    path.write_bytes(path.read_bytes()[:300])
    (first, _), (second, _) = both(tmp_path, 'damaged')
    assert first == second and str(path) in first and 'is cut off' in first
