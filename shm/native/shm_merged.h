/* Merged view: the books of one instrument at several venues as one, levels by price with a venue mask.
 *
 * A leg's levels are first turned into units that all legs share (`shm_merged_scale`), then both sides are merged by
 * price. Integers throughout: a product is made in 128 bits, and one that does not fit takes its leg out.
 */
#ifndef RINGLANE_SHM_MERGED_H
#define RINGLANE_SHM_MERGED_H

#include "shm_layout.h"

#include <stdint.h>

#define SHM_MERGED_LEGS 32

/* One level of the merged view; `mask` has the bit of each venue that shows quantity at this price. */
typedef struct shm_merged_level {
    int64_t price_units;
    int64_t quantity_units;
    int64_t mask;
} shm_merged_level;

/* One side of one leg while it is merged: what is left of it. `is_cut` = there may be levels behind the last. */
typedef struct shm_merged_run {
    const shm_level *at;
    const shm_level *end;
    int64_t bit;
    int is_cut;
} shm_merged_run;

/* Turns levels into shared units in place; 0 = one does not fit, and the levels are then of no use. */
static inline int shm_merged_scale(shm_level *levels, uint32_t count, int64_t price_scale, int64_t quantity_scale,
                                   int64_t quantity_max) {
    for (uint32_t i = 0; i < count; i++) {
        __int128 price = (__int128)levels[i].price_units * price_scale;
        __int128 quantity = (__int128)levels[i].quantity_units * quantity_scale;
        if (price > INT64_MAX || price < INT64_MIN || quantity > quantity_max || quantity < 0)
            return 0;
        levels[i].price_units = (int64_t)price;
        levels[i].quantity_units = (int64_t)quantity;
    }
    return 1;
}

/* Merges one side of `legs` runs (consumed) into at most `limit` levels; `sign` is -1 for bids, best highest, and
 * 1 for asks. Quantities must be bounded so that their sum over all legs fits. `*whole` = so many levels from the
 * best one on are all that the venues have there: behind them a slab was too short to tell. */
static inline uint32_t shm_merged_side(shm_merged_run *runs, uint32_t legs, int sign, shm_merged_level *out,
                                       uint32_t limit, uint32_t *whole) {
    uint32_t made = 0, known = UINT32_MAX;
    while (legs && made < limit) {
        int64_t best = runs[0].at->price_units;
        for (uint32_t i = 1; i < legs; i++) {
            int64_t price = runs[i].at->price_units;
            if (sign > 0 ? price < best : price > best)
                best = price;
        }
        shm_merged_level level = {best, 0, 0};
        for (uint32_t i = 0; i < legs;) {
            shm_merged_run *run = &runs[i];
            if (run->at->price_units != best) {
                i++;
                continue;
            }
            level.quantity_units += run->at->quantity_units;
            level.mask |= run->bit;
            if (++run->at < run->end) {
                i++;
                continue;
            }
            if (run->is_cut && known == UINT32_MAX)
                known = made + 1;
            *run = runs[--legs];
        }
        out[made++] = level;
    }
    *whole = known < made ? known : made;
    return made;
}

#endif
