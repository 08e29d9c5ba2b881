"""The C headers broken on purpose, one protocol rule at a time, and which stress program must notice.

An edit replaces an exact text. A text that no longer stands there fails the test, so the table can not rot.
"""

from __future__ import annotations

from typing import NamedTuple

RING, BELL, SEQLOCK = "shm_ring.h", "shm_doorbell.h", "shm_seqlock.h"
BOOK, HISTOGRAM, JOURNAL, ATOMICS = "shm_book.h", "shm_histogram.h", "shm_journal.h", "shm_atomics.h"


class Run(NamedTuple):
    """How a stress program is run.

    `tool` is a sanitizer, "none", or "races": the thread sanitizer with fences as they are. It does not know
    fences; in the ordinary run each is an exchange, which also hides a release or acquire that is missing.
    """

    program: str
    part: str
    tool: str = "none"
    rounds: int = 100_000

    @property
    def arguments(self) -> tuple[str | int, ...]:
        return (self.part,) if self.program == "shm_step_kill" else (self.rounds, self.part)


class Mutant(NamedTuple):
    name: str
    header: str
    run: Run
    edits: tuple[tuple[str, str], ...]


class Unseen(NamedTuple):
    """A rule whose break no program on this machine can show; `reason` says why and who shows it instead."""

    header: str
    text: str
    reason: str


BROADCAST = Run("shm_threads", "broadcast")
SPSC = Run("shm_threads", "spsc", rounds=30_000)
PARK = Run("shm_threads", "park", rounds=400_000)
WANTED = Run("shm_threads", "wanted", rounds=400_000)
BROADCAST_RACES = Run("shm_threads", "broadcast", "races", 10_000)
SPSC_RACES = Run("shm_threads", "spsc", "races", 5_000)
SEQLOCK_RUN = Run("shm_values", "seqlock", rounds=50_000)
SEQLOCK_RACES = Run("shm_values", "seqlock", "races", 5_000)
BOOK_RUN = Run("shm_values", "book", rounds=50_000)
HISTOGRAM_RUN = Run("shm_values", "histogram", rounds=50_000)
HISTOGRAM_RACES = Run("shm_values", "histogram", "races", 5_000)
JOURNAL_RACES = Run("shm_values", "journal", "races", 5_000)
COPIES = Run("shm_values", "copies")


def killed(scene: str) -> Run:
    return Run("shm_step_kill", scene)


