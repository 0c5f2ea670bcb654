"""Stories that the state machine told before they ended well, shrunk and put in plain words."""

from __future__ import annotations

from tests.property.conftest import MakePlay
from tests.property.people import ADA, ADA_AT_HOME


def test_a_refused_message_is_not_passed_in_its_conversation_by_another_address_of_its_customer(
    play_on_sqlite: MakePlay,
) -> None:
    """Its participant is asked for anew before the next try, and until then it stood in a lane of its own."""
    play = play_on_sqlite(False)
    try:
        play.reply(ADA)
        play.told.refusals += 1
        play.site.arm("status", call="messages.send", status=400, code="REFUSED")
        play.reply(ADA, ADA_AT_HOME)
        play.pass_time(1.0)
        play.finish()
    finally:
        play.close()


def test_a_backfill_brings_in_what_arrived_within_a_second_before_the_source_s_start(play_on_sqlite: MakePlay) -> None:
    """The first pass had left it out as older than the start; the backfill left it to the next pass, which would have taken
    it for new, since services tell arrival in whole seconds, had it not been recorded already."""
    play = play_on_sqlite(True)
    try:
        play.arrive_with_old_date(ADA, "INBOX", 1.0)
        play.back_fill(0.0, None)
        play.finish()
    finally:
        play.close()
