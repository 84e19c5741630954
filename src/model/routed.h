/* routed.h - the rows of a pass, put together by the experts that they go to, so that each expert's weights are read
 * once.
 *
 * A row has a slot for each of its experts. Those of an expert follow each other in the order of their rows and begin
 * at a multiple of the cut's unit; what fills its last unit up stands for row 0:
 *
 *     expert      0                1          3
 *     slot        0  1  2  3  4  5 | 6  7  8 | 9 10 11        unit 3, and nothing goes to expert 2
 *     row         0  3  4  7  -  - | 1  2  4 | 0  3  7
 *
 * Which slots there are follows from the choices alone, never from threads. */
#ifndef GR_MODEL_ROUTED_H
#define GR_MODEL_ROUTED_H

#include "tensor/device.h"

/* One expert has the slots [at, at + n). */
typedef struct { size_t expert, at, n; } gr_slots;

typedef struct {
    size_t *row;                /* [slots] */
    size_t *place;              /* [slots] row * chosen + j: of which of its row's experts */
    uint64_t *key;              /* [slots] of the row, where rows have keys */
    uint8_t *one_byte;          /* [slots] of the row; what fills up is of one byte */
    gr_slots *whole;            /* of each expert that has rows */
    gr_slots *piece;            /* the same in pieces of cut.most slots */
    size_t wholes, pieces;
    size_t *count;              /* [experts] */
    /* Of a shared expert, whose weight is what softmax gives it of its number and 0, [rows, 2]: */
    int32_t *both;              /* [rows, 2] what each row has chosen: 0, 1 */
    size_t *first;              /* [rows] of which of all these its weight is: 2 row */
} gr_routed;

/* At most so many slots have `rows` rows. */
size_t gr_routed_slots(size_t rows, size_t experts, size_t chosen, size_t unit);
/* Memory for so many rows; what was there is lost. */
gram_status gr_routed_reserve(gr_routed *r, size_t rows, size_t experts, size_t chosen, gr_cut cut, gram_err *err);
/* Groups the choices of rows [0, rows), chosen [rows, k]. key and one_byte are [rows], or NULL. */
void gr_routed_group(gr_routed *r, const int32_t *chosen, const uint64_t *key, const uint8_t *one_byte, size_t rows,
                     size_t experts, size_t k, gr_cut cut);
void gr_routed_clear(gr_routed *r);

#endif
