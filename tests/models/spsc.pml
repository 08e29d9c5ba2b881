/* The lossless hand-over with back-pressure: shm_spsc_* in shm_ring.h, Producer and Consumer in spsc.pyx,
 * IntentSource in actors/runtime/mailboxes.pyx, and the gateway's rule that a record is in the journal before
 * its slot is freed, and that a reborn gateway skips what its journal already has.
 *
 * Producer = worker 0, consumer = worker 1; each parks on its own bell. The journal survives its writer.
 */
#ifndef CAPACITY
#define CAPACITY 2
#endif
#ifndef RECORDS
#define RECORDS 4
#endif
#ifndef OFFER           /* records per offer, all of them or none */
#define OFFER 1
#endif
#ifndef LIMIT           /* records per poll, <= CAPACITY */
#define LIMIT 2
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef BEATS
#define BEATS 0
#endif
#define WORDS 2

#define CURSOR     0
#define POSITION   1
#define WANTED     2
#define PARKED(w)  (3 + (w))
#define WORD(s, k) (5 + (((s) - 1) % CAPACITY) * WORDS + (k))
#define CELLS      (5 + CAPACITY * WORDS)
#define BUFFERS    2
#define PRODUCER   0
#define CONSUMER   1
#include "memory.pml"

bit bell[2], beat[2], killed[2], is_dead[2];
bit owes_a_bell[2];            /* the last incarnation has not yet rung the other side's bell */
byte incarnation;              /* of the producer */
byte content[RECORDS + 1];     /* what record s is */
byte journaled;                /* records in the journal: 1 .. journaled, in this order */

#define VALUE(s) ((s) + 16 * incarnation)

#ifdef FULL_OFF_BY_ONE
#define HAS_ROOM (CAPACITY + 1 - (c - mem[POSITION]) >= count)
#else
#define HAS_ROOM (CAPACITY - (c - mem[POSITION]) >= count)
#endif

