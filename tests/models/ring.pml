/* Broadcast ring, park and doorbell: shm_ring.h (publish, poll, rejoin), shm_doorbell.h (arm, signal, wake),
 * ring.pyx (owes_wake, one bell per batch) and the duty cycle of actors/runtime/worker.py.
 *
 * One publisher, SUBSCRIBERS workers. Record s is WORDS words; each holds s and who wrote it, so a
 * record mixed of two shows. Every run ends; `auditor` looks when nothing can move any more.
 */
#ifndef CAPACITY
#define CAPACITY 2
#endif
#ifndef RECORDS
#define RECORDS 3
#endif
#ifndef PART            /* records per store of the cursor, <= CAPACITY / 2 */
#define PART 1
#endif
#ifndef PARTS           /* parts per bell */
#define PARTS 1
#endif
#ifndef LIMIT           /* records per poll */
#define LIMIT 2
#endif
#ifndef SUBSCRIBERS
#define SUBSCRIBERS 2
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef BEATS           /* heartbeats at any time, beside the one that comes when all sleep */
#define BEATS 0
#endif
#define WORDS 2

#define CURSOR    0
#define INTENT    1
#define PARKED(w) (2 + (w))
#define WORD(s, k) (2 + SUBSCRIBERS + (((s) - 1) % CAPACITY) * WORDS + (k))
#define CELLS     (2 + SUBSCRIBERS + CAPACITY * WORDS)
#define BUFFERS   (1 + SUBSCRIBERS)  /* 0 the publisher, 1 + w worker w */
#include "memory.pml"

bit bell[SUBSCRIBERS];           /* eventfd counter: zero or not */
bit beat[SUBSCRIBERS];           /* a heartbeat is due */
byte position[SUBSCRIBERS], lapped[SUBSCRIBERS], delivered[SUBSCRIBERS];
byte content[RECORDS + 1];       /* what record s is: the writer whose cursor store arrived */
bit killed, is_dead, owes_a_bell; /* owes_a_bell: the living or last publisher has not signaled since its birth */
byte incarnation;

#define VALUE(s) ((s) + 16 * incarnation)

/* ---- the publisher ---------------------------------------------------------------------------- */

active proctype publisher() {
    byte c, own_intent, last, s, k, part;
    bit was, owes;
birth:
    atomic {
        c = mem[CURSOR];
        own_intent = mem[INTENT];
        owes = (incarnation > 0);
#ifdef NO_OWED_WAKE
        owes = 0;
#endif
#ifdef INTENT_LOWERED
        own_intent = c;
        mem[INTENT] = c;
#endif
    }
    {
        do
        :: atomic { c < RECORDS -> part = 0 };
            do
            :: atomic { /* shm_broadcast_claim */
                    part < PARTS && c < RECORDS ->
                    last = (c + PART <= RECORDS -> c + PART : RECORDS);
                    if
#ifdef INTENT_OFF_BY_ONE
                    :: own_intent < last - 1 -> own_intent = last - 1; STORE(0, INTENT, last - 1)
#else
                    :: own_intent < last -> own_intent = last; STORE(0, INTENT, last)
#endif
                    :: else
                    fi
                }
                atomic {
#ifndef NO_CLAIM_FENCE
                    FENCE(0);
#endif
#ifdef CURSOR_BEFORE_WORDS
                    STORE(0, CURSOR, last);
#endif
                    d_step {
                        s = c + 1;
                        do
                        :: s <= last ->
                            k = 0;
                            do
                            :: k < WORDS ->
                                buffered[WORD(s, k)] = VALUE(s);
                                pending[0] = pending[0] | BIT(WORD(s, k));
                                k++
                            :: else -> break
                            od;
                            content[s] = VALUE(s);
                            s++
                        :: else -> break
                        od;
                        s = 0;
                        k = 0
                    }
                }
                atomic {
#ifndef CURSOR_BEFORE_WORDS
#ifndef CURSOR_NOT_RELEASED
                    FENCE(0);
#endif
                    STORE(0, CURSOR, last);
#endif
                    c = last;
                    last = 0;
                    part++
                }
            :: else -> break
            od;
            /* signal_subscribers */
            part = 0;
            if
            :: owes -> /* shm_bell_wake */
                owes = 0;
                do
                :: atomic { s < SUBSCRIBERS -> STORE(0, PARKED(s), 0) };
                    atomic { FENCE(0); bell[s] = 1; s++ }
                :: else -> break
                od
            :: else -> /* shm_bell_signal_mask */
#ifndef NO_SIGNAL_FENCE
                FENCE(0);
#endif
                do
                :: atomic { s < SUBSCRIBERS && LOAD(0, PARKED(s)) == 0 -> s++ }
                :: s < SUBSCRIBERS && LOAD(0, PARKED(s)) == 1 ->
                    atomic { FENCE(0); was = mem[PARKED(s)]; mem[PARKED(s)] = 0 }
                    /* killed here, it leaves a sleeper with neither parked nor bell */
                    atomic {
                        if
                        :: was -> bell[s] = 1
                        :: else
                        fi;
                        was = 0;
                        s++
                    }
                :: s == SUBSCRIBERS -> break
                od
            fi;
            atomic { s = 0; owes_a_bell = 0 }
        :: else -> break
        od;
end_of_work: false /* until it is killed */
    } unless { killed };
    FORGET(0);
    d_step {
        killed = 0;
        is_dead = 1;
        owes_a_bell = 1;
        c = 0; own_intent = 0; last = 0; s = 0; k = 0; part = 0; was = 0; owes = 0
    };
    if
    :: d_step { is_dead = 0; incarnation++ } -> goto birth
    :: true /* never reborn */
    fi;
end_dead: false
}