MUTANTS = (
    # ---- broadcast ring
    Mutant(
        "poll delivers without looking at the intent again",
        RING,
        BROADCAST,
        (("if (shm_load_relaxed(&ring->intent) < first + capacity) {", "if (1) {"),),
    ),
    Mutant(
        "poll looks at the intent again, one record too generous",
        RING,
        BROADCAST,
        (
            (
                "if (shm_load_relaxed(&ring->intent) < first + capacity) {",
                "if (shm_load_relaxed(&ring->intent) <= first + capacity) {",
            ),
        ),
    ),
    Mutant(
        "release of borrowed records without looking at the intent again",
        RING,
        BROADCAST,
        (
            (
                (
                    "    if (shm_load_relaxed(&ring->intent) < first + ring->capacity) {\n"
                    "        self->position += count;"
                ),
                ("    if (1) {\n        self->position += count;"),
            ),
        ),
    ),
    Mutant(
        "the intent is raised after the slot was written",
        RING,
        BROADCAST,
        (
            ("    shm_broadcast_claim(ring, s);\n", ""),
            (
                (
                    "length, ring->slot_bytes);\n"
                    "    shm_store_release(&ring->cursor, s); /* SYNC POINT: ring-cursor */\n"
                    "    return s;\n"
                    "}\n"
                    "\n"
                    "/* ---- broadcast: subscriber"
                ),
                (
                    "length, ring->slot_bytes);\n"
                    "    shm_broadcast_claim(ring, s);\n"
                    "    shm_store_release(&ring->cursor, s);\n"
                    "    return s;\n"
                    "}\n"
                    "\n"
                    "/* ---- broadcast: subscriber"
                ),
            ),
        ),
    ),
    Mutant(
        "the cursor moves before the words stand in the slot",
        RING,
        BROADCAST,
        (
            (
                "    shm_broadcast_claim(ring, s);\n",
                ("    shm_broadcast_claim(ring, s);\n    shm_store_release(&ring->cursor, s);\n"),
            ),
        ),
    ),
    Mutant(
        "the same, killed in between",
        RING,
        killed("publish"),
        (
            (
                "    shm_broadcast_claim(ring, s);\n",
                ("    shm_broadcast_claim(ring, s);\n    shm_store_release(&ring->cursor, s);\n"),
            ),
        ),
    ),
    Mutant(
        "a successor lowers the intent its killed predecessor left",
        RING,
        killed("publish batch"),
        (("    if (shm_load_relaxed(&ring->intent) < sequence)\n", ""),),
    ),
    Mutant(
        "wrong slot of a sequence",
        RING,
        BROADCAST,
        (
            (
                "uint64_t index = (sequence - 1) & (ring->capacity - 1);",
                "uint64_t index = sequence & (ring->capacity - 1);",
            ),
        ),
    ),
    Mutant(
        "the part of a batch behind the wrap is copied from its beginning",
        RING,
        BROADCAST,
        (("(const unsigned char *)records + run * slot_bytes, (count - run)", "records, (count - run)"),),
    ),
    Mutant(
        "a run of slots ends one record too late",
        RING,
        SPSC,
        (
            (
                "uint64_t left = ring->capacity - ((first - 1) & (ring->capacity - 1));",
                "uint64_t left = ring->capacity - ((first - 1) & (ring->capacity - 1)) + 1;",
            ),
        ),
    ),
    Mutant(
        "a lap is counted as one record",
        RING,
        BROADCAST,
        (("self->lapped += to - self->position;", "self->lapped += 1;"),),
    ),
    Mutant(
        "relaxed store of the cursor",
        RING,
        BROADCAST_RACES,
        (("shm_store_release(&ring->cursor, s);", "shm_store_relaxed(&ring->cursor, s);"),),
    ),
    Mutant(
        "relaxed load of the cursor",
        RING,
        BROADCAST_RACES,
        (
            (
                "uint64_t cursor = shm_load_acquire(&ring->cursor);",
                "uint64_t cursor = shm_load_relaxed(&ring->cursor);",
            ),
        ),
    ),
    # ---- SPSC ring
    Mutant(
        "commit frees one slot too many",
        RING,
        SPSC,
        (("shm_load_relaxed(&ring->position) + count;", "shm_load_relaxed(&ring->position) + count + 1;"),),
    ),
    Mutant(
        "a producer takes one slot that is not free",
        RING,
        SPSC,
        (
            (
                ("    if (shm_spsc_free(ring) >= count)\n        return 1;"),
                ("    if (shm_spsc_free(ring) + 1 >= count)\n        return 1;"),
            ),
        ),
    ),
    Mutant(
        "relaxed store of the position",
        RING,
        SPSC_RACES,
        (("shm_store_release(&ring->position, position);", "shm_store_relaxed(&ring->position, position);"),),
    ),
    Mutant(
        "relaxed load of the position",
        RING,
        SPSC_RACES,
        (
            (
                "uint64_t position = shm_load_acquire(&ring->position);",
                "uint64_t position = shm_load_relaxed(&ring->position);",
            ),
        ),
    ),
    Mutant(
        "a refused producer does not look again",
        RING,
        WANTED,
        (
            (
                (
                    "    shm_fence_full(); /* SYNC POINT: wanted-position */\n"
                    "    if (shm_spsc_free(ring) >= count) {"
                ),
                ("    shm_fence_full();\n    if (0) {"),
            ),
        ),
    ),
    Mutant(
        "no fence between wanted and the second look",
        RING,
        WANTED,
        (("    shm_fence_full(); /* SYNC POINT: wanted-position */\n", ""),),
    ),
    Mutant(
        "no fence between position and wanted",
        RING,
        WANTED,
        (("    shm_fence_full();                             /* SYNC POINT: wanted-position */\n", ""),),
    ),
    Mutant(
        "commit forgets who waits before the room exists",
        RING,
        killed("commit"),
        (
            (
                "    shm_store_release(&ring->position, position); /* SYNC POINT: ring-position */",
                (
                    "    uint64_t early = shm_exchange(&ring->wanted, 0);\n"
                    "    shm_store_release(&ring->position, position);\n"
                    "    if (early)\n"
                    "        return early;"
                ),
            ),
        ),
    ),
    # ---- doorbell
    Mutant(
        "no fence between parked and the second look",
        BELL,
        PARK,
        ((("    shm_fence_full(); /* SYNC POINT: park-publish */\n}\nstatic"), ("}\nstatic")),),
    ),
    Mutant(
        "no fence between the publish and the look at parked",
        BELL,
        PARK,
        (("    shm_fence_full(); /* SYNC POINT: park-publish */\n    for", "    for"),),
    ),
    Mutant(
        "parked is taken and the bell not written",
        BELL,
        PARK,
        ((("        return 0;\n    shm_bell_write(worker->bell_fd);\n"), "        return 0;\n"),),
    ),
    Mutant(
        "the wake of a successor goes only to those that are parked",
        BELL,
        killed("publish and signal"),
        (
            (
                ("    shm_store_relaxed(&worker->parked, 0);\n    shm_bell_write(worker->bell_fd);\n"),
                ("    if (shm_exchange(&worker->parked, 0))\n        shm_bell_write(worker->bell_fd);\n"),
            ),
        ),
    ),
    Mutant(
        "disarm leaves parked set",
        BELL,
        killed("park"),
        (
            (
                "shm_bell_disarm(shm_worker_slot *worker) { shm_store_relaxed(&worker->parked, 0); }",
                "shm_bell_disarm(shm_worker_slot *worker) { shm_store_relaxed(&worker->parked, 1); }",
            ),
        ),
    ),
    # ---- seqlock and book
    Mutant(
        "a load is not looked at again",
        SEQLOCK,
        SEQLOCK_RUN,
        (("return shm_load_relaxed(&lock->count) == begin;", "return (void)lock, (void)begin, 1;"),),
    ),
    Mutant(
        "the count never becomes odd",
        SEQLOCK,
        SEQLOCK_RUN,
        (("    shm_store_relaxed(&lock->count, count);\n", ""),),
    ),
    Mutant(
        "the count is even again before the words are written",
        SEQLOCK,
        SEQLOCK_RUN,
        (
            (
                (
                    "    uint64_t odd = shm_seqlock_store_begin(lock);\n"
                    "    shm_words_in(lock + 1, value, bytes);\n"
                ),
                (
                    "    uint64_t odd = shm_seqlock_store_begin(lock);\n"
                    "    shm_seqlock_store_end(lock, odd);\n"
                    "    shm_words_in(lock + 1, value, bytes);\n"
                ),
            ),
        ),
    ),
    Mutant(
        "a successor makes an odd count even while it writes",
        SEQLOCK,
        killed("seqlock store"),
        (("shm_load_relaxed(&lock->count) | 1;", "shm_load_relaxed(&lock->count) + 1;"),),
    ),
    Mutant(
        "relaxed store of the even count",
        SEQLOCK,
        SEQLOCK_RACES,
        (("shm_store_release(&lock->count, odd + 1);", "shm_store_relaxed(&lock->count, odd + 1);"),),
    ),
    Mutant(
        "relaxed load of the even count",
        SEQLOCK,
        SEQLOCK_RACES,
        (("return shm_load_acquire(&lock->count);", "return shm_load_relaxed(&lock->count);"),),
    ),
    Mutant(
        "more levels are loaded than the reader has room for",
        BOOK,
        BOOK_RUN,
        ((("        if (head->ask_count > ask_limit)\n            head->ask_count = ask_limit;\n"), ""),),
    ),
    Mutant(
        "asks are loaded from behind the bids in use",
        BOOK,
        BOOK_RUN,
        (
            (
                ("        at += (size_t)depth * sizeof(shm_level);\n        shm_words_out(asks"),
                ("        at += (size_t)head->bid_count * sizeof(shm_level);\n        shm_words_out(asks"),
            ),
        ),
    ),
    Mutant(
        "the head alone repairs an entry whose levels may be torn",
        BOOK,
        killed("book store"),
        ((("    if (shm_load_relaxed(&lock->count) & 1)\n        return SHM_BOOK_BUSY;\n"), ""),),
    ),
    # ---- histogram, journal, copies
    Mutant(
        "bucket off by one",
        HISTOGRAM,
        HISTOGRAM_RUN,
        (
            (
                "(shift << SHM_HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift);",
                "(shift << SHM_HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift) - (value > 1000);",
            ),
        ),
    ),
    Mutant(
        "the count is stored before the bucket",
        HISTOGRAM,
        killed("histogram record"),
        (
            (
                "    shm_add_single_writer(&h->buckets",
                (
                    "    shm_store_release(&h->count, shm_load_relaxed(&h->count) + 1u);\n"
                    "    shm_add_single_writer(&h->buckets"
                ),
            ),
            (("    shm_store_release(&h->count, shm_load_relaxed(&h->count) + 1u);\n}"), "}"),
        ),
    ),
    Mutant(
        "relaxed store of the histogram's count",
        HISTOGRAM,
        HISTOGRAM_RACES,
        (("shm_store_release(&h->count,", "shm_store_relaxed(&h->count,"),),
    ),
    Mutant(
        "relaxed store of a journal record's length",
        JOURNAL,
        JOURNAL_RACES,
        (("length, memory_order_release);", "length, memory_order_relaxed);"),),
    ),
    Mutant(
        "a journal record exists before its payload",
        JOURNAL,
        killed("journal append"),
        (
            (
                "    memcpy(body, payload, length);\n",
                (
                    "    atomic_store_explicit(&record->length, length, memory_order_release);\n"
                    "    memcpy(body, payload, length);\n"
                ),
            ),
        ),
    ),
    Mutant(
        "what a killed append left behind is taken for a record",
        JOURNAL,
        killed("journal append"),
        (
            (
                "        atomic_store_explicit(&after->length, 0u, memory_order_relaxed);\n",
                "        (void)after;\n",
            ),
        ),
    ),
    Mutant(
        "old bytes stay in a journal record's padding",
        JOURNAL,
        killed("journal append"),
        (("    memset(body + length, 0, bytes - sizeof(shm_journal_record) - length);\n", ""),),
    ),
    Mutant(
        "the end of a short record is not zero filled",
        ATOMICS,
        COPIES,
        (("(uint64_t)0, memory_order_relaxed);", "*(const uint64_t *)source, memory_order_relaxed);"),),
    ),
)

