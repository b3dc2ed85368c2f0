"""Choose a config's settings on its validation images: python tools/search.py CONFIG."""

import sys

from mmdmlora.cli import main

if __name__ == '__main__':
    main(['search', *sys.argv[1:]])
