"""Places and paces: who gets a place, who owes, and who speaks for many."""

import random

import pytest

from trade_engine.http.connections import (
    FULL,
    PAUSE_MIN_S,
    TOO_MANY,
    Connections,
    ConnectionSettings,
    NoPlace,
    Pace,
    Paces,
    Slot,
)

ONE, TWO = ("203.0.113.1", 5), ("203.0.113.2", 5)
FREE = Pace(0, 1)


class Clock:
    """Seconds, turned by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def places(clock: Clock | None = None, **settings: object) -> Connections:
    usual: dict[str, object] = {"address_accepts": FREE, "reserve": 0}
    return Connections(ConnectionSettings(**usual | settings), clock or Clock())  # type: ignore[arg-type]


def slot(place: Slot | NoPlace) -> Slot:
    assert isinstance(place, Slot)
    return place


def test_an_address_has_so_many_places_and_the_others_keep_theirs() -> None:
    all_places = places(address_connections=2)
    first = slot(all_places.admit(ONE))
    slot(all_places.admit(("::ffff:203.0.113.1", 5, 0, 0)))
    assert all_places.admit(ONE) == TOO_MANY
    slot(all_places.admit(TWO))
    first.release()
    first.release()
    assert all_places.open == 2
    slot(all_places.admit(ONE))
    assert all_places.admit(ONE) == TOO_MANY
    assert all_places.refused == 2


def test_the_server_has_so_many_places() -> None:
    all_places = places(connections=2)
    first, _ = slot(all_places.admit(ONE)), slot(all_places.admit(TWO))
    assert all_places.admit(("203.0.113.3", 1)) == FULL
    first.release()
    slot(all_places.admit(("203.0.113.3", 1)))


def test_an_address_connects_no_faster_than_its_pace() -> None:
    clock = Clock()
    all_places = places(clock, address_accepts=Pace(10, 3))
    taken = [all_places.admit(ONE) for _ in range(10)]
    assert [isinstance(place, Slot) for place in taken] == [True] * 4 + [False] * 6
    slot(all_places.admit(TWO))
    clock.now += 0.2
    assert [isinstance(all_places.admit(ONE), Slot) for _ in range(4)] == [True, True, False, False]


def test_a_place_in_reserve_is_for_probes_and_few_are_of_one_address() -> None:
    all_places = places(connections=1, reserve=3, address_reserve=2)
    slot(all_places.admit(ONE))
    probes = [slot(all_places.admit(ONE)) for _ in range(2)]
    assert {probe.refusal for probe in probes} == {FULL}
    assert all_places.admit(ONE) == FULL
    other = slot(all_places.admit(TWO))
    assert all_places.admit(("203.0.113.3", 1)) == FULL
    assert all_places.open == 1
    for probe in (*probes, other):
        probe.release()
    assert slot(all_places.admit(ONE)).refusal == FULL


def test_an_address_takes_places_in_reserve_no_faster_than_their_pace() -> None:
    clock = Clock()
    all_places = places(clock, address_connections=1, reserve=3, address_reserve=2, reserve_accepts=Pace(10, 20))
    slot(all_places.admit(ONE))
    taken = 0
    for _ in range(1_000):
        place = all_places.admit(ONE)
        if isinstance(place, Slot):
            taken += 1
            place.release()
    assert 20 <= taken <= 21
    clock.now += 1
    assert isinstance(all_places.admit(ONE), Slot)


def test_a_trusted_proxy_is_not_limited_and_the_address_it_names_is_charged() -> None:
    clock = Clock()
    all_places = places(
        clock, address_connections=1, address_messages=Pace(10, 2), trusted_proxies=("10.0.0.0/8", "localhost")
    )
    proxied = [slot(all_places.admit(("10.1.2.3", 1))) for _ in range(5)]
    for place in proxied:
        place.charge(100)
        assert place.wait_s() == 0
    proxied[0].speaks_for("203.0.113.9")
    proxied[0].charge(100)
    assert proxied[0].wait_s() > 0
    assert proxied[1].wait_s() == 0
    slot(all_places.admit(("11.1.2.3", 1)))
    assert all_places.admit(("11.1.2.3", 1)) == TOO_MANY


def test_everybody_is_trusted_by_a_star_and_nobody_behind_a_unix_socket_has_an_address() -> None:
    trusting = places(address_connections=1, trusted_proxies=("*",))
    assert all(isinstance(trusting.admit(ONE), Slot) for _ in range(3))
    assert all(isinstance(places(address_connections=1).admit(peer), Slot) for peer in ("", None, b"", ()))


def test_who_owes_waits_and_is_within_the_pace_again_in_time() -> None:
    clock = Clock()
    all_places = places(clock, address_messages=Pace(10, 5))
    one, again, other = (slot(all_places.admit(peer)) for peer in (ONE, ONE, TWO))
    one.charge(5)
    assert one.wait_s() == again.wait_s() == 0
    one.charge(2)
    assert one.wait_s() == again.wait_s() == pytest.approx(0.2)
    assert other.wait_s() == 0
    clock.now += 0.199
    assert one.wait_s() == PAUSE_MIN_S
    clock.now += 0.002
    assert one.wait_s() == 0
    one.charge(10_000)
    assert one.wait_s() == 1.0
    one.release()
    one.charge(1)
    assert one.wait_s() == 0


def test_no_more_than_the_pace_passes_however_it_is_asked() -> None:
    seed = random.randrange(2**32)
    chance, clock = random.Random(seed), Clock()
    paces, passed, started = Paces(Pace(50, 20), 100, clock), 0.0, clock.now
    for _ in range(5_000):
        clock.now += chance.expovariate(200)
        if not paces.owed_s("a"):
            cost = chance.choice((0.0625, 0.2, 1))
            paces.charge("a", cost)
            passed += cost
    assert passed <= 20 + 50 * (clock.now - started) + 1, seed
    assert passed >= 50 * (clock.now - started) * 0.9, seed


def test_nothing_costs_nothing() -> None:
    """A part of a message is no frame yet, and is counted as none."""
    paces = Paces(Pace(1, 1), 1, Clock())
    paces.charge("", 0)
    assert (paces.owed_s(""), len(paces)) == (0, 0)


def test_memory_is_bounded() -> None:
    clock = Clock()
    paces = Paces(Pace(1, 1), 50, clock)
    for number in range(10_000):
        paces.charge(str(number), 1)
    assert len(paces) <= 51
    clock.now += 10
    for number in range(60):
        paces.charge(f"b{number}", 0.1)
    assert len(paces) <= 61
    all_places = places()
    for number in range(1_000):
        slot(all_places.admit((f"10.0.{number // 256}.{number % 256}", 1))).release()
    assert not all_places._by_address