#if CRASHES > 0 || BEATS > 0
active proctype fate() {
    byte n, beats;
end:
    do
    :: atomic { n < CRASHES && !killed && !is_dead -> n++; killed = 1 }
    :: atomic { beats < BEATS -> beats++; beat[0] = 1 }
    od
}
#endif

/* ---- the subscribers -------------------------------------------------------------------------- */

/* shm_subscriber_rejoin: two loads of shared words, the rest is private. */
inline rejoin() {
    cur = mem[CURSOR];
    d_step {
        to = (mem[INTENT] > CAPACITY -> mem[INTENT] - CAPACITY : 0);
        to = ((cur > CAPACITY / 2 && cur - CAPACITY / 2 > to) -> cur - CAPACITY / 2 : to);
        to = (to > cur -> cur : to);
        if
#ifdef NO_REJOIN
        :: false ->
#else
        :: to > position[me] ->
#endif
#ifdef LAPS_MISCOUNTED
            lapped[me] = lapped[me] + cur - position[me];
#else
            lapped[me] = lapped[me] + to - position[me];
#endif
            position[me] = to
        :: else
        fi;
        to = 0;
        cur = 0;
        attempt++
    }
}

/* Each word of the batch is loaded in a step of its own, in any order. */
inline copy_words() {
    do
    :: d_step { !(got & 1) -> copy[0] = mem[WORD(position[me] + 1, 0)]; got = got | 1 }
    :: d_step { !(got & 2) -> copy[1] = mem[WORD(position[me] + 1, 1)]; got = got | 2 }
    :: d_step { count > 1 && !(got & 4) -> copy[2] = mem[WORD(position[me] + 2, 0)]; got = got | 4 }
    :: d_step { count > 1 && !(got & 8) -> copy[3] = mem[WORD(position[me] + 2, 1)]; got = got | 8 }
    :: atomic { got == (count > 1 -> 15 : 3) -> got = 0; break }
    od
}

inline forget_copy() {
    d_step { seen = 0; count = 0; i = 0; copy[0] = 0; copy[1] = 0; copy[2] = 0; copy[3] = 0 }
}

/* shm_subscriber_poll; LIMIT <= 2. What is delivered must be whole, in order, once, and what was
 * published under its sequence. */
