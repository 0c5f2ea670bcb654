"""The whole pipeline under everything at once, in virtual time.

A failure prints the steps that led to it, shrunk, and a blob: put `@reproduce_failure(…)` on the test to play it again.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.conftest import MakePlay
from tests.property.machine import Machine

EXAMPLES = 120
STEPS = 30
LONG_EXAMPLES, LONG_STEPS = 3000, 50


def run(make: MakePlay, *, examples: int, steps: int, derandomize: bool) -> None:
    machine = type("Machine", (Machine,), {"new_play": staticmethod(make)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=derandomize,
            database=None,
            deadline=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(1200)
def test_whatever_happens_each_message_arrives_once_and_in_order(play_on_sqlite: MakePlay) -> None:
    run(play_on_sqlite, examples=EXAMPLES, steps=STEPS, derandomize=True)


@pytest.mark.soak
def test_thousands_of_stories_on_sqlite(play_on_sqlite: MakePlay) -> None:
    run(play_on_sqlite, examples=LONG_EXAMPLES, steps=LONG_STEPS, derandomize=False)


@pytest.mark.soak
@pytest.mark.postgres
def test_thousands_of_stories_on_postgresql(play_on_postgres: MakePlay) -> None:
    run(play_on_postgres, examples=LONG_EXAMPLES, steps=LONG_STEPS, derandomize=False)
