/* digits_int.h - how panels of each type lie, for the files of digits.h.
 *
 * A panel is groups, one after the other, of a head and the blocks that it serves, one or 8:
 *
 *     16 d in f16; where there are minimums, 16 m in f16
 *     for each block of 32 values:
 *         in groups of 8 blocks: 16 bytes of scales for each part; where there are minimums, as many of theirs
 *         of 5 bits the 16 x 4 bytes of the fifth bits, of 6 bits twice as many of the upper two
 *         16 x 4 bytes for 4 k at a time: of 8 bits 8 times, else 4 times, in the low halves of the bytes k and in the
 *         high ones k + 16
 *
 * The fifth bit of value k is bit k / 4 of the output's byte k % 4; of the upper two that of value k of 16 are bits
 * 2 (k / 4) and the next of byte k % 4. Types of 2 and 3 bits lie as those of 4. Those whose 4 bits number values lie
 * as those of 8, with the values in place of the numbers. */
#ifndef GR_OP_DIGITS_INT_H
#define GR_OP_DIGITS_INT_H

#include "op/digits.h"

/* zero: 0 where there are minimums. parts: of a block, each with a scale of its own. */
struct digits_type { unsigned bits, blocks, parts; bool mins; int zero; };
const struct digits_type *gr_digits_type(gr_dtype type);        /* NULL: panels have not this type */

static inline size_t digits_head(struct digits_type t) { return (t.mins ? 2 : 1) * GR_DIGITS_PANEL * sizeof(uint16_t); }
/* How many bytes lie before a block's upper bits, how many these are, and how many a block has. */
static inline size_t digits_scales(struct digits_type t)
{
    return t.blocks > 1 ? t.parts * (t.mins ? 2 : 1) * GR_DIGITS_PANEL : 0;
}
static inline size_t digits_upper(struct digits_type t)
{
    return t.bits == 8 ? 0 : (t.bits - 4) * 4 * GR_DIGITS_PANEL;
}
static inline size_t digits_block(struct digits_type t)
{
    return digits_scales(t) + digits_upper(t) + GR_DIGITS_PANEL * GR_DIGITS_BLOCK / (t.bits == 8 ? 1 : 2);
}
/* scale sum_k X[k] of a part of a block. */
static inline float digits_sum(const gr_digits *x, size_t parts, size_t part)
{
    return parts == 1 ? x->sum : x->scale * (float)(256 * x->upper_sum[part] + x->low_sum[part]);
}
static inline size_t digits_group(struct digits_type t) { return digits_head(t) + t.blocks * digits_block(t); }

#endif
