/* reward.h - a number for a single response, from a judge that compares or from a reward head.
 *
 *     with a reference answer   its preference over the reference: one comparison
 *     without, by a head        its own reward, as gram_rank() has it: of PURM mean - lambda u, u over the responses to
 *                               the same prompt
 *     without, by a judge       the responses to the same prompt are a group: the mean of its preferences over the
 *                               others, n(n-1)/2 comparisons for the whole group
 *
 * A judge refuses a response that has neither: a number without a scale would not be a reward. All numbers of an answer
 * are of one scale.
 *
 * An item that cannot be judged is at fault alone: it leaves its group, and the others keep their numbers. What the
 * endpoint has for it is an error beside them (partial), or a refusal that names it. */
#ifndef GR_SERVE_REWARD_H
#define GR_SERVE_REWARD_H

#include "serve/rationales.h"

typedef struct {
    gram_prompt prompt;
    const char *response, *extra;   /* extra: as of a gram_message */
    const gram_text *text;          /* the conversation as the client's template rendered it; NULL: it came apart. A
                                     * head reads it as it stands; for a judge, prompt and response are found in it */
    const char *reference;          /* NULL: the server's own, or else the group */
    const char *why;                /* at fault: a sentence that names it; NULL: it gets a number */
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
    const char *field;              /* that the items are elements of, or where !list the one item is */
    bool list;
    struct { size_t i, j; } *who;   /* of each comparison; j == n: the reference of i; j == i: by_head, i with itself */
    size_t *group, *next;           /* of each item: the first with its prompt and, like it, no reference, or itself;
                                     * and the one that follows it there, or n */
    bool group_only;                /* all are compared: neither the server's reference nor a head's rewards alone */
    bool raw;                       /* the endpoint answers with margins */
    bool partial;                   /* the endpoint has a place for an item's fault */
    bool detail;                    /* the endpoint's own use */
    gr_rationales *reasons;         /* written before each comparison, with `whole` set; NULL: none are */
} gr_rewards;

/* Items for the n elements of a field, kept as r->state; NULL: refused, as is criteria or rationale. */
gr_rewards *gr_rewards_new(gr_req *r, const char *field, bool list, size_t n);
gr_rewards *gr_rewards_room(gr_req *r, const char *field, bool list, size_t n);     /* where the endpoint reads these */
const char *gr_item_name(gr_req *r, const gr_rewards *w, size_t i);     /* as gr_at() */
/* What reading item i came to: a refusal of its value (422) becomes its fault, and 0. */
int gr_item_read(gr_req *r, gr_item *it, int rc);
/* A text for the item, whose bytes [answer, answer_end) are known to be the answer (answer 0: they are not). */
int gr_item_text(gr_req *r, gr_rewards *w, size_t i, const char *text, size_t bytes, size_t answer, size_t answer_end);
/* The same of one that came as token ids, which a head reads as they are; text NULL: they are no text. */
int gr_item_ids(gr_req *r, gr_rewards *w, size_t i, const char *text, size_t bytes, const int32_t *id, size_t n);
/* A conversation for the item: text as the checkpoint's chat template made it, or messages. */
int gr_item_conversation(gr_req *r, gr_rewards *w, size_t i, json_t *v);
/* Reads field "reference" (or "labels"): a string for all, or a list of one for each, null where there is none. */
int gr_rewards_references(gr_req *r, gr_rewards *w);
/* The same of a value: a string, or a list with one for each response; NULL: there is none. */
int gr_rewards_measured_by(gr_req *r, gr_rewards *w, json_t *v);
/* Whether raw scores are asked for, by the name that any of these shapes has for it; as it was where none is there. */
int gr_rewards_raw(gr_req *r, gr_rewards *w);
/* Asks for all comparisons; finish is called when the items' numbers are there. */
int gr_rewards_ask(gr_req *r, gr_rewards *w, gr_req_fn *finish);
const char *gr_rewards_scale(const gr_rewards *w);          /* "head", "reference" or "group" */
double gr_item_value(const gr_rewards *w, size_t i);        /* reward, or margin where raw */
double gr_item_trainer(const gr_item *it);                  /* to learn from: a head's own reward, or the preference */
/* The items' indices, best first; NULL: refused. */
size_t *gr_rewards_order(gr_req *r, gr_rewards *w);

/* A reward head reads an answer that is asked for as the pair of it and itself. The engine reads that once, so it
 * counts once: takes the other half off the request's tokens. */
gram_reward gr_head_read(gr_req *r, const gram_verdict *v);

#endif
