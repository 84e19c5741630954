/* routed.c - see routed.h. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/routed.h"

size_t gr_routed_slots(size_t rows, size_t experts, size_t chosen, size_t unit)
{
    size_t all = rows * chosen;

    return all + (unit - 1) * gr_min(experts, all);
}

gram_status gr_routed_reserve(gr_routed *r, size_t rows, size_t experts, size_t chosen, gr_cut cut, gram_err *err)
{
    size_t slots = gr_routed_slots(rows, experts, chosen, cut.unit), met = gr_min(experts, rows * chosen);

    gr_routed_clear(r);
    r->row = gr_calloc(slots, sizeof *r->row);
    r->place = gr_calloc(slots, sizeof *r->place);
    r->key = gr_calloc(slots, sizeof *r->key);
    r->one_byte = gr_calloc(slots, sizeof *r->one_byte);
    r->whole = gr_calloc(met, sizeof *r->whole);
    r->piece = gr_calloc(met + slots / cut.most, sizeof *r->piece);
    r->count = gr_calloc(experts, sizeof *r->count);
    r->both = gr_calloc(2 * rows, sizeof *r->both);
    r->first = gr_calloc(rows, sizeof *r->first);
    if (!r->row || !r->place || !r->key || !r->one_byte || !r->whole || !r->piece || !r->count || !r->both ||
        !r->first) {
        gr_routed_clear(r);
        return gr_nomem(err, "rows of experts");
    }
    for (size_t i = 0; i < rows; i++) {
        r->both[2 * i + 1] = 1;
        r->first[i] = 2 * i;
    }
    return GRAM_OK;
}

/* Cuts the slots of each expert: whole, and in pieces. */
static void cut_up(gr_routed *r, size_t experts, gr_cut cut)
{
    size_t at = 0;

    r->wholes = r->pieces = 0;
    for (size_t e = 0; e < experts; e++) {
        size_t n = r->count[e];
        if (n > 0)
            r->whole[r->wholes++] = (gr_slots){ e, at, n };
        for (size_t i = 0; i < n; i += cut.most)
            r->piece[r->pieces++] = (gr_slots){ e, at + i, gr_min(cut.most, n - i) };
        r->count[e] = at;                   /* from here on: the next free slot */
        at += gr_round_up(n, cut.unit);
    }
    memset(r->row, 0, at * sizeof *r->row);
    memset(r->one_byte, 1, at * sizeof *r->one_byte);
}

void gr_routed_group(gr_routed *r, const int32_t *chosen, const uint64_t *key, const uint8_t *one_byte, size_t rows,
                     size_t experts, size_t k, gr_cut cut)
{
    memset(r->count, 0, experts * sizeof *r->count);
    for (size_t i = 0; i < rows * k; i++)
        r->count[chosen[i]]++;
    cut_up(r, experts, cut);
    for (size_t i = 0; i < rows * k; i++) {
        size_t slot = r->count[chosen[i]]++;
        r->row[slot] = i / k;
        r->place[slot] = i;
        r->key[slot] = key ? key[i / k] : 0;
        r->one_byte[slot] = one_byte && one_byte[i / k];
    }
}

void gr_routed_clear(gr_routed *r)
{
    free(r->row);
    free(r->place);
    free(r->key);
    free(r->one_byte);
    free(r->whole);
    free(r->piece);
    free(r->count);
    free(r->both);
    free(r->first);
    *r = (gr_routed){ 0 };
}
