/* reward.h - a number for a single response, from a judge that compares.
 *
 *     with a reference answer   its preference over the reference: one comparison
 *     without                   the responses to the same prompt are a group: the mean of its preferences over the
 *                               others, n(n-1)/2 comparisons for the whole group
 *     with neither              what the model's reward head gives it, if there is one
 *
 * Of a judge without a head a response with neither is refused: a number without a scale would not be a reward. */
#ifndef GR_SERVE_REWARD_H
#define GR_SERVE_REWARD_H

#include "serve/req.h"

typedef struct {
    gram_prompt prompt;
    const char *response;
    const char *reference;          /* NULL: the server's own, or else the group */
    bool by_head;                   /* it has neither: margin is the head's reward r, and reward s(r), as over one of 0 */
    double sigma;                   /* by_head, PURM: the reward's standard deviation; otherwise 0 */
    double reward, margin;          /* means over its comparisons */
    size_t comparisons, flips, tokens;
    bool truncated;
} gr_item;

typedef struct {
    gr_item *item;
    size_t n;
    struct { size_t i, j; } *who;   /* of each comparison; j == n: the reference of i; j == i: by_head, of i with itself */
    bool group_only;                /* the server's own reference is not used */
    bool raw;                       /* the endpoint answers with margins */
    bool detail;                    /* the endpoint's own use */
} gr_rewards;

/* Items for n responses, kept as r->state; NULL: refused. */
gr_rewards *gr_rewards_new(gr_req *r, size_t n);
/* Reads field "reference" (or "labels"): a string for all, or a list of one for each, null where there is none. */
int gr_rewards_references(gr_req *r, gr_rewards *w);
/* Asks for all comparisons; finish is called when the items' numbers are there. */
int gr_rewards_ask(gr_req *r, gr_rewards *w, gr_req_fn *finish);
double gr_item_value(const gr_rewards *w, size_t i);        /* reward, or margin where raw */
double gr_item_trainer(const gr_item *it);                  /* the reward to learn from: a head's own, or the preference */
/* The items' indices, best first; NULL: refused. */
size_t *gr_rewards_order(gr_req *r, gr_rewards *w);

#endif
