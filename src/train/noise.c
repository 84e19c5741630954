/* noise.c - see noise.h. */
#include <stdlib.h>
#include "base/err.h"
#include "train/noise.h"

/* A pair, whichever of its answers is called the better, and which it is: -1, 1, or 0 for a tie. Stage 1's text has
 * no other order and no label. */
typedef struct { uint64_t lo, hi; int better; bool held, doubted; } key;

static key key_of(const gr_set *s, size_t i, bool held)
{
    uint64_t text[2], a, b;
    double target;
    int better;

    gr_set_pair(s, i, text, &target);
    a = text[0];
    b = text[1];
    better = target == 0.5 ? 0 : (target > 0.5) == (a < b) ? 1 : -1;
    return (key){ a < b ? a : b, a < b ? b : a, better, held, target < 0.5 };
}

static int same_pair(const key *a, const key *b)
{
    if (a->lo != b->lo)
        return a->lo < b->lo ? -1 : 1;
    return a->hi != b->hi ? (a->hi < b->hi ? -1 : 1) : 0;
}

static int in_order(const void *pa, const void *pb)
{
    const key *a = pa, *b = pb;
    int c = same_pair(a, b);

    return c ? c : a->held != b->held ? a->held - b->held : a->better - b->better;
}

/* n rows of one pair. */
static void count_pair(const key *k, size_t n, gr_noise *out)
{
    uint64_t with[3] = { 0 }, held = 0;

    for (size_t i = 0; i < n; i++) {
        out->doubted += k[i].doubted && !k[i].held;
        out->held_doubted += k[i].doubted && k[i].held;
        if (k[i].held)
            held++;
        else
            with[k[i].better + 1]++;
    }
    for (size_t i = 0; i < GR_COUNT(with); i++)
        out->repeated += with[i] ? with[i] - 1 : 0;
    if (with[0] && with[2])
        out->contradicting += with[0] + with[2];
    out->seen += held < n ? held : 0;
}

gram_status gr_noise_count(const gr_set *train, const gr_set *held, gr_noise *out, gram_err *err)
{
    size_t n = train->n + held->n;
    key *k = gr_calloc(n, sizeof *k);

    *out = (gr_noise){ 0 };
    if (!k)
        return gr_nomem(err, "training rows");
    for (size_t i = 0; i < n; i++)
        k[i] = i < train->n ? key_of(train, i, false) : key_of(held, i - train->n, true);
    qsort(k, n, sizeof *k, in_order);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && !same_pair(&k[i], &k[end]); end++)
            ;
        count_pair(k + i, end - i, out);
    }
    free(k);
    return GRAM_OK;
}