inline poll() {
    do
    :: atomic {
            attempt < 4 && mem[CURSOR] > position[me] ->
            count = mem[CURSOR] - position[me];
            count = (count > LIMIT -> LIMIT : count)
        };
        if
        :: atomic { mem[INTENT] >= position[me] + 1 + CAPACITY -> count = 0 };
            rejoin()
        :: else ->
#ifdef NO_ACQUIRE_FENCE
            seen = mem[INTENT];
            copy_words();
#else
            copy_words();
#ifdef NO_INTENT_RECHECK
            seen = 0;
#else
            seen = mem[INTENT];
#endif
#endif
            if
#ifdef RECHECK_OFF_BY_ONE
            :: seen <= position[me] + 1 + CAPACITY ->
#else
            :: seen < position[me] + 1 + CAPACITY ->
#endif
                atomic {
                    d_step {
                        do
                        :: i < count ->
                            assert(copy[2 * i] == copy[2 * i + 1]);
                            assert(copy[2 * i] % 16 == position[me] + 1);
                            assert(copy[2 * i] == content[position[me] + 1]);
                            position[me]++;
                            delivered[me]++;
                            i++
                        :: else -> break
                        od;
                        assert(position[me] == delivered[me] + lapped[me])
                    }
                    forget_copy();
                    break
                }
            :: else -> forget_copy(); rejoin()
            fi
        fi
    :: else -> break
    od;
    attempt = 0
}

#define PENDING (mem[CURSOR] > position[me])

proctype worker(byte me) {
    byte seen, to, cur, count, i, got, attempt;
    byte copy[4];
cycle:
    poll();
    if
    :: PENDING -> goto cycle
    :: else
    fi;
#ifdef ARM_AFTER_LOOK
    if
    :: PENDING -> goto cycle
    :: else
    fi;
    STORE(1 + me, PARKED(me), 1);
    FENCE(1 + me);
#else
    STORE(1 + me, PARKED(me), 1);
#ifndef NO_ARM_FENCE
    FENCE(1 + me);
#endif
#ifndef NO_LOOK_AFTER_ARM
    if
    :: atomic { PENDING -> STORE(1 + me, PARKED(me), 0); goto cycle }
    :: else
    fi;
#endif
#endif
#ifdef CLEAR_BEFORE_WAIT
    bell[me] = 0;
#endif
end: /* epoll_wait, then the read of the eventfd */
    if
    :: d_step { bell[me] -> bell[me] = 0 }
    :: d_step { beat[me] -> beat[me] = 0 }
    fi;
    goto cycle
}

/* ---- memory and the final look ---------------------------------------------------------------- */

active proctype memory() {
end:
    do
    :: ARRIVE(0, CURSOR)
    :: ARRIVE(0, INTENT)
    :: ARRIVE(0, WORD(1, 0))
    :: ARRIVE(0, WORD(1, 1))
    :: ARRIVE(0, WORD(2, 0))
    :: ARRIVE(0, WORD(2, 1))
#if CAPACITY > 2
    :: ARRIVE(0, WORD(3, 0))
    :: ARRIVE(0, WORD(3, 1))
    :: ARRIVE(0, WORD(4, 0))
    :: ARRIVE(0, WORD(4, 1))
#endif
    :: ARRIVE(0, PARKED(0))
    :: ARRIVE(1, PARKED(0))
#if SUBSCRIBERS > 1
    :: ARRIVE(0, PARKED(1))
    :: ARRIVE(2, PARKED(1))
#endif
    od
}

#define LAST (SUBSCRIBERS - 1)
#define ALL_DRAINED (position[0] == mem[CURSOR] && position[LAST] == mem[CURSOR])

/* Nothing can move: no living worker may sleep on a record. A publisher that was killed may have left one
 * asleep until its successor's first bell or the next heartbeat, whichever comes first. */
active proctype auditor() {
end:
    timeout;
    assert(is_dead || mem[CURSOR] == RECORDS);
    assert(ALL_DRAINED || owes_a_bell);
#ifndef NO_HEARTBEAT
    d_step { beat[0] = 1; beat[LAST] = 1 };
    timeout;
#endif
    assert(ALL_DRAINED);
    assert(delivered[0] + lapped[0] == position[0] && delivered[LAST] + lapped[LAST] == position[LAST])
}

init {
    atomic {
        run worker(0);
#if SUBSCRIBERS > 1
        run worker(1);
#endif
    }
}