active proctype producer() {
    byte c, s, k, count;
    bit was, owes;
birth:
    c = mem[CURSOR];
    {
        do
        :: atomic { c < RECORDS -> count = (RECORDS - c < OFFER -> RECORDS - c : OFFER) };
            /* shm_spsc_reserve */
            if
            :: HAS_ROOM
            :: else ->
#ifdef WANTED_AFTER_LOOK
                if
                :: HAS_ROOM -> goto put
                :: else
                fi;
                STORE(PRODUCER, WANTED, 1);
                FENCE(PRODUCER);
                goto refused;
#else
                STORE(PRODUCER, WANTED, 1);
#ifndef NO_WANTED_FENCE
                FENCE(PRODUCER);
#endif
#ifdef NO_SECOND_LOOK
                goto refused;
#else
                if
                :: atomic { HAS_ROOM -> STORE(PRODUCER, WANTED, 0) }
                :: else -> goto refused
                fi
#endif
#endif
            fi;
put:        /* shm_spsc_put */
            atomic {
#ifdef CURSOR_BEFORE_WORDS
                STORE(PRODUCER, CURSOR, c + count);
#endif
                d_step {
                    s = c + 1;
                    do
                    :: s <= c + count ->
                        k = 0;
                        do
                        :: k < WORDS ->
                            buffered[WORD(s, k)] = VALUE(s);
                            pending[PRODUCER] = pending[PRODUCER] | BIT(WORD(s, k));
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
            };
            atomic {
#ifndef CURSOR_BEFORE_WORDS
#ifndef CURSOR_NOT_RELEASED
                FENCE(PRODUCER);
#endif
                STORE(PRODUCER, CURSOR, c + count);
#endif
                c = c + count;
                count = 0
            };
            /* signal_subscribers */
            if
            :: owes ->
                owes = 0;
                STORE(PRODUCER, PARKED(CONSUMER), 0);
                atomic { FENCE(PRODUCER); bell[CONSUMER] = 1 }
            :: else ->
#ifndef NO_SIGNAL_FENCE
                FENCE(PRODUCER);
#endif
                if
                :: mem[PARKED(CONSUMER)] ->
                    atomic { FENCE(PRODUCER); was = mem[PARKED(CONSUMER)]; mem[PARKED(CONSUMER)] = 0 };
                    atomic {
                        if
                        :: was -> bell[CONSUMER] = 1
                        :: else
                        fi;
                        was = 0
                    }
                :: else
                fi
            fi;
            owes_a_bell[PRODUCER] = 0;
            goto next;
refused:    /* parks; its look at the inputs finds none: room is no input */
            count = 0;
            STORE(PRODUCER, PARKED(PRODUCER), 1);
            FENCE(PRODUCER);
end_wait:
            if
            :: d_step { bell[PRODUCER] -> bell[PRODUCER] = 0 }
            :: d_step { beat[PRODUCER] -> beat[PRODUCER] = 0 }
            fi;
next:       skip
        :: else -> break
        od;
end_of_work: false
    } unless { killed[PRODUCER] };
    FORGET(PRODUCER);
    atomic {
        killed[PRODUCER] = 0; is_dead[PRODUCER] = 1; owes_a_bell[PRODUCER] = 1;
        c = 0; s = 0; k = 0; count = 0; was = 0; owes = 0
    };
    if
    :: atomic {
            is_dead[PRODUCER] = 0;
            incarnation++;
#ifndef NO_OWED_WAKE
            owes = 1;
#endif
            goto birth
        }
    :: true /* never reborn */
    fi;
end_dead: false
}

/* shm_spsc_commit, then the wake of Consumer.commit_n */
inline commit(n) {
    atomic { FENCE(CONSUMER); own = own + n; STORE(CONSUMER, POSITION, own) }; /* release: behind the copies */
#ifndef NO_COMMIT_FENCE
    FENCE(CONSUMER);
#endif
    if
    :: mem[WANTED] ->
        atomic { FENCE(CONSUMER); was = mem[WANTED]; mem[WANTED] = 0 };
        /* killed here, it leaves a refused producer with neither wanted nor bell */
        if
        :: was ->
#ifdef WAKE_ONLY_PARKED
            atomic { was = mem[PARKED(PRODUCER)]; mem[PARKED(PRODUCER)] = 0 };
            atomic {
                if
                :: was -> bell[PRODUCER] = 1
                :: else
                fi;
                was = 0
            }
#else
            STORE(CONSUMER, PARKED(PRODUCER), 0);
            atomic { FENCE(CONSUMER); bell[PRODUCER] = 1; was = 0 }
#endif
        :: else
        fi
    :: else
    fi
}

/* The handler of one record: whole, in order, and what was offered under this sequence. */
inline append(i) {
    d_step {
        if
#ifndef JOURNAL_NOT_LOOKED_AT
        :: first + i <= journaled /* a predecessor appended it and died before the commit */
#endif
        :: else ->
            assert(copy[2 * (i)] == copy[2 * (i) + 1]);
            assert(first + i == journaled + 1);
            assert(copy[2 * (i)] == content[first + i]);
            journaled++
        fi
    }
}

#define PENDING (mem[CURSOR] > own)

active proctype consumer() {
    byte own, first, count, i, got;
    byte copy[4];
    bit was;
birth:
    skip;
    {
        own = mem[POSITION];
#ifdef REBORN_RINGS
        if
        :: owes_a_bell[CONSUMER] ->
            STORE(CONSUMER, PARKED(PRODUCER), 0);
            atomic { FENCE(CONSUMER); bell[PRODUCER] = 1; owes_a_bell[CONSUMER] = 0 }
        :: else
        fi;
#endif
#ifdef NO_FIRST_LOOK
        if
        :: mem[POSITION] > 0 -> STORE(CONSUMER, PARKED(CONSUMER), 1); FENCE(CONSUMER); goto end_wait
        :: else
        fi;
#endif
cycle:
        /* shm_spsc_poll */
        atomic {
            count = mem[CURSOR] - own;
            count = (count > LIMIT -> LIMIT : count);
            first = own + 1
        };
#ifdef FREED_BEFORE_COPY
        if
        :: count > 0 -> commit(count); own = own - count
        :: else
        fi;
#endif
        do
        :: d_step { count > 0 && !(got & 1) -> copy[0] = mem[WORD(first, 0)]; got = got | 1 }
        :: d_step { count > 0 && !(got & 2) -> copy[1] = mem[WORD(first, 1)]; got = got | 2 }
        :: d_step { count > 1 && !(got & 4) -> copy[2] = mem[WORD(first + 1, 0)]; got = got | 4 }
        :: d_step { count > 1 && !(got & 8) -> copy[3] = mem[WORD(first + 1, 1)]; got = got | 8 }
        :: atomic { got == (count > 1 -> 15 : (count > 0 -> 3 : 0)) -> got = 0; break }
        od;
#if defined(COMMIT_AT_ONCE) || defined(COMMIT_BEFORE_JOURNAL) || defined(FREED_BEFORE_COPY)
#ifdef COMMIT_BEFORE_JOURNAL
        if
        :: count > 0 -> commit(count)
        :: else
        fi;
#endif
        do
        :: atomic { i < count -> append(i); i++ }
        :: else -> break
        od;
        i = 0;
#ifdef FREED_BEFORE_COPY
        own = own + count;
#endif
#ifdef COMMIT_AT_ONCE
        if
        :: count > 0 -> commit(count)
        :: else
        fi;
#endif
#else
        do
        :: atomic { i < count -> append(i); i++ };
            commit(1)
        :: else -> break
        od;
#endif
        atomic { i = 0; first = 0; count = 0 }
        d_step { copy[0] = 0; copy[1] = 0; copy[2] = 0; copy[3] = 0 };
        if
        :: PENDING -> goto cycle
        :: else
        fi;
        STORE(CONSUMER, PARKED(CONSUMER), 1);
#ifndef NO_ARM_FENCE
        FENCE(CONSUMER);
#endif
#ifndef NO_LOOK_AFTER_ARM
        if
        :: atomic { PENDING -> STORE(CONSUMER, PARKED(CONSUMER), 0); goto cycle }
        :: else
        fi;
#endif
end_wait:
        if
        :: d_step { bell[CONSUMER] -> bell[CONSUMER] = 0 }
        :: d_step { beat[CONSUMER] -> beat[CONSUMER] = 0 }
        fi;
        goto cycle
    } unless { killed[CONSUMER] };
    FORGET(CONSUMER);
    atomic {
        killed[CONSUMER] = 0; is_dead[CONSUMER] = 1; owes_a_bell[CONSUMER] = 1;
        own = 0; first = 0; count = 0; i = 0; got = 0; was = 0;
        copy[0] = 0; copy[1] = 0; copy[2] = 0; copy[3] = 0
    };
    if
    :: atomic { is_dead[CONSUMER] = 0; goto birth }
    :: true /* never reborn */
    fi;
end_dead: false
}

#if CRASHES > 0 || BEATS > 0
active proctype fate() {
    byte n, beats;
end:
    do
    :: atomic { n < CRASHES && !killed[0] && !is_dead[0] -> n++; killed[0] = 1 }
    :: atomic { n < CRASHES && !killed[1] && !is_dead[1] -> n++; killed[1] = 1 }
    :: atomic { beats < BEATS -> beats++; beat[0] = 1; beat[1] = 1 }
    od
}
#endif

active proctype memory() {
end:
    do
    :: ARRIVE(PRODUCER, CURSOR)
    :: ARRIVE(PRODUCER, WANTED)
    :: ARRIVE(PRODUCER, PARKED(PRODUCER))
    :: ARRIVE(PRODUCER, PARKED(CONSUMER))
    :: ARRIVE(PRODUCER, WORD(1, 0))
    :: ARRIVE(PRODUCER, WORD(1, 1))
    :: ARRIVE(PRODUCER, WORD(2, 0))
    :: ARRIVE(PRODUCER, WORD(2, 1))
    :: ARRIVE(CONSUMER, POSITION)
    :: ARRIVE(CONSUMER, PARKED(PRODUCER))
    :: ARRIVE(CONSUMER, PARKED(CONSUMER))
    od
}

#define ALL_JOURNALED (is_dead[CONSUMER] || (journaled == mem[CURSOR] && mem[POSITION] == mem[CURSOR]))
#define ALL_OFFERED   (is_dead[PRODUCER] || is_dead[CONSUMER] || mem[CURSOR] == RECORDS)

/* Nothing can move. Whoever was killed may have left the other asleep, until its successor's first bell or the
 * next heartbeat, whichever comes first. */
active proctype auditor() {
end:
    timeout;
    assert(ALL_JOURNALED || owes_a_bell[PRODUCER]);
    assert(ALL_OFFERED || owes_a_bell[PRODUCER] || owes_a_bell[CONSUMER]);
#ifndef NO_HEARTBEAT
    beat[PRODUCER] = 1;
    timeout;
    beat[CONSUMER] = 1;
    timeout;
    beat[PRODUCER] = 1;
    timeout;
#endif
    assert(ALL_JOURNALED);
    assert(ALL_OFFERED);
    assert(journaled <= mem[CURSOR])
}
