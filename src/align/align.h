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
#include "rationale/text.h"
#include "reward/judge.h"
#include "train/loop.h"

/* A prompt as the policy reads it. Owned. */
typedef struct {
    gr_group row;               /* of a pair, which a judge reasons about, with its chosen response and the other */
    gr_ids ids;
    gr_ids other;               /* of a pair: in the second order, and ids in the first; empty: there is one alone, */
    bool swapped;               /* which is the second */
    char *columns;              /* all of the row, a JSON object; of a pair NULL */
} gr_align_prompt;
void gr_align_prompt_clear(gr_align_prompt *p);
/* In which order answer k reads a pair. */
static inline int gr_align_order(const gr_align_prompt *p, size_t k) { return p->other.n ? k % 2 : p->swapped; }
typedef struct {
    gr_align_prompt *p;
    size_t n, cap;
    uint64_t digest, bad, dropped, ties;
    bool apart;                 /* each pair is two of them, one in either order */
} gr_align_prompts;

typedef struct {
    const gr_judge *judge;      /* of the policy: its template and tokenizer */
    const char *columns;
    bool skip_bad;
    size_t most;                /* tokens of a prompt */
    gram_truncate truncate;     /* what to do with longer ones: ERROR or DROP */
    gram_warn_fn *warn;
    void *arg;
    const gr_reason_words *words;       /* not NULL: rows are labelled pairs that the policy reasons about; ties are */
    bool apart;                         /* left out. apart: a prompt for each order of a pair, not one for both */
} gr_align_rules;
/* more: further files, ends with NULL, or NULL. */
gram_status gr_align_read(gr_align_prompts *out, const char *path, const char *const *more, const gr_align_rules *r,
                          gram_err *err);
void gr_align_prompts_clear(gr_align_prompts *p);
/* verdict.c: adds the pairs of a file. */
gram_status gr_align_read_pairs(gr_align_prompts *out, const char *path, const gr_align_rules *r, gram_err *err);
/* A row that could not be read: counted and told of, or the end. */
gram_status gr_align_bad_row(gr_align_prompts *out, const gr_align_rules *r, gram_status rc, const gram_err *why,
                             gram_err *err);
/* The prompts as the loop wants to see rows: borrowed ids. */
gram_status gr_align_set(const gr_align_prompts *p, gr_set *out, gram_err *err);

/* Rewards of the answers to a prompt: reward[n], NAN where one has none, which is counted. reference: the answer to
 * compare with, or NULL. */
typedef struct {
    gram_status (*rewards)(void *arg, const gr_align_prompt *p, const char *const *answer, size_t n,
                           const char *reference, double *reward, gram_err *err);
    void *arg;
} gr_align_judge;

/* A judge whose own verdict is the reward of its reasons: gr_align_judge's arg, and what it calls. */
typedef struct {
    const gr_reason_words *words;
    gr_model *model;
    gr_lora *lora;
    gr_device *device;
    size_t batch_tokens, context;
} gr_align_own;
gram_status gr_align_own_rewards(void *own, const gr_align_prompt *p, const char *const *answer, size_t n,
                                 const char *reference, double *reward, gram_err *err);

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
    const char *tag;            /* a text that ends an answer too; NULL: none */
    gr_trainee *reference;      /* NULL: no distance is measured */
    gr_trainee *value;          /* PPO's, with a reward head; and its model */
    const gr_config *value_config;
    const gr_param *values;     /* [n_values] its parameters, under names of their own */
    size_t n_values;
    uint64_t value_base;        /* digest of the files that it starts from; 0: the policy's */
    uint64_t base;              /* digest of what is not trained */
    size_t batch_tokens, kv_bytes;
    uint64_t bytes;             /* that reference, value model, judges and sampler hold besides */
} gr_align_facts;

typedef struct gr_align gr_align;
gram_status gr_align_open(gr_align **out, const gr_align_facts *f, gram_err *err);
const gr_source *gr_align_source(const gr_align *a);
void gr_align_close(gr_align *a);

#endif
