"""DMLoRA and its relatives for OpenMMLab; importing registers everything."""

from ._requirements import check_requirements

check_requirements()

from .datasets import *  # noqa: E402, F403
from .engine import *  # noqa: E402, F403
from .models import *  # noqa: E402, F403
from .version import __version__  # noqa: E402, F401
