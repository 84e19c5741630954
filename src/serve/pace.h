/* pace.h - when texts that are written have their next token while others are scored, and by how many threads.
 *
 *     round by all threads     scoring |##|         |##|           a token takes 1 / share times as long as alone,
 *                              stops   |##|         |##|           scoring loses share of its speed
 *
 *     round by one             scoring |####|       |####|         as often; of n threads scoring loses one for
 *                              goes on |              |            the time that this one takes
 *
 * A round of few texts waits for memory, which one thread may read about as fast as all of them: then the second way
 * costs scoring less. How many times as long it takes is measured inside of batches, where a round of one way follows
 * one of the other: in the first rounds, and now and then after them.
 * Times are gr_now()'s. Not for two threads at once. */
#ifndef GR_SERVE_PACE_H
#define GR_SERVE_PACE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    double share;           /* of the time, above 0 and at most 1; the rest begins as zeros */
    double due, late;       /* when the next round is wanted inside of a batch; by how much it comes later */
    double pause;           /* from the end of a round until the next is due */
    double longer;          /* times as long as all threads one takes for a round, at least 1: a median, */
    size_t compared;        /* learned from so many pairs of rounds */
    double took;            /* the last round inside of a batch, */
    bool beside;            /* which was made by one thread, */
    size_t in_a_row;        /* as so many were */
    bool within, aside;     /* the round under way, or about to begin, is inside of a batch, and made by one */
} gr_pace;

bool gr_pace_is_due(const gr_pace *p, double now);
/* Whether one thread makes the round that is due. Otherwise, or where this is not asked, all of them do. */
bool gr_pace_choose(gr_pace *p);
void gr_pace_begin(gr_pace *p, double now);                 /* a round inside of a batch begins */
void gr_pace_end(gr_pace *p, double begin, double now);     /* any round has been made */

#endif
