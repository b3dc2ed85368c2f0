"""Draw samples of training sets: python tools/browse_data.py CONFIG ... --out FILE."""

import sys

from mmdmlora.cli import main

if __name__ == '__main__':
    main(['browse', *sys.argv[1:]])
