/* Seqlock: shm_seqlock.h. One writer that may be killed and reborn, two readers, a value of two words loaded in
 * any order, a bounded number of looks and copies, then BUSY.
 */
#ifndef VALUES
#define VALUES 2        /* stores a writer makes in all */
#endif
#ifndef RETRIES
#define RETRIES 2
#endif
#ifndef LOADS
#define LOADS 2         /* per reader */
#endif
#ifndef READERS
#define READERS 2
#endif
#ifndef CRASHES
#define CRASHES 0
#endif

#define COUNT    0
#define WORD(k)  (1 + (k))
#define CELLS    3
#define BUFFERS  1
#include "memory.pml"

byte completed;                /* the newest value whose store has returned and arrived */
bit killed, is_dead;
byte made, goal = VALUES;      /* values begun, over all incarnations: each value differs; and how many it shall be */

active proctype writer() {
    byte count;
birth:
    do
    :: skip;
        {
            do
            :: made < goal ->
                /* shm_seqlock_store_begin */
#ifdef REPAIR_COUNTS_ON
                count = mem[COUNT] + 1;
#else
                count = LOAD(0, COUNT) | 1; /* an odd count stays odd: repair */
#endif
#ifndef NO_ODD
                STORE(0, COUNT, count);
#endif
                atomic {
#ifndef NO_ODD_FENCE
                    FENCE(0);
#endif
                    d_step {
                        made++;
                        buffered[WORD(0)] = made;
                        buffered[WORD(1)] = made;
                        pending[0] = pending[0] | BIT(WORD(0)) | BIT(WORD(1))
                    }
                };
                /* shm_seqlock_store_end */
                atomic {
#ifndef EVEN_NOT_RELEASED
                    FENCE(0);
#endif
                    STORE(0, COUNT, count + 1);
                    count = 0
                }
            :: else -> break
            od;
end_of_work: false
        } unless { killed };
        FORGET(0);
        atomic { killed = 0; is_dead = 1; count = 0 };
        if
        :: atomic { is_dead = 0; goal = (goal == made && (mem[COUNT] & 1) -> goal + 1 : goal); goto birth } /* it stores again */
        :: true -> break /* never reborn */
        fi
    od;
end_dead: false
}

#if CRASHES > 0
active proctype fate() {
    byte n;
end:
    do
    :: atomic { n < CRASHES && !killed && !is_dead -> n++; killed = 1 }
    od
}
#endif

bit is_last;                   /* all is quiet: what a load returns now is known */
byte finished;

inline load_words() {
    do
    :: d_step { !(got & 1) -> first = mem[WORD(0)]; got = got | 1 }
    :: d_step { !(got & 2) -> second = mem[WORD(1)]; got = got | 2 }
    :: atomic { got == 3 -> got = 0; break }
    od
}

proctype reader() {
    byte begin, first, second, got, tries, loads, newest, after;
    bit valid;
again:
    do
    :: atomic { loads < LOADS || is_last -> loads = (is_last -> LOADS + 1 : loads + 1); newest = completed };
        tries = 0;
        do
        :: tries < RETRIES ->
            tries++;
            begin = mem[COUNT];
            if
#ifndef ODD_NOT_REFUSED
            :: begin & 1
#endif
            :: else ->
#ifdef NO_ACQUIRE_FENCE
                after = mem[COUNT];
                load_words();
#else
                load_words();
                after = mem[COUNT];
#endif
                atomic {
#ifdef NO_RECHECK
                    valid = 1;
#else
                    valid = (after == begin);
#endif
                    after = 0;
                    if
                    :: valid ->
                        assert(first == second);         /* not torn */
                        assert(first >= newest);         /* not older than a store that had returned */
                        newest = first
                    :: else
                    fi;
                    first = 0; second = 0; begin = 0
                };
                if
                :: valid -> break
                :: else
                fi
            fi
        :: else -> break /* BUSY */
        od;
        atomic {
            if
            :: is_last ->
                /* BUSY only behind a writer killed in mid-store; else the newest value. */
                assert(valid == !(mem[COUNT] & 1));
                assert(!valid || newest == mem[WORD(0)]);
                assert(is_dead || valid);
                assert(is_dead || newest == made);
                finished++;
                break
            :: else
            fi;
            valid = 0; tries = 0; newest = 0; begin = 0
        }
    :: atomic { loads >= LOADS && !is_last -> valid = 0 }; is_last; goto again
    od;
end: false
}

active proctype memory() {
end:
    do
    :: d_step {
            (pending[0] & BIT(COUNT)) ->
            mem[COUNT] = buffered[COUNT];
            buffered[COUNT] = 0;
            pending[0] = pending[0] & ~BIT(COUNT);
            completed = ((mem[COUNT] & 1) -> completed : mem[WORD(0)])
        }
    :: ARRIVE(0, WORD(0))
    :: ARRIVE(0, WORD(1))
    od
}

active proctype auditor() {
end:
    timeout;
    is_last = 1;
    timeout;
    assert(finished == READERS)
}

init {
    atomic {
        run reader();
#if READERS > 1
        run reader();
#endif
    }
}
