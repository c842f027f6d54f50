"""Which statements a connection gives a name."""

from __future__ import annotations

from creto.store.postgres.statements import PREPARED_EVERY, PREPARED_MAX, SEEN_MAX, Key, Statements


def key(number: int = 0) -> Key:
    return (f"SELECT {number}", (20,))


def test_what_is_asked_often_gets_a_name_and_what_is_asked_once_none() -> None:
    known = Statements()
    assert [known.worth_a_name(key()) for _ in range(PREPARED_EVERY)] == [False] * (PREPARED_EVERY - 1) + [True]
    assert not known.worth_a_name(key(1))


def test_a_preparation_that_is_on_its_way_is_not_sent_again_and_one_that_failed_is() -> None:
    known = Statements()
    first = [known.worth_a_name(key()) for _ in range(2 * PREPARED_EVERY)]
    assert sum(first) == 1
    known.pending.clear()  # a transaction later, and the server never said that it has it
    assert sum(known.worth_a_name(key()) for _ in range(PREPARED_EVERY)) == 1


def test_the_oldest_name_makes_room() -> None:
    known = Statements()
    names = [known.new_name() for _ in range(PREPARED_MAX)]
    assert known.too_many() is None
    for number, name in enumerate(names):
        known.prepared(key(number), name)
    assert known.too_many() == names[0]
    assert key(0) not in known.names
    assert len(known.names) == PREPARED_MAX - 1


def test_what_was_seen_is_forgotten_some_day() -> None:
    known = Statements()
    for number in range(SEEN_MAX + 2):
        known.worth_a_name(key(number))
    assert len(known._seen) <= SEEN_MAX + 1
