"""All names of the package; importing this registers all types."""

from .apis.predictor import Predictor  # noqa: F401
from .datasets import *  # noqa: F403
from .engine import *  # noqa: F403
from .models import *  # noqa: F403
