/* pace.c - see pace.h. */
#include <math.h>
#include "serve/pace.h"

enum {
    FIRST = 12,                 /* pairs of rounds that are compared before the better way is known */
    TRY_AGAIN = 32              /* rounds of one way, before one is made the other way */
};

/* One before anything is known, and where memory is all that counts. */
static double times_as_long(const gr_pace *p)
{
    return fmax(1, p->longer);
}

/* Lanes stop when their pieces are done, which is later than they are asked; so they are asked sooner. */
bool gr_pace_is_due(const gr_pace *p, double now)
{
    return now >= p->due - fmin(p->late, 0.8 * p->pause);
}

/* By one thread where it can be done before the round after it is due. */
bool gr_pace_choose(gr_pace *p)
{
    bool fits = times_as_long(p) * p->share < 0.9;

    if (p->compared < FIRST)
        p->aside = !p->beside;
    else
        p->aside = p->beside == fits && p->in_a_row >= TRY_AGAIN ? !fits : fits;
    return p->aside;
}

/* A round long after it was due is the first of a text. */
void gr_pace_begin(gr_pace *p, double now)
{
    double late = now - p->due;

    if (late < p->pause)
        p->late = fmax(0, p->late + 0.2 * late);
    p->within = true;
}

/* Texts begin and end between two rounds that are compared, so it is the median that counts: each pair brings it
 * nearer, by a twentieth, and the first ones by more. All threads are never slower than one by themselves; a machine
 * that others use may make them. */
static void compare(gr_pace *p, double one, double all)
{
    double longer = times_as_long(p), nearer = 1 + fmax(0.05, 1 / (double)(++p->compared + 1));

    p->longer = fmax(1, one > longer * all ? longer * nearer : longer / nearer);
}

static void learn(gr_pace *p, double took)
{
    if (p->in_a_row && p->beside != p->aside)
        compare(p, p->aside ? took : p->took, p->aside ? p->took : took);
    p->in_a_row = p->beside == p->aside ? p->in_a_row + 1 : 1;
    p->beside = p->aside;
    p->took = took;
}

void gr_pace_end(gr_pace *p, double begin, double now)
{
    double took = now - begin, all = p->within && p->aside ? took / times_as_long(p) : took;

    if (p->within)
        learn(p, took);
    p->pause = fmax(0, all / p->share - took);
    p->due = now + p->pause;
    p->within = p->aside = false;
}
