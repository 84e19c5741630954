/* digits_int.h - how panels of each type lie, for the files of digits.h. */
#ifndef GR_OP_DIGITS_INT_H
#define GR_OP_DIGITS_INT_H

#include "op/digits.h"

/* zero is a power of two, or there is none. */
struct digits_type { bool nibbles, mins; int zero; };
#define DIGITS_Q4_0 { .nibbles = true, .zero = 8 }
#define DIGITS_Q4_1 { .nibbles = true, .mins = true }
#define DIGITS_Q8_0 { .zero = 128 }

static inline size_t digits_head(struct digits_type t) { return (t.mins ? 2 : 1) * GR_DIGITS_PANEL * sizeof(uint16_t); }
static inline size_t digits_block(struct digits_type t)
{
    return digits_head(t) + GR_DIGITS_PANEL * GR_DIGITS_BLOCK / (t.nibbles ? 2 : 1);
}

#endif
