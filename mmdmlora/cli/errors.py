"""What a command prints where the input is at fault: a message, not a traceback."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmdmlora._requirements import MissingExtraError

# mmengine puts the chain of classes that it was building before an error's text, and
# PyTorch the traceback of a worker.
BUILD_CHAIN = re.compile(r'^(class `\w+` in \S+: )+')
WORKER = re.compile(r'^Caught \w+ in DataLoader worker process \d+\.\n.*\n\w+: ', re.S)
# Where mmengine reads a config: what these files refuse themselves is a wrong setting.
CONFIG_READERS = (
    Path('mmengine', 'registry', 'build_functions.py'),
    Path('mmengine', 'runner', 'runner.py'),
)
UNKNOWN_TYPE = re.compile(r'^(\S+) is not in the (\S+)::(.+) registry\.')
UNKNOWN_KEY = re.compile(
    r"^(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'"
)
MISSING_KEY = re.compile(
    r'^(\w+)\.__init__\(\) missing \d+ required \w+ arguments?: (.+)'
)
WITHOUT_TYPE = re.compile(r'must contain the key "type", but got (\{.*\})')
PEER_GONE = re.compile(r'Connection (closed|reset) by peer|Broken pipe')
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def user_errors() -> Iterator[None]:
    """End with a message where the input is at fault; with MMDMLORA_TRACEBACK, raise.

    At fault are a ValueError, a package of an extra that isn't installed, what the
    system refuses (OSError), what mmengine refuses while it reads a config, and another
    process of the run that has ended.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError):
            message = _system_message(error)
        elif isinstance(error, MissingExtraError):
            message = str(error)
        elif isinstance(error, ValueError):
            message = WORKER.sub('', BUILD_CHAIN.sub('', str(error))).rstrip()
        elif _is_about_config(error):
            message = _config_message(error)
        elif isinstance(error, RuntimeError) and PEER_GONE.search(str(error)):
            message = 'another process of this run has ended: its message says why.'
        else:
            raise
        if os.environ.get('MMDMLORA_TRACEBACK'):
            raise
        sys.exit(f'error: {message}\n(MMDMLORA_TRACEBACK=1 shows the traceback.)')


def _system_message(error: OSError) -> str:
    """What the system refused, of which file, and what to do."""
    if error.errno is None:
        return WORKER.sub('', str(error))
    name = error.filename2 or error.filename
    subject = f'{name}: {error.strerror}' if name else error.strerror
    if error.errno in DISK_FULL:
        return (
            f'{subject}. Make room on the disk. A training has kept its last '
            'checkpoint: go on with --resume.'
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f'{subject}. Name another place, or change who may read and write there.'
    if error.errno == errno.ENOENT:
        return f'{subject}. Check the path, and make the folder first.'
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return f'{subject}. A file and a folder are mixed up: name another path.'
    return f'{subject}.'


def _is_about_config(error: Exception) -> bool:
    """Whether an error comes from mmengine's reading of a config."""
    frames = traceback.walk_tb(error.__traceback__)
    files = [Path(frame.f_code.co_filename) for frame, _ in frames]
    is_reader = [
        any(f.parts[-len(e.parts) :] == e.parts for e in CONFIG_READERS) for f in files
    ]
    if isinstance(error, TypeError) and UNKNOWN_KEY.match(str(error)):
        # Our own classes pass the arguments on to a stock one.
        return any(is_reader)
    return is_reader[-1] and isinstance(error, KeyError | TypeError | AssertionError)


def _config_message(error: Exception) -> str:
    text = str(error.args[0] if error.args else error)
    if found := UNKNOWN_TYPE.match(text):
        name, scope, kind = found.groups()
        return (
            f'type={name!r} is no {kind} that is known in scope {scope}. Check the '
            'spelling, or import the module that has it with custom_imports.'
        )
    if found := UNKNOWN_KEY.match(text):
        return f'{found[1]} has no argument {found[2]!r}: check the setting of that name.'
    if found := MISSING_KEY.match(text):
        return f'{found[1]} needs {found[2]}: set it.'
    if found := WITHOUT_TYPE.search(text):
        return (
            f'the settings {found[1]} have no type: is the name before them misspelt? '
            'Otherwise add type.'
        )
    return f'{text.rstrip(".")}: check the settings of the config.'
