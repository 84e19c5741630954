/* forest.h - token sequences packed so that each distinct prefix stands once.
 *
 * Two orders of a pair share the judge's words and the question; the comparisons of a group share first answers.
 * A segment is a run of tokens with one parent; a sequence is the path from a root to its last token:
 *
 *     [ judge, question ]--+--[ a, b, cue ]
 *                          +--[ b, a, cue ]
 *
 * Segments lie one after the other in rows 0..rows-1, parents before children, without padding. With a cache the
 * beginning of a path may be known from an earlier forward pass, and takes no rows. */
#ifndef GR_MODEL_FOREST_H
#define GR_MODEL_FOREST_H

#include "model/kv.h"

/* The activations of the tokens [one_from, one_to) take one byte where weights are int8 (op/matmul.h). Forests, caches
 * and comparisons take such a token for another than the same one of two bytes, so that a row's bits depend on its own
 * sequence alone. */
typedef struct { const int32_t *token; size_t n, one_from, one_to; } gr_seq;
static inline bool gr_seq_one_byte(const gr_seq *s, size_t t) { return t >= s->one_from && t < s->one_to; }

#define GR_NO_SEGMENT SIZE_MAX
typedef struct {
    size_t parent;              /* a segment with a smaller index, or GR_NO_SEGMENT */
    size_t pos, len;            /* absolute position of its first token; tokens */
    size_t cached;              /* of which the first stand in the cache, not in rows */
    size_t row;                 /* rows [row, row + len - cached) */
    size_t children;
    bool ends;                  /* a sequence ends with its last token, which therefore has a row */
    gr_kv_at at;            /* where the path to this segment's first row leaves the cache */
    gr_kv_room save;        /* gets the keys and values of the rows; node NULL: nothing does */
} gr_segment;

typedef struct {
    gr_segment *seg;
    size_t n_segs;
    int32_t *token, *pos;       /* [rows] */
    int32_t *angle;             /* [rows] row of the tables of rope: pos, or of a far sequence far + pos */
    uint8_t *one_byte;          /* [rows] 0 or 1 */
    size_t rows, max_len;       /* max_len: tokens of the longest sequence */
    size_t far, angles;         /* far: see below; rows that the tables of rope have */
    size_t *leaf_row;           /* [n_seqs] the row of the sequence's last token */
    size_t n_seqs;
    gr_kv_tree *cache;           /* NULL: none */
} gr_forest;

typedef enum {
    GR_SAVE_SHARED,             /* what more than one segment follows: shared prefixes */
    GR_SAVE_ALL                 /* everything: a text that is being written */
} gr_save;

/* Every sequence has at least one token. Equal sequences share everything. far, where not 0: a sequence of more tokens
 * is turned by other angles, from its first token on (gr_config.far), and shares nothing with those that are not; a
 * text that grows beyond it is computed anew. cache may be NULL; with one, rows are made
 * only for tokens that it does not know, and it keeps what `save` says: the forward pass must then run, or
 * gr_forest_clear(f, false) takes the places back. */
gram_status gr_forest_init(gr_forest *f, const gr_seq *seq, size_t n, size_t far, gr_kv_tree *cache, gr_save save,
                           gram_err *err);
/* The same for texts that go on, in two bytes, and cache keeps everything: of sequence i the tokens before known[i],
 * less than all of it, are in the tree there, and are not looked at, but where it is longer than `far` and was not.
 * known[i].node NULL: not known. What goes on from a place has a segment of its own, though another may go on alike. */
gram_status gr_forest_go_on(gr_forest *f, const gr_seq *seq, const gr_kv_at *known, size_t n, size_t far,
                            gr_kv_tree *cache, gram_err *err);
void gr_forest_clear(gr_forest *f, bool computed);
/* The row of token `pos` of sequence s, which no cache knows: f was made without one. */
size_t gr_forest_row(const gr_forest *f, size_t s, size_t pos);
/* Fails by the first token that is not below `vocabulary`. */
gram_status gr_forest_check(const gr_forest *f, size_t vocabulary, gram_err *err);
size_t gr_forest_segment(const gr_forest *f, size_t row);   /* that the row lies in */

/* How many tokens at the start of a and b are the same. */
size_t gr_common_prefix(const gr_seq *a, const gr_seq *b);
/* -1, 0 or 1: in the order of their tokens, a prefix before what it begins. */
int gr_seq_order(const gr_seq *a, const gr_seq *b);

#endif
