"""Who waits in a queue, and who is offered a match: nobody is in two, and nobody is forgotten."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pgnet_trio.matchmaking import Offer, Pool

NAMES = ["ann", "bob", "eve", "joe", "kim", "lea"]


def pool_of(*names: str) -> Pool:
    pool = Pool()
    for number, name in enumerate(names):
        pool.add(name, 0.0, {}, float(number))
    return pool


def waiting(pool: Pool) -> list[str]:
    return [ticket.username for ticket in pool.tickets(100.0)]


def test_a_ticket_says_how_long_its_user_has_waited() -> None:
    pool = Pool()
    pool.add("ann", 1200.0, {"mode": "blitz"}, 5.0)
    (ticket,) = pool.tickets(12.5)
    assert (ticket.username, ticket.waited, ticket.rating) == ("ann", 7.5, 1200.0)
    assert ticket.properties == {"mode": "blitz"}


def test_nobody_is_in_a_queue_twice() -> None:
    pool = pool_of("ann")
    with pytest.raises(ValueError, match="in this queue already"):
        pool.add("ann", 0.0, {}, 1.0)


def test_whoever_is_away_keeps_their_place_and_is_in_no_new_match() -> None:
    pool = pool_of("ann", "bob", "eve")
    entry = pool.get("ann")
    assert entry is not None
    entry.is_away = True
    assert waiting(pool) == ["bob", "eve"]
    assert pool.propose(["ann", "bob"], 10.0) is None
    entry.is_away = False
    assert waiting(pool) == ["ann", "bob", "eve"]


def test_an_offer_that_somebody_does_not_confirm_leaves_the_others_in_their_places() -> None:
    pool = pool_of("ann", "bob", "eve")
    offer = pool.propose(["ann", "bob"], 10.0)
    assert offer is not None
    assert waiting(pool) == ["eve"]
    assert pool.confirm("ann", offer.id) is offer
    assert offer.missing == {"bob"}
    assert pool.overdue(9.9) == []
    assert pool.overdue(10.0) == [offer]
    assert [each.username for each in pool.call_off(offer, offer.missing)] == ["ann"]
    assert waiting(pool) == ["ann", "eve"]
    assert pool.get("bob") is None
    assert pool.call_off(offer) == []
    assert pool.confirm("ann", offer.id) is None


def test_an_offer_that_all_have_confirmed_has_no_deadline_any_more() -> None:
    pool = pool_of("ann", "bob")
    offer = pool.propose(["ann", "bob"], 10.0)
    assert offer is not None
    deadlines = [pool.deadline]
    for name in ("ann", "bob"):
        pool.confirm(name, offer.id)
        deadlines.append(pool.deadline)
    assert deadlines == [10.0, 10.0, None]
    assert pool.overdue(1000.0) == []
    pool.take(offer)
    assert len(pool) == 0


def test_an_offer_is_over_when_one_of_it_goes() -> None:
    pool = pool_of("ann", "bob", "eve")
    offer = pool.propose(["bob", "eve"], 10.0)
    assert offer is not None
    assert pool.remove("bob") is offer
    assert waiting(pool) == ["ann", "eve"]
    with pytest.raises(ValueError, match="called off"):
        pool.take(offer)
    assert pool.remove("bob") is None


def test_nobody_confirms_a_match_of_others() -> None:
    pool = pool_of("ann", "bob", "eve")
    offer = pool.propose(["ann", "bob"], 10.0)
    assert offer is not None
    assert pool.confirm("eve", offer.id) is None
    assert pool.confirm("joe", offer.id) is None
    assert offer.missing == {"ann", "bob"}


class Pools(RuleBasedStateMachine):
    """Whatever happens to a pool, against a list of who came."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool()
        self.there: list[str] = []
        self.offers: list[Offer] = []
        self.now = 0.0

    @rule(name=st.sampled_from(NAMES))
    def come(self, name: str) -> None:
        if name not in self.there:
            self.now += 1
            self.pool.add(name, 0.0, {}, self.now)
            self.there.append(name)

    @rule(name=st.sampled_from(NAMES))
    def go(self, name: str) -> None:
        self.pool.remove(name)
        if name in self.there:
            self.there.remove(name)

    @rule(name=st.sampled_from(NAMES), away=st.booleans())
    def be_away(self, name: str, away: bool) -> None:
        entry = self.pool.get(name)
        if entry is not None:
            entry.is_away = away

    @rule(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    def propose(self, names: list[str]) -> None:
        free = set(waiting(self.pool))
        offer = self.pool.propose(names, self.now + 10)
        assert (offer is not None) == (set(names) <= free)
        if offer is not None:
            self.offers.append(offer)

    @rule(name=st.sampled_from(NAMES), number=st.integers(0, 20))
    def confirm(self, name: str, number: int) -> None:
        self.pool.confirm(name, number)

    @rule(number=st.integers(0, 20))
    def make(self, number: int) -> None:
        for offer in self.offers[number : number + 1]:
            if offer.is_open and not offer.missing:
                self.pool.take(offer)
                for entry in offer.entries:
                    self.there.remove(entry.username)

    @rule(number=st.integers(0, 20), out=st.sets(st.sampled_from(NAMES)))
    def call_off(self, number: int, out: set[str]) -> None:
        for offer in self.offers[number : number + 1]:
            was_open = offer.is_open
            back = self.pool.call_off(offer, out)
            if was_open:
                gone = {each.username for each in offer.entries} & out
                self.there = [name for name in self.there if name not in gone]
                assert {each.username for each in back} == {
                    each.username for each in offer.entries
                } - out

    @invariant()
    def all_are_there_in_the_order_of_coming(self) -> None:
        assert [entry.username for entry in self.pool] == self.there

    @invariant()
    def nobody_is_in_two_offers_and_whoever_waits_is_in_none(self) -> None:
        offered = [
            entry.username for offer in self.offers if offer.is_open for entry in offer.entries
        ]
        assert len(offered) == len(set(offered))
        assert set(offered) <= set(self.there)
        away = {entry.username for entry in self.pool if entry.is_away}
        assert set(waiting(self.pool)) == set(self.there) - set(offered) - away
        for offer in self.offers:
            assert not offer.is_open or all(each.offer is offer for each in offer.entries)


TestPools = Pools.TestCase
TestPools.settings = settings(max_examples=60, stateful_step_count=30)
