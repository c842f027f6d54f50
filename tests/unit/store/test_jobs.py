"""The queue: bounded, fair, drained when it closes."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from creto.common.errors import ConnectionFailed
from creto.store.jobs import Job, JobQueue, resolve
from creto.store.types import Isolation


def job() -> Job:
    return Job(lambda tx: None, Isolation.SERIALIZABLE, Future(), None)


def test_it_takes_at_most_what_was_asked_in_order() -> None:
    queue, jobs = JobQueue(10), [job() for _ in range(7)]
    for j in jobs:
        queue.put(j)
    assert queue.take(3) == jobs[:3]
    assert queue.take(10, share=4) == jobs[3:4]
    assert queue.take(10) == jobs[4:]


def test_full_and_closed_refuse_at_once() -> None:
    queue = JobQueue(1)
    queue.put(job())
    with pytest.raises(ConnectionFailed, match="full") as raised:
        queue.put(job())
    assert (raised.value.code, raised.value.retryable) == ("PL-503", True)
    queue.close()
    with pytest.raises(ConnectionFailed, match="closed"):
        queue.put(job())
    assert len(queue.take(10)) == 1
    assert queue.take(10) == []


def test_a_waiting_taker_is_woken_by_a_job_and_by_the_end() -> None:
    queue, taken = JobQueue(10), list[int]()
    threads = [threading.Thread(target=lambda: taken.append(len(queue.take(5)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    queue.put(job())
    queue.close()
    for thread in threads:
        thread.join(30)
    assert sorted(taken) == [0, 1]


def test_a_thread_that_gave_up_harms_nobody() -> None:
    given_up, kept = job(), job()
    given_up.future.cancel()
    resolve([given_up, kept])
    assert given_up.future.cancelled()
    assert kept.future.done()


async def test_a_group_wakes_its_loop_once() -> None:
    loop = asyncio.get_running_loop()
    jobs = [Job(lambda tx: None, Isolation.SERIALIZABLE, loop.create_future(), loop) for _ in range(3)]
    jobs[0].result, jobs[1].error = "done", ValueError("no")
    jobs[2].future.cancel()
    thread = threading.Thread(target=resolve, args=(jobs,))
    thread.start()
    thread.join()
    results = await asyncio.gather(*(j.future for j in jobs), return_exceptions=True)  # type: ignore[arg-type]
    assert results[0] == "done"
    assert isinstance(results[1], ValueError)
    assert isinstance(results[2], asyncio.CancelledError)


def test_a_closed_loop_is_nobodys_problem() -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.close()
    other = job()
    resolve([Job(lambda tx: None, Isolation.SERIALIZABLE, future, loop), other])
    assert other.future.done()


def test_of_those_who_wait_the_last_goes_first() -> None:
    queue, order, gone = JobQueue(10), list[int](), threading.Semaphore(0)

    def taker(me: int) -> None:
        if queue.take(1):
            order.append(me)
            gone.release()

    threads = [threading.Thread(target=taker, args=(me,)) for me in range(3)]
    for waiting, thread in enumerate(threads, 1):
        thread.start()
        while len(queue._idle) < waiting:
            thread.join(0.001)
    for _ in range(2):
        queue.put(job())
        assert gone.acquire(timeout=30)
    queue.close()
    for thread in threads:
        thread.join(5)
    assert order == [2, 1]
