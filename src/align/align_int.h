/* align_int.h - a policy's run on its way, which the files of src/align share. */
#ifndef GR_ALIGN_ALIGN_INT_H
#define GR_ALIGN_ALIGN_INT_H

#include "align/advantage.h"
#include "align/rollout.h"
#include "comm/comm.h"

enum { NUMBERS = 64 };
/* Places in an answer's numbers. */
enum { GR_AT_LOGP, GR_AT_ADVANTAGE, GR_AT_OLD, GR_AT_REFERENCE, GR_AT_VALUE, GR_AT_BEFORE, GR_AT_RETURN };

struct gr_align {
    gr_align_facts f;
    gr_source source;
    gr_writer writer;
    gr_policy_rules rules;
    gr_order order;
    gr_grad reference, value;   /* t NULL: none */
    bool value_ready, warned;
    size_t prompts, steps;      /* of a rollout; steps of one pass over it */
    size_t samples;             /* answers to a prompt */
    bool greedy;                /* and its greedy one */

    uint64_t at;                /* the rollout at hand, of which the following are */
    bool there;
    const gr_align_prompt **prompt;     /* [prompts] */
    gr_answer *answer;
    size_t n;
    size_t replaced;            /* prompts whose answers all had one reward */
    uint64_t weights;           /* digest of what wrote them */
    double beta;
    size_t *turn, turn_of;      /* [prompts] the order in which pass `turn_of` takes them */
    struct { double generate, judge, reference; } took;
    gram_number number[NUMBERS];
    size_t n_numbers;
};

static inline const gram_align_options *gr_align_opt(const gr_align *a) { return &a->f.opt->align; }

/* align.c: micro-batches of a list of samples, all of one kind of pass. */
typedef gram_status gr_some_fn(void *arg, gr_sampled *const *s, size_t n, gram_err *err);
gram_status gr_align_batches(const gr_align *a, gr_sampled *const *s, size_t n, gr_some_fn *fn, void *arg,
                             gram_err *err);
/* value.c, where there is a value model: the values of all answers before they are learnt; what a token of one is
 * worth; a step of the samples that the policy learns too. g: the policy's. */
gram_status gr_align_read_values(gr_align *a, const gr_grad *g, gr_sum *sum, gram_err *err);
void gr_align_gae(const gr_align *a, gr_answer *x);
gram_status gr_align_learn_values(gr_align *a, gr_sampled *const *s, size_t n, gr_policy_counts counts, uint64_t step,
                                  gr_sum *sum, gram_err *err);
double gr_align_explained(const gr_align *a);
/* align.c: n prompts from place `first` of their order on, and answers to them with their rewards. */
gram_status gr_align_take(gr_align *a, const gr_align_prompt **p, size_t n, uint64_t first, gram_err *err);
gram_status gr_align_answer(gr_align *a, const gr_align_prompt *const *p, size_t n, uint64_t seed, gr_answer **out,
                            size_t *n_out, gram_err *err);
/* ranks.c: this process's share of n; the answers of all processes, `all` in number, in place of its own; numbers of
 * all answers, of which it has those to its share of the prompts; sums over what each has learnt. */
gr_part gr_align_part(const gr_align *a, size_t n);
gram_status gr_align_gather(const gr_align *a, gr_answer **x, size_t *n, size_t all, gram_err *err);
gram_status gr_align_gather_numbers(gr_align *a, size_t place, gram_err *err);
gram_status gr_align_sum_policy(const gr_align *a, gr_policy_sum *s, gram_err *err);
/* refill.c */
gram_status gr_align_refill(gr_align *a, uint64_t rollout, uint64_t seed, double *carried, gram_err *err);
/* worth.c. n answers, all of each of the prompts that they are of. carried: see align.c. */
gram_status gr_align_reward(gr_align *a, const gr_align_prompt *const *p, gr_answer *x, size_t n, gram_err *err);
bool gr_align_dead(const gr_align *a, const gr_answer *x);     /* whether a prompt's, from x on, have one reward */
gram_status gr_align_worth(gr_align *a, double *carried, gram_err *err);
/* numbers.c */
void gr_align_number(gr_align *a, const char *name, double value);
void gr_align_tell_rollout(gr_align *a);
void gr_align_tell_step(gr_align *a, const gr_policy_sum *s, double seconds);
gram_status gr_align_write_samples(const gr_align *a, uint64_t step, gr_metrics *m, gram_err *err);

#endif
