import threading

import pytest

from dativo_ingest.run.channel import Channel, ChannelClosedError


def produce(channel: Channel[int], items: list[int]) -> threading.Thread:
    def run() -> None:
        for item in items:
            channel.put(item)
        channel.finish()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_items_arrive_in_order() -> None:
    channel: Channel[int] = Channel(10, lambda item: item)
    thread = produce(channel, [5, 1, 4, 2, 3])

    received = list(channel.items())

    thread.join()
    assert received == [5, 1, 4, 2, 3]


def test_no_more_bytes_wait_than_there_is_room_for() -> None:
    waiting = 0
    most = 0
    lock = threading.Lock()

    def size_of(item: int) -> int:
        return item

    channel: Channel[int] = Channel(10, size_of)

    def run() -> None:
        nonlocal waiting, most
        for _ in range(200):
            channel.put(4)
            with lock:
                waiting += 4
                most = max(most, waiting)
        channel.finish()

    thread = threading.Thread(target=run)
    thread.start()
    for item in channel.items():
        with lock:
            waiting -= item

    thread.join()
    assert most <= 12  # 8 wait, 4 are in the consumer's hands


def test_an_item_larger_than_the_channel_passes_alone() -> None:
    channel: Channel[int] = Channel(10, lambda item: item)
    thread = produce(channel, [100, 1, 100])

    received = list(channel.items())

    thread.join()
    assert received == [100, 1, 100]


def test_an_error_of_the_producer_is_raised_after_what_came_before_it() -> None:
    channel: Channel[int] = Channel(10, lambda item: item)
    channel.put(1)
    channel.finish(ValueError("broken"))
    reading = channel.items()

    assert next(reading) == 1
    with pytest.raises(ValueError, match="broken"):
        next(reading)


def test_closing_wakes_a_producer_that_waits_for_room() -> None:
    channel: Channel[int] = Channel(1, lambda item: item)
    outcome: list[BaseException] = []
    channel.put(1)

    def run() -> None:
        try:
            channel.put(1)
        except ChannelClosedError as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    channel.close()
    thread.join(timeout=10)

    assert not thread.is_alive()
    assert [type(error) for error in outcome] == [ChannelClosedError]


def test_a_closed_channel_gives_nothing_more() -> None:
    channel: Channel[int] = Channel(10, lambda item: item)
    channel.put(1)
    channel.close()

    assert list(channel.items()) == []
