/* Doorbells with two publishers and workers that join while they publish: shm_doorbell.h, signal_subscribers and
 * subscribe_slot in ring.pyx, the duty cycle and the heartbeat of actors/runtime/worker.py.
 *
 * Only cursors here, no slots (ring.pml has them). What two publishers add: the parked word is one for
 * both, so one that was killed with it in hand leaves the worker deaf to the other as well.
 */
#ifndef RECORDS
#define RECORDS 2       /* per publisher */
#endif
#ifndef WORKERS
#define WORKERS 1
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef BEATS
#define BEATS 0         /* heartbeats at any time, beside the one that comes when all sleep */
#endif

#define CURSOR(p)  (p)
#define PARKED(w)  (2 + (w))
#define CELLS      (2 + WORKERS)
#define BUFFERS    (2 + WORKERS)   /* 0 and 1 the publishers, 2 + w worker w */
#include "memory.pml"

byte mask[2];                     /* subscriber_mask: only locked instructions change it */
bit bell[WORKERS], beat[WORKERS], has_joined[WORKERS];
byte position[WORKERS * 2];
bit killed[2], is_dead[2], owes_a_bell[2];

proctype publisher(byte me) {
    byte c, w, seen;
    bit was, owes;
birth:
    c = mem[CURSOR(me)];
    {
        do
        :: atomic { c < RECORDS -> c++; STORE(me, CURSOR(me), c) };
#ifdef NO_SIGNAL_FENCE
            seen = mask[me];
#elif defined(MASK_UNFENCED)
            seen = mask[me];
            FENCE(me);
#else
            atomic { FENCE(me); seen = mask[me] };
#endif
            if
            :: owes -> /* shm_bell_wake */
                owes = 0;
                do
                :: w < WORKERS && (seen & BIT(w)) ->
#ifdef BELL_BEFORE_PARKED
                    bell[w] = 1;
                    STORE(me, PARKED(w), 0);
                    atomic { FENCE(me); w++ }
#else
                    STORE(me, PARKED(w), 0);
                    atomic { FENCE(me); bell[w] = 1; w++ }
#endif
                :: atomic { w < WORKERS && !(seen & BIT(w)) -> w++ }
                :: w == WORKERS -> break
                od
            :: !owes && seen ->
                do
                :: atomic { w < WORKERS && !((seen & BIT(w)) && mem[PARKED(w)]) -> w++ }
                :: w < WORKERS && (seen & BIT(w)) && mem[PARKED(w)] ->
                    atomic { FENCE(me); was = mem[PARKED(w)]; mem[PARKED(w)] = 0 };
                    atomic {
                        if
                        :: was -> bell[w] = 1
                        :: else
                        fi;
                        was = 0;
                        w++
                    }
                :: w == WORKERS -> break
                od
            :: !owes && !seen
            fi;
            atomic {
                w = 0;
                owes_a_bell[me] = (seen == 0 -> owes_a_bell[me] : 0);
                seen = 0
            }
        :: else -> break
        od;
end_of_work: false
    } unless { killed[me] };
    FORGET(me);
    atomic { killed[me] = 0; is_dead[me] = 1; owes_a_bell[me] = 1; c = 0; w = 0; seen = 0; was = 0; owes = 0 };
    if
#ifdef NO_OWED_WAKE
    :: atomic { is_dead[me] = 0; goto birth }
#else
    :: atomic { is_dead[me] = 0; owes = 1; goto birth }
#endif
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
    :: atomic { beats < BEATS -> beats++; beat[0] = 1 }
    od
}
#endif

#define PENDING (mem[CURSOR(0)] > position[2 * me] || mem[CURSOR(1)] > position[2 * me + 1])

proctype worker(byte me) {
#ifndef MASK_AFTER_LOOK
    atomic { mask[0] = mask[0] | BIT(me) };
    position[2 * me] = mem[CURSOR(0)];
    atomic { mask[1] = mask[1] | BIT(me) };
#else
    position[2 * me] = mem[CURSOR(0)];
#endif
    atomic { position[2 * me + 1] = mem[CURSOR(1)]; has_joined[me] = 1 };
cycle:
    position[2 * me] = mem[CURSOR(0)];
    position[2 * me + 1] = mem[CURSOR(1)];
    if
    :: PENDING -> goto cycle
    :: else
    fi;
    STORE(2 + me, PARKED(me), 1);
#ifndef NO_ARM_FENCE
    FENCE(2 + me);
#endif
    if
    :: mem[CURSOR(0)] > position[2 * me] -> goto disarm
    :: else
    fi;
    if
    :: mem[CURSOR(1)] > position[2 * me + 1] -> goto disarm
    :: else
    fi;
#ifdef MASK_AFTER_LOOK
    atomic { mask[0] = mask[0] | BIT(me); mask[1] = mask[1] | BIT(me) };
#endif
end: /* epoll_wait */
    if
    :: d_step { bell[me] -> bell[me] = 0 }
    :: d_step { beat[me] -> beat[me] = 0 }
    fi;
    goto cycle;
disarm:
    STORE(2 + me, PARKED(me), 0);
    goto cycle
}

active proctype memory() {
end:
    do
    :: ARRIVE(0, CURSOR(0))
    :: ARRIVE(1, CURSOR(1))
    :: ARRIVE(0, PARKED(0))
    :: ARRIVE(1, PARKED(0))
    :: ARRIVE(2, PARKED(0))
#if WORKERS > 1
    :: ARRIVE(0, PARKED(1))
    :: ARRIVE(1, PARKED(1))
    :: ARRIVE(3, PARKED(1))
#endif
    od
}

#define LAST (WORKERS - 1)
#define DRAINED(w) (position[2 * (w)] == mem[CURSOR(0)] && position[2 * (w) + 1] == mem[CURSOR(1)])
#define ALL_DRAINED (DRAINED(0) && DRAINED(LAST))

/* Before the heartbeat only what a killed process still owes is excused. */
active proctype auditor() {
end:
    timeout;
    assert(ALL_DRAINED || owes_a_bell[0] || owes_a_bell[1]);
#ifndef NO_HEARTBEAT
    d_step { beat[0] = 1; beat[LAST] = 1 };
    timeout;
#endif
    assert(has_joined[0] && has_joined[LAST]);
    assert(ALL_DRAINED)
}

init {
    atomic {
        run publisher(0);
        run publisher(1);
        run worker(0);
#if WORKERS > 1
        run worker(1);
#endif
    }
}
