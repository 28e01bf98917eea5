import asyncio

import pytest

from tfdiscrete.serving.admission import Admission, Busy


async def ask(admission, sizes, seconds=0.02):
    """In what order requests are let in, how many rows there were at a time, and what became of each."""
    inside, order, most = [], [], []

    async def one(i, rows):
        async with admission.rows(rows):
            order.append(i)
            inside.append(rows)
            most.append(sum(inside))
            await asyncio.sleep(seconds)
            inside.remove(rows)

    outcomes = await asyncio.gather(*(one(i, rows) for i, rows in enumerate(sizes)), return_exceptions=True)
    return order, max(most), outcomes


def test_no_more_rows_are_let_in_than_allowed_and_none_overtakes():
    sizes = [3, 3, 4, 1, 10, 1, 2, 9]
    order, most, outcomes = asyncio.run(ask(Admission(10, patience=10), sizes))
    assert order == list(range(8))
    assert most == 10
    assert outcomes == [None] * 8


def test_a_request_of_more_is_let_in_alone():
    order, most, _ = asyncio.run(ask(Admission(10, patience=10), [2, 30, 2]))
    assert order == [0, 1, 2]
    assert most == 30


def test_who_waits_too_long_is_sent_away_and_the_next_are_not():
    async def twice():
        admission = Admission(2, patience=0.1)
        _, _, outcomes = await ask(admission, [2, 2, 2], seconds=0.5)
        return outcomes, await ask(admission, [2, 1])

    outcomes, (order, _, later) = asyncio.run(twice())
    assert [type(outcome) for outcome in outcomes] == [type(None), Busy, Busy]
    assert order == [0, 1]
    assert later == [None, None]


def test_who_fails_or_goes_leaves_its_room():
    async def main():
        admission = Admission(2, patience=5)
        with pytest.raises(KeyError):
            async with admission.rows(2):
                raise KeyError
        async with admission.rows(2):
            waiting = asyncio.create_task(ask(admission, [2]))
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait([waiting])
        return await ask(admission, [2])

    assert asyncio.run(main())[2] == [None]
