/* rationales.h - pairs judged by reasons that are written before the verdict: the settings read, a token of each
 * rationale in a step of the job beside all other texts that are written, and the verdicts read as scores are.
 *
 *     "rationale": true, "votes": K, "rationale_tokens", "rationale_format", "early", "sure", "temperature", "top_p",
 *     "top_k", "min_p", "seed", "stream" */
#ifndef GR_SERVE_RATIONALES_H
#define GR_SERVE_RATIONALES_H

#include "gram/rationale.h"
#include "serve/req.h"

typedef struct {
    gram_reasoning *g;              /* NULL: it is done, or at fault */
    bool written;                   /* its verdicts are to be read */
    char *json;                     /* malloc'ed: what rationales add to the verdict */
    char *read[2];                  /* malloc'ed: what the model read of each order, where that was asked for */
} gr_rationales_one;

typedef struct gr_rationales gr_rationales;
struct gr_rationales {
    gr_req *r;
    gram_rationale_options how;
    char *format;                   /* malloc'ed: an object of the request as text */
    bool stream, explain;
    const gram_pair *pair;          /* [room], of which there are n */
    const size_t *place;            /* [n] of each in the request; NULL: it is its number here, */
    const size_t (*called)[2];      /* and these two of a list, SIZE_MAX being the reference, are what it compares */
    size_t n, room, left;           /* room 0: no more than n; left: pairs that are not done */
    size_t opened;                  /* of n */
    gr_rationales_one *one;            /* [room] */
    size_t prompt_tokens, written, rationales;
    gram_reasoner *reasoner;
    json_t *(*whole)(gr_req *r);    /* of a stream: the answer, sent at its end */
    /* Called by the worker when all n pairs have a verdict or a fault: may put more behind them, and raise n. Fails as
     * the request does. NULL: there are no more. */
    gram_status (*more)(gr_req *r, gram_err *err);
};

/* *out: NULL where the request asks for no rationales, and then says nothing about them. */
int gr_rationales_read(gr_req *r, gr_rationales **out);
/* As gr_ask(): verdicts and faults are those of the job. w->pair, place, n, room, explain, whole and more are set. */
int gr_rationales_ask(gr_req *r, gr_rationales *w, gr_req_fn *finish);
json_t *gr_rationales_json(gr_req *r, const gr_rationales *w, size_t i);      /* pair i's; NULL: out of memory */
json_t *gr_rationales_usage(const gr_rationales *w);
void gr_rationales_clear(gr_rationales *w);                                   /* NULL is fine */

#endif
