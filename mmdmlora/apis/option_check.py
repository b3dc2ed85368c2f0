"""Refusing ``--cfg-options`` that would change nothing."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from mmengine.config import Config
from mmengine.runner import Runner

from .compose import places_of

# What is read from a finished config besides the arguments of the Runner's constructor:
# by the Runner, and by the messages about missing files.
OTHER_KEYS = {
    'model_wrapper_cfg',
    'find_unused_parameters',
    'sync_bn',
    'compile',
    'activation_checkpointing',
    'efficient_conv_bn_eval',
    'custom_imports',
    'test_model_init',
    'weights_source',
    'data_source',
}
READ = OTHER_KEYS | {*inspect.signature(Runner.__init__).parameters} - {'self', 'cfg'}
CHOICES = 'Name another config, <method>/<backbone>_<task>, or write one with compose().'


def check_options(config: Config, options: Iterable[str]) -> None:
    """Refuse ``--cfg-options`` that would change nothing.

    A file may compute settings from names of its own, such as ``num_classes`` or
    ``vis_backends``, and they stay in the config. Once it is read, a change of them
    reaches nothing: only what the Runner reads has an effect.

    Args:
        config (Config): The config before they are merged into it.
        options (Iterable[str]): Their keys, with dots.

    Raises:
        ValueError: Naming the option and the settings to change instead.
    """
    for option in options:
        name, *rest = option.split('.')
        if name not in READ:
            raise ValueError(
                f'--cfg-options {option} would change nothing: of the finished config '
                f'nothing reads {name!r}. {_remedy(config, name, rest)}'
            )


def _remedy(config: Config, name: str, rest: list[str]) -> str:
    places = places_of(name, config)
    if places == []:
        return CHOICES
    places = places or [*_places(config, name)]
    if not places and name not in config:
        if near := get_close_matches(name, READ, n=1):
            return f'Is it {".".join([*near, *rest])}?'
        return 'Leave it out.'
    if not places:
        return 'Change it in the file of the config.'
    keys = ', '.join('.'.join([place, *rest]) for place in places)
    return f'Set {keys}{" together" if len(places) > 1 else ""}.'


def _places(config: Config, name: str) -> Iterator[str]:
    """The settings that are read and have this name, or hold what the name stands for."""
    value = config.get(name)
    stood_for = value if isinstance(value, dict | list) and value else None
    read = {key: item for key, item in config.items() if key in READ}
    yield from _below(read, '', name, stood_for)


def _below(node: object, path: str, name: str, value: object) -> Iterator[str]:
    if isinstance(node, dict):
        items = [(str(key), item) for key, item in node.items()]
    elif isinstance(node, list | tuple):
        items = [(str(index), item) for index, item in enumerate(node)]
    else:
        return
    for key, item in items:
        if key == name or (value is not None and item == value):
            yield f'{path}{key}'
        else:
            yield from _below(item, f'{path}{key}.', name, value)
