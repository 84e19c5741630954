/* rollout.h - answers that a policy writes with the weights that it has at the moment.
 *
 * Nothing that earlier weights made is used: the engine, its keys and values and its head are opened for each rollout.
 * What answer k to a prompt draws follows from the seed, the rollout, the prompt's place in it and k alone. */
#ifndef GR_ALIGN_ROLLOUT_H
#define GR_ALIGN_ROLLOUT_H

#include "align/align.h"
#include "generate/write.h"
#include "train/grad.h"

/* Numbers of each token of an answer: align_int.h says which. */
enum { GR_NUMBERS = 7 };

/* An answer, and what comes of it. */
typedef struct {
    gr_sampled s;                /* its ids, and numbers of each token: see grad.h; owned */
    size_t n;                   /* tokens, the end among them */
    float *drawn;               /* [n] log-probability of each when it was drawn, at the temperature */
    double *numbers;            /* which s.logp, s.advantage, s.old and s.ref lie in */
    gr_finish finish;
    char *text;                 /* UTF-8, without the end */
    uint64_t seed;
    size_t place, k;            /* of the prompt in the rollout; of the answer to it, GR_GREEDY: its greedy one */
    double reward, shaped;      /* the judge's, NAN: it failed; less what length, cuts and the KL take */
    double kl, worth;           /* k1 summed over the answer; the advantage, or its mean over tokens */
    bool learnt;                /* it is in the loss and in what the loss is divided by */
} gr_answer;
#define GR_GREEDY SIZE_MAX

/* What the policy is at the moment. All borrowed. */
typedef struct {
    gr_model *model;
    gr_lora *lora;
    gr_device *device;
    const gr_tok *tok;
    const gr_ids *ends;
    size_t kv_bytes, prefill;
    double temperature, top_p;
    size_t max_new;
    const char *tag;            /* a text that ends an answer too; NULL: none */
} gr_writer;

/* Prompts [at, at + n) of a list of `of`. */
typedef struct { size_t at, n, of; } gr_part;
/* `samples` answers to each prompt of a part of p at the temperature, those of one prompt together in the order of k;
 * 0: none. greedy: one more behind them. Their bits are those of the whole list's. *out is malloc'ed; clear it with
 * gr_answers_free(). */
gram_status gr_rollout(const gr_writer *w, const gr_align_prompt *const *p, gr_part part, size_t samples, bool greedy,
                       uint64_t seed, gr_answer **out, size_t *n_out, gram_err *err);
bool gr_answer_room(gr_answer *a, size_t n);    /* for the numbers of n tokens */
/* The same by f->sampler: its texts as the policy would have written them. Nobody knows how likely their tokens were:
 * drawn is NAN. */
gram_status gr_rollout_other(const gr_align_facts *f, const gr_align_prompt *const *p, gr_part part, size_t samples,
                             uint64_t seed, gr_answer **out, size_t *n_out, gram_err *err);
void gr_answers_free(gr_answer *a, size_t n);

#endif