_ORDER = (
    "x86-64 makes stores visible in their order and loads in theirs, and no sanitizer knows fences; "
    "the model fails without it: "
)
UNSEEN = (
    Unseen(
        RING,
        (
            "    /* SYNC POINT: slot-overwrite. Whoever sees one word of the new record also "
            "sees the intent. */\n"
            "    shm_fence_release();"
        ),
        _ORDER + "NO_CLAIM_FENCE in ring.pml",
    ),
    Unseen(
        RING,
        ("    shm_fence_acquire();\n    if (shm_load_relaxed(&ring->intent) < first + ring->capacity) {"),
        _ORDER + "NO_ACQUIRE_FENCE in ring.pml",
    ),
    Unseen(
        SEQLOCK,
        "    shm_fence_release(); /* SYNC POINT: seqlock-odd */",
        _ORDER + "NO_ODD_FENCE in seqlock.pml",
    ),
    Unseen(
        SEQLOCK,
        "    shm_fence_acquire(); /* SYNC POINT: seqlock-odd */",
        _ORDER + "NO_ACQUIRE_FENCE in seqlock.pml",
    ),
    Unseen(
        RING,
        ("    if (to > cursor)\n        to = cursor;"),
        (
            "a second line of defense: a batch is at most half a ring, so intent - capacity "
            "never passes the cursor"
        ),
    ),
)
