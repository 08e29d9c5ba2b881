"""What `ringlane status` says of accounts that can not send new orders."""

from __future__ import annotations

from rich.text import Text

from tools.notes_view import account_parts


def test_an_account_that_is_not_up_is_shown_with_what_it_waits_for() -> None:
    states = {"main": "UP", "second": "SYNCING", "third": "LOGGING_IN"}
    waits = {"second": "waits 3.5 s for rate: the lists of a comparison (40 of weight_1m); 2.0 s so far"}
    parts = account_parts({"accounts": {"gateway": {"states": states, "waits": waits}}})
    assert [part.plain for part in parts if isinstance(part, Text)] == [
        f"Account second: SYNCING; {waits['second']}",
        "Account third: LOGGING_IN",
    ]
    assert account_parts({}) == []
