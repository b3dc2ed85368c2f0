"""Files that ask for code when they are loaded, or that are far larger than they look."""

from __future__ import annotations

from tests.test_reliability import (
    hostile_code,
    hostile_lists,
    hostile_routes,
    hostile_sizes,
)

CASES = {
    **hostile_code.CASES,
    **hostile_routes.CASES,
    **hostile_sizes.CASES,
    **hostile_lists.CASES,
}
