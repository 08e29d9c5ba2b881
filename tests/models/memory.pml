/* Shared memory that is weaker than the order of the program text.
 *
 * Each process b has a store buffer over the cells of `mem`. A store goes into the buffer; the process
 * `memory` of each model moves pending stores to `mem` one by one, IN ANY ORDER (a superset of x86, where
 * it is first in, first out). A load sees the own buffer first, then `mem`, so a load may pass an earlier store.
 *
 *   relaxed store            STORE
 *   release store            FENCE; STORE    every earlier store reaches memory before this one
 *   release fence            FENCE           (no load stands between it and the stores it orders)
 *   full fence, locked read-modify-write, system call       FENCE
 *
 * A killed process loses what is still in its buffer. On the machine a store that was executed always
 * arrives; one that is lost here is one that was not reached there. As the order is arbitrary, that is
 * a superset of "killed between any two stores".
 */
byte mem[CELLS];
byte buffered[BUFFERS * CELLS];
int pending[BUFFERS];

#define BIT(a)         (1 << (a))
#define STORE(b, a, v) atomic { buffered[(b) * CELLS + (a)] = v; pending[b] = pending[b] | BIT(a) }
#define LOAD(b, a)     ((pending[b] & BIT(a)) -> buffered[(b) * CELLS + (a)] : mem[a])
#define FENCE(b)       (pending[b] == 0)
#define ARRIVE(b, a)   d_step { (pending[b] & BIT(a)) -> mem[a] = buffered[(b) * CELLS + (a)]; \
                                buffered[(b) * CELLS + (a)] = 0; pending[b] = pending[b] & ~BIT(a) }
#define FORGET(b)      d_step { i_forget = 0; do :: i_forget < CELLS -> buffered[(b) * CELLS + i_forget] = 0; \
                                i_forget++ :: else -> break od; pending[b] = 0; i_forget = 0 }
byte i_forget; /* only within FORGET, zero outside */
