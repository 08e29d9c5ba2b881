"""Rings as plain lists: what `shm.ring` must do, without memory, atomics or processes."""

from __future__ import annotations


class NaiveBroadcast:
    """Every record ever published; which of them a subscriber may still see follows from the capacity."""

    def __init__(self, capacity: int, slot_bytes: int) -> None:
        self.capacity = capacity
        self.slot_bytes = slot_bytes
        self.records: list[bytes] = []

    @property
    def cursor(self) -> int:
        return len(self.records)

    def publish(self, record: bytes) -> int:
        self.records.append(record.ljust(self.slot_bytes, b"\0"))
        return self.cursor

    def publish_batch(self, records: list[bytes]) -> int:
        for record in records:
            self.publish(record)
        return self.cursor

    def subscribe(self, *, from_oldest: bool = False) -> NaiveSubscriber:
        return NaiveSubscriber(self, max(0, self.cursor - self.capacity) if from_oldest else self.cursor)


class NaiveSubscriber:
    def __init__(self, ring: NaiveBroadcast, position: int) -> None:
        self.ring = ring
        self.position = position
        self.lapped = 0
        self.laps = 0

    def poll(self, limit: int) -> list[bytes]:
        cursor, capacity = self.ring.cursor, self.ring.capacity
        if cursor - self.position > capacity:
            rejoin = max(cursor - capacity // 2, 0)
            self.lapped += rejoin - self.position
            self.laps += 1
            self.position = rejoin
        taken = self.ring.records[self.position : self.position + limit]
        self.position += len(taken)
        return taken

    def pending(self) -> bool:
        return self.ring.cursor > self.position


class NaiveSpsc:
    """A bounded list with a producer's and a consumer's end."""

    def __init__(self, capacity: int, slot_bytes: int) -> None:
        self.capacity = capacity
        self.slot_bytes = slot_bytes
        self.records: list[bytes] = []
        self.position = 0
        self.taken = 0
        self.refused = 0

    @property
    def cursor(self) -> int:
        return len(self.records)

    def free(self) -> int:
        return self.capacity - (self.cursor - self.position)

    def offer(self, record: bytes) -> bool:
        return self.offer_many([record])

    def offer_many(self, records: list[bytes]) -> bool:
        if len(records) > self.free():
            self.refused += 1
            return False
        self.records += [r.ljust(self.slot_bytes, b"\0") for r in records]
        return True

    def poll(self, limit: int) -> list[bytes]:
        taken = self.records[self.taken : self.taken + limit]
        self.taken += len(taken)
        return taken

    def commit(self, count: int) -> None:
        assert count <= self.taken - self.position
        self.position += count

    def consumer_reborn(self) -> None:
        self.taken = self.position
