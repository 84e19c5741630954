/* engine.h - what the server asks of a model, as functions behind pointers.
 *
 * The real engine is a few lines over gram.h (engine.c). Tests put their own behind the same pointers, so that every
 * shape, limit and failure is tried in milliseconds and the server's own cost can be timed without a model. */
#ifndef GR_SERVE_ENGINE_H
#define GR_SERVE_ENGINE_H

#include "gram/rationale.h"

typedef struct gr_engine gr_engine;
struct gr_engine {
    const char *path;               /* the model; borrowed */
    gram_options options;
    void *self;                     /* set by open */
    bool rewards, spread;           /* set by open: it has a reward head, or is a judge of one answer
                                     * (options.pointwise, which reads no text as it stands), and verdicts the
                                     * rewards of both; PURM's */
    double temperature;             /* set by open: gram_temperature() */
    const char *arithmetic;         /* the same: gram_arithmetic(), or NULL */
    char fingerprint[17];           /* the same: gram_fingerprint(), or "" */

    /* Slow: called on the worker's thread while the server already answers /health. */
    gram_status (*open)(gr_engine *e, gram_err *err);
    void (*close)(gr_engine *e);    /* fine after an open that failed, or none */

    /* Called by the worker's thread alone. */
    gram_status (*score)(gr_engine *e, const gram_pair *pair, size_t n, gram_verdict *out, size_t *bad, gram_err *err);
    gram_status (*rewards_of)(gr_engine *e, const gram_text *text, size_t n, gram_reward *out, size_t *bad,
                              gram_err *err);         /* with a reward head alone */
    gram_status (*show)(gr_engine *e, const gram_pair *pair, bool swapped, char **out, gram_err *err);
    void (*usage)(gr_engine *e, gram_usage *out);

    /* NULL in a build that cannot: the endpoints that need them answer 501. By the worker alone. */
    gram_status (*label_logits)(gr_engine *e, const int32_t *const *token, const size_t *n_tokens, size_t n,
                                const int32_t *label, size_t n_labels, float *out, float *log_sum, gram_err *err);
    gram_status (*writer_open)(gr_engine *e, gram_writer **out, const gram_writing *w, size_t *prompt_tokens,
                               gram_err *err);
    gram_status (*writer_next)(gram_writer *w, gram_written_fn *fn, void *arg, bool *more, gram_err *err);
    void (*writer_close)(gram_writer *w);
    gram_status (*text_logprobs)(gr_engine *e, const int32_t *id, size_t n, size_t top, gram_written_fn *fn, void *arg,
                                 gram_err *err);
    /* gram/rationale.h's; reasoner_open NULL: it writes no reasons. Opening, reading and showing compute or take the
     * model for themselves; writing may be done in turns. */
    gram_status (*reasoner_open)(gr_engine *e, gram_reasoner **out, const gram_rationale_options *o, gram_err *err);
    void (*reasoner_close)(gram_reasoner *r);
    gram_status (*reason_show)(gram_reasoner *r, const gram_pair *pair, bool swapped, char **out, gram_err *err);
    gram_status (*reasoning_open)(gram_reasoning **out, gram_reasoner *r, const gram_pair *pair, gram_err *err);
    gram_status (*reasoning_write)(gram_reasoning *g, gram_reasoning_fn *fn, void *arg, bool *more, gram_err *err);
    gram_status (*reasoning_read)(gram_reasoning *g, bool *more, gram_err *err);
    const gram_reasoned *(*reasoning_verdict)(const gram_reasoning *g);
    void (*reasoning_close)(gram_reasoning *g);
    void (*set_turns)(gr_engine *e, const gram_turns *turns);       /* NULL: it writes nothing */

    /* Called by any thread, once open has succeeded. */
    gram_status (*tokenize)(gr_engine *e, const char *text, size_t bytes, bool special, int32_t **out, size_t *n,
                            gram_err *err);
    gram_status (*prompt_ids)(gr_engine *e, const char *text, size_t bytes, int32_t **out, size_t *n, gram_err *err);
    gram_status (*detokenize)(gr_engine *e, const int32_t *id, size_t n, bool special, char **out, size_t *bytes,
                              gram_err *err);
    gram_status (*read_chat)(gr_engine *e, const char *text, size_t bytes, gram_message **turn, size_t *n,
                             gram_err *err);
    gram_status (*show_chat)(gr_engine *e, gram_prompt prompt, char **out, gram_err *err);
    gram_status (*rank)(gram_compare_fn *compare, void *arg, size_t n, gram_rank_method method, gram_ranking *out,
                        gram_err *err);
};

/* Fills in libgram's functions; path and options are the caller's to set, before or after. */
void gr_engine_libgram(gr_engine *e);

#endif
