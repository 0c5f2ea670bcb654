"""The table of states is walked here, and stands in the docstring as it stands in the code."""

from __future__ import annotations

import re

import sync.states
from sync.states import (
    DELIVERY_MOVES,
    FINAL_DELIVERY_STATES,
    FINAL_MESSAGE_STATES,
    MESSAGE_MOVES,
    DeliveryState,
    Event,
    MessageState,
)

LEAVES_FINAL = {Event.RETRY, Event.TOOK_OVER, Event.BACKFILLED, Event.SHOWN}


def test_every_state_can_be_reached() -> None:
    assert {to for moves in MESSAGE_MOVES.values() for to in moves} == set(MessageState)
    assert {to for moves in DELIVERY_MOVES.values() for to in moves} == set(DeliveryState)


def test_final_states_are_left_by_a_retry_a_backfill_or_by_a_copy_that_takes_over() -> None:
    for state, event in MESSAGE_MOVES:
        assert state not in FINAL_MESSAGE_STATES or event in LEAVES_FINAL
    for delivery_state, event in DELIVERY_MOVES:
        waits_for_a_word = delivery_state is DeliveryState.HELD and event in {Event.DROP, Event.RULE}
        assert delivery_state not in FINAL_DELIVERY_STATES or event in LEAVES_FINAL or waits_for_a_word


def test_sent_is_never_left() -> None:
    assert not [move for move in DELIVERY_MOVES if move[0] is DeliveryState.SENT]


def test_every_open_state_leads_to_a_final_one() -> None:
    reaches = set(FINAL_DELIVERY_STATES)
    for _ in DeliveryState:
        reaches |= {state for (state, _), to in DELIVERY_MOVES.items() if state is not None and to & reaches}
    assert reaches == set(DeliveryState)


def test_only_an_intent_leads_onto_the_wire() -> None:
    assert {event for (_, event), to in DELIVERY_MOVES.items() if DeliveryState.SENDING in to} == {Event.INTENT}


def test_an_unknown_outcome_is_decided_by_reading_back_settling_or_an_operator() -> None:
    events = {event for (state, event) in DELIVERY_MOVES if state is DeliveryState.UNKNOWN}
    assert events == {Event.READ_BACK, Event.SETTLED, Event.DROP}


def test_the_drawing_names_every_state() -> None:
    drawing = sync.states.__doc__ or ""
    for state in (*MessageState, *DeliveryState):
        assert re.search(rf"\b{state.value}\b", drawing), state
