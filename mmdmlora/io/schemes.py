"""Checkpoints by path, web address or name.

| scheme | what follows it |
|---|---|
| none | the path of a local file |
| ``http://``, ``https://`` | an address, cached where ``torch.hub`` keeps its files |
| ``mmdmlora://`` | weights that come with this package |
| ``openmmlab://``, ``open-mmlab://`` | a name in mmengine's list of models |
| ``mmcls://`` | a name in mmengine's list of mmcls models |
| ``torchvision://``, ``modelzoo://`` | a name in torchvision's list of models |

mmengine 0.10.7 loads web addresses and names without ``weights_only=True``, refuses
stock checkpoints on a current PyTorch, and executes the configs in a checkpoint as Python
when a training is resumed. :func:`load_checkpoint` does none of that.
"""

from __future__ import annotations

import os.path as osp
import sys
from os import makedirs
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_rank
from mmengine.runner import checkpoint as stock
from mmengine.runner.checkpoint import CheckpointLoader

from .safe_load import MapLocation, load_checkpoint_file

WEIGHTS_DIR = Path(__file__).resolve().parents[1] / 'weights'


def load_checkpoint(path_or_url: str | Path, map_location: MapLocation = 'cpu') -> dict:
    """Load a checkpoint of any scheme without running anything it contains.

    Args:
        path_or_url (str | Path): A path, or an address or name with a scheme of the
            table above. Other schemes (``s3://``, ``petrel://``, ``pavi://`` and those
            that a program has registered) are left to mmengine.
        map_location (str | device | callable | dict, optional): See
            :func:`~mmdmlora.io.safe_load.load_checkpoint_file`.

    Returns:
        dict: The checkpoint, without the configs inside.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the name is unknown, or the file can't be loaded safely.
    """
    name = str(path_or_url)
    for prefixes, loader in LOADERS.items():
        if name.startswith(prefixes):
            return loader(name, map_location)
    if '://' in name:
        return CheckpointLoader.load_checkpoint(name, map_location, logger='silent')
    return load_checkpoint_file(name, map_location)


def load_from_local(filename: str, map_location: MapLocation = None) -> dict:
    """Load a local file, by default to the CPU and not to the GPU it was saved on."""
    return load_checkpoint_file(filename, map_location)


def load_from_http(filename: str, map_location: MapLocation = None) -> dict:
    """Load a web address through torch.hub's cache; rank 0 downloads first."""
    folder = osp.join(torch.hub.get_dir(), 'checkpoints')
    cached = osp.join(folder, osp.basename(urlparse(filename).path))

    def download_if_absent() -> None:
        if not osp.isfile(cached):
            makedirs(folder, exist_ok=True)
            progress = sys.stderr.isatty()
            torch.hub.download_url_to_file(filename, cached, progress=progress)

    if get_rank() == 0:
        download_if_absent()
    barrier()
    download_if_absent()
    return load_checkpoint_file(cached, map_location)


def _look_up(filename: str, known: dict) -> str:
    name = filename.split('://', 1)[1]
    if name not in known:
        raise ValueError(f'{filename}: no such name. Choose from {sorted(known)}.')
    return known[name]


def load_from_torchvision(filename: str, map_location: MapLocation = None) -> dict:
    """Load a model of torchvision's list."""
    url = _look_up(filename, stock.get_torchvision_models())
    return load_from_http(url, map_location)


def load_from_mmcls(filename: str, map_location: MapLocation = None) -> dict:
    """Load the backbone of a model of mmengine's list of mmcls models."""
    url = _look_up(filename, stock.get_mmcls_models())
    return stock._process_mmcls_checkpoint(load_from_http(url, map_location))


def load_from_openmmlab(filename: str, map_location: MapLocation = None) -> dict:
    """Load a model of mmengine's list, whose entries are addresses or local files."""
    scheme, name = filename.split('://', 1)
    name = stock.get_deprecated_model_names().get(name, name)
    target = _look_up(f'{scheme}://{name}', stock.get_external_models())
    if target.startswith(('http://', 'https://')):
        return load_from_http(target, map_location)
    home = stock._get_mmengine_home()
    return load_checkpoint_file(osp.join(home, target), map_location)


def load_from_mmdmlora(filename: str, map_location: MapLocation = None) -> dict:
    """Load ``mmdmlora://<name>``: ``mmdmlora/weights/<name>.safetensors``."""
    known = {file.stem: file for file in WEIGHTS_DIR.glob('*.safetensors')}
    return load_checkpoint_file(_look_up(filename, known), map_location)


# mmengine's log shows what follows `load_from_` in a loader's name.
LOADERS = {
    ('http://', 'https://'): load_from_http,
    ('mmdmlora://',): load_from_mmdmlora,
    ('openmmlab://', 'open-mmlab://'): load_from_openmmlab,
    ('mmcls://',): load_from_mmcls,
    ('torchvision://', 'modelzoo://'): load_from_torchvision,
}


def install_safe_loaders() -> None:
    """Replace mmengine's checkpoint loaders by these, for the whole process.

    After that mmengine's Runner (``resume``, ``load_from``), its ``Pretrained``
    initialiser and its inferencers load safely too, and know ``mmdmlora://``. The command
    line tools call this. A second call changes nothing.

    ``pavi://``, ``s3://`` and ``petrel://`` keep mmengine's loaders: the clients that
    they need aren't public.
    """
    CheckpointLoader.register_scheme('', load_from_local, force=True)
    for prefixes, loader in LOADERS.items():
        CheckpointLoader.register_scheme(prefixes, loader, force=True)
