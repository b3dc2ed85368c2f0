"""Settings and files that a run can't use, and what its user is told."""

from __future__ import annotations

from tests.test_reliability import bad_checkpoints, bad_places, bad_settings

CASES = {**bad_settings.CASES, **bad_checkpoints.CASES, **bad_places.CASES}
