"""How many examples the property tests try.

``ci`` is the default: the same examples in each run, about a minute in all. For other
examples, and many more of them: ``HYPOTHESIS_PROFILE=long pytest tests/test_properties``.
"""

import os

from hypothesis import HealthCheck, settings

SHARED = dict(
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile('ci', max_examples=110, derandomize=True, **SHARED)
settings.register_profile('long', max_examples=800, derandomize=False, **SHARED)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'ci'))
