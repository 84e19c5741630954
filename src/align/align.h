/* align.h - a policy that learns from rewards: rollouts, a judge, what each answer is worth, and the loop's steps.
 *
 *     prompts -> answers with their log-probabilities -> judge (an answer may fail by itself) -> log-probabilities of
 *     the policy and of the reference -> KL, penalties -> advantages -> steps, each over some of the prompts
 *
 * It is a source of the training loop (train/loop.h), which clips, steps, judges, and writes checkpoints and the
 * model. */
#ifndef GR_ALIGN_ALIGN_H
#define GR_ALIGN_ALIGN_H

#include "data/rows.h"
#include "reward/judge.h"
#include "train/loop.h"

/* A prompt as the policy reads it. Owned. */
typedef struct { gr_group row; gr_ids ids; char *columns; /* all of the row, a JSON object */ } gr_align_prompt;
typedef struct {
    gr_align_prompt *p;
    size_t n, cap;
    uint64_t digest, bad, dropped;
} gr_align_prompts;

typedef struct {
    const gr_judge *judge;      /* of the policy: its template and tokenizer */
    const char *columns;
    bool skip_bad;
    size_t most;                /* tokens of a prompt */
    gram_truncate truncate;     /* what to do with longer ones: ERROR or DROP */
    gram_warn_fn *warn;
    void *arg;
} gr_align_rules;
/* more: further files, ends with NULL, or NULL. */
gram_status gr_align_read(gr_align_prompts *out, const char *path, const char *const *more, const gr_align_rules *r,
                          gram_err *err);
void gr_align_prompts_clear(gr_align_prompts *p);
/* The prompts as the loop wants to see rows: borrowed ids. */
gram_status gr_align_set(const gr_align_prompts *p, gr_set *out, gram_err *err);

/* Rewards of the answers to a prompt: reward[n], NAN where one has none, which is counted. reference: the answer to
 * compare with, or NULL. */
typedef struct {
    gram_status (*rewards)(void *arg, const gr_align_prompt *p, const char *const *answer, size_t n,
                           const char *reference, double *reward, gram_err *err);
    void *arg;
} gr_align_judge;

/* An answer that another model than the policy wrote. text is owned. */
typedef struct { char *text; bool cut; uint64_t seed; } gr_align_text;
typedef struct {
    /* `samples` answers to each of n prompts, those of one together: out[n * samples]. NULL: the policy writes. */
    gram_status (*write)(void *arg, const gr_align_prompt *const *p, size_t n, size_t samples, uint64_t seed,
                         gr_align_text *out, gram_err *err);
    void *arg;
    uint64_t weights;           /* their digest */
} gr_align_sampler;

/* All borrowed. */
typedef struct {
    const gram_train_options *opt;
    gr_align_sampler sampler;
    const gr_judge *words;      /* the policy's tokenizer and template */
    const gr_align_prompts *train, *held;   /* held->n == 0: none */
    gr_align_judge judge, eval_judge;
    bool reference_judge;       /* the judge compares with one answer: `against` says which */
    gr_model *model;
    gr_lora *lora;
    gr_device *device;
    const gr_tok *tok;
    const gr_ids *ends;
    gr_trainee *reference;      /* NULL: no distance is measured */
    gr_trainee *value;          /* PPO's, with a reward head; and its model */
    const gr_config *value_config;
    const gr_param *values;     /* [n_values] its parameters, under names of their own */
    size_t n_values;
    uint64_t value_base;        /* digest of the files that it starts from; 0: the policy's */
    uint64_t base;              /* digest of what is not trained */
    size_t batch_tokens, kv_bytes;
    uint64_t bytes;             /* that reference and value model hold besides */
} gr_align_facts;

typedef struct gr_align gr_align;
gram_status gr_align_open(gr_align **out, const gr_align_facts *f, gram_err *err);
const gr_source *gr_align_source(const gr_align *a);
void gr_align_close(gr_align *a);

#endif
