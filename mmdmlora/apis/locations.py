"""Where the configs lie: in a checkout, and in an installed package."""

from __future__ import annotations

from pathlib import Path

from mmdmlora.io import expand_home

PACKAGE = Path(__file__).resolve().parents[1]


def config_root() -> Path:
    """Return the folder of the configs that come with the package.

    A wheel carries it as ``mmdmlora/.mim/configs``, the place where OpenMMLab's tools
    look for it; in a checkout it is ``configs`` beside the package.

    Raises:
        ValueError: If the package was copied without it.
    """
    places = [PACKAGE / '.mim' / 'configs', PACKAGE.parent / 'configs']
    for place in places:
        if (place / '_base_').is_dir():
            return place
    raise ValueError(
        f'the configs of mmdmlora are in none of {[str(p) for p in places]}: install '
        'the package with pip, or name a config file.'
    )


def find_config(name: str | Path) -> Path:
    """Find the file that a config's name means, from any working directory.

    A path to a file, or into a folder of configs (one that has ``_base_``), means itself.
    Any other name means a config that comes with the package:
    ``<method>/<backbone>_<task>`` or ``<method>/timm/<name>_<task>``, also with
    ``configs/`` before it. The ending ``.py`` may be left out everywhere.

    Args:
        name (str | Path): What the user wrote.

    Returns:
        Path: The file. It need not exist: :func:`~mmdmlora.apis.compose.load_config`
        composes it from its name, or says what is wrong.
    """
    path = expand_home(Path(name))
    file = path if path.suffix == '.py' else Path(f'{path}.py')
    for candidate in (path, file):
        if candidate.is_file():
            return candidate
    folder = path.parent.parent if path.parent.name == 'timm' else path.parent
    if (folder.parent / '_base_').is_dir():
        return file
    parts = file.parts[file.parts[0] == 'configs' :]
    is_name = len(parts) == 2 + (folder != path.parent)
    return config_root().joinpath(*parts) if is_name else path
