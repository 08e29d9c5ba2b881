"""The record of an order: which of routing, style and risk changed it, and by how much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from actors.execution import Execution
from actors.measures import measure_folders
from exec.slippage import Style
from shm.enums import Side
from shm.journal_reader import JournalFollower
from tests.actors.test_execution import BUY, PATIENCE_NS, SELL, Tape
from tests.actors.test_routing import E8, SECOND_NS, three
from tests.kit.three_books import BINANCE, CANONICAL, OKX
from tools.journal_view import Filter, View, documents, line, read_decision
from tools.verbs.journal import find_journals, run_cat


def give_folder(host: Any, folder: Path) -> None:
    """Let a virtual worker write what a live one writes."""
    object.__setattr__(host.spec, "state_dir", str(folder))
    host._shared.clear()


def decisions(folder: Path, order: int = 0) -> list[dict[str, Any]]:
    """What the journals of measurements tell, of one order or of all."""
    found = []
    for path, _ in measure_folders(folder):
        wanted = Filter(frozenset(("DECISION",)), order)
        found += list(documents(View(path), JournalFollower(path), wanted))
    return found


def test_a_style_that_was_chosen_stands_in_the_record_of_its_order(tmp_path: Path) -> None:
    tape = Tape()
    give_folder(tape.world.context.host, tmp_path)
    tape.world.actor.execution = Execution(tape.world.context, patience_ns=PATIENCE_NS)
    orders = []
    for side in (BUY, SELL):
        work = tape.work(side, style=Style.PASSIVE)
        tape.world.advance(2 * PATIENCE_NS)
        assert work.slippage is not None
        orders.append(work.slippage)
    assert len(decisions(tmp_path)) == 2
    (found,) = decisions(tmp_path, orders[1].order_id)
    assert (found["what"], found["client_order_id"]) == ("STYLE", orders[1].order_id)
    told = found["decision"]
    assert told["style"] == "passive" and told["cost_bps"] == pytest.approx(
        orders[1].total_e8 / 1e4, abs=1e-4
    )
    assert told["expected_bps"]["passive"] == pytest.approx(orders[0].total_e8 / 1e4, abs=1e-4)
    assert "style=passive" in line(found)


def test_a_route_stands_in_the_record_of_each_of_its_legs_with_what_risk_left_room_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = three()
    give_folder(world.context.host, tmp_path)
    plan = world.context.route(CANONICAL, Side.BUY, 4 * E8, position_limits={OKX: 40, BINANCE: 1_500})
    sent = world.context.send_route(plan)
    world.advance(SECOND_NS)
    found = {one["client_order_id"]: one["decision"] for one in decisions(tmp_path)}
    assert set(found) == set(sent.orders)
    for order_id, told in found.items():
        assert told["at"] == sent.orders[order_id]
        assert told["asked_e8"] == 4 * E8 and told["leg_of"] == len(sent.orders)
    rooms = {told["at"].partition(":")[0]: told["room_units"] for told in found.values()}
    assert 40 in rooms.values() and 1_500 in rooms.values()
    assert sum(told["leg_units"] for told in found.values()) == sum(
        leg.quantity_units for leg in plan.route.legs
    )
    order_id = next(iter(found))
    assert run_cat(find_journals(str(tmp_path), None), None, Filter(order=order_id), as_json=True) == 0
    (shown,) = [orjson.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert shown["kind"] == "DECISION" and shown["what"] == "ROUTE" and shown["decision"] == found[order_id]


def test_words_leave_out_what_is_nothing_and_the_object_keeps_it() -> None:
    found = read_decision('{"decision":"ROUTE","order":7,"room_units":0,"left_out":{},"leg_units":3}')
    assert found["text"] == "leg_units=3"
    assert found["decision"] == {"room_units": 0, "left_out": {}, "leg_units": 3}
