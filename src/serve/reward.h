/* reward.h - a number for a single response, from a judge that compares or from a reward head.
 *
 *     with a reference answer   its preference over the reference: one comparison
 *     without, by a head        its own reward, as gram_rank() has it: of PURM mean - lambda u, u over the responses to
 *                               the same prompt
 *     without, by a judge       the responses to the same prompt are a group: the mean of its preferences over the
 *                               others, n(n-1)/2 comparisons for the whole group
 *
 * A judge refuses a response that has neither: a number without a scale would not be a reward. */
#ifndef GR_SERVE_REWARD_H
#define GR_SERVE_REWARD_H

#include "serve/req.h"

typedef struct {
    gram_prompt prompt;
    const char *response;
    const char *reference;          /* NULL: the server's own, or else the group */
    bool by_head;                   /* margin is the head's reward, less lambda u; reward is s(margin): over one of 0 */
    gram_reward head;               /* by_head: what was read */
    double overlap;                 /* by_head, PURM: u; NAN for a lone response */
    double reward, margin;          /* means over its comparisons */
    size_t comparisons, flips, tokens;
    bool truncated;
} gr_item;

typedef struct {
    gr_item *item;
    size_t n;
    struct { size_t i, j; } *who;   /* of each comparison; j == n: the reference of i; j == i: by_head, i with itself */
    size_t *group;                  /* of each item: the first with its prompt and, like it, no reference; or itself */
    bool group_only;                /* all are compared: neither the server's reference nor a head's rewards alone */
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
double gr_item_trainer(const gr_item *it);                  /* to learn from: a head's own reward, or the preference */
/* The items' indices, best first; NULL: refused. */
size_t *gr_rewards_order(gr_req *r, gr_rewards *w);

/* A reward head reads an answer that is asked for as the pair of it and itself. The engine reads that once, so it
 * counts once: takes the other half off the request's tokens. */
gram_reward gr_head_read(gr_req *r, const gram_verdict *v);

#endif
