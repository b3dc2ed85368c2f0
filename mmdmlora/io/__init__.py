"""Files in and out: the lowest layer, which imports nothing else of this package.

| file | what it does |
|---|---|
| ``atomic.py`` | writes a file whole or not at all |
| ``journal.py`` | notes which files are changing, for the start after a kill |
| ``weights.py`` | writes files of weights, ``.pth`` or ``.safetensors`` |
| ``signed_text.py`` | writes Python files that show whether they were changed |
| ``file_backends.py`` | the same for mmengine's file backends |
| ``schemes.py`` | loads a checkpoint from a path, a web address or a name |
| ``safe_load.py`` | loads a checkpoint file without running code from it |
| ``refusals.py`` | finds the files that must not be loaded, and explains why |
| ``stock_objects.py`` | rebuilds the objects that stock OpenMMLab checkpoints pickle |
| ``plain.py`` | turns a checkpoint into plain data that loads safely, and back |
| ``nested.py`` | replaces values inside nested containers |
| ``home.py`` | expands ``~`` in paths and configs |

Importing it changes nothing in other packages. :func:`install_safe_loaders` does, when it
is called.
"""

from .atomic import atomic_save, atomic_write, remove_partial_files
from .file_backends import AtomicBackend, LateRemoval, atomic_backend_args
from .home import expand_home
from .journal import Journal
from .plain import from_plain, to_plain
from .safe_load import load_checkpoint_file
from .schemes import install_safe_loaders, load_checkpoint
from .signed_text import is_unchanged, write_signed
from .weights import WEIGHTS_ENDINGS, save_weights

__all__ = [
    'WEIGHTS_ENDINGS',
    'AtomicBackend',
    'Journal',
    'LateRemoval',
    'atomic_backend_args',
    'atomic_save',
    'atomic_write',
    'expand_home',
    'from_plain',
    'install_safe_loaders',
    'is_unchanged',
    'load_checkpoint',
    'load_checkpoint_file',
    'remove_partial_files',
    'save_weights',
    'to_plain',
    'write_signed',
]
