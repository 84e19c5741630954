/* loop.h - the loop: batches to gradients to steps, checkpoints, and the model that comes out. */
#ifndef GR_TRAIN_LOOP_H
#define GR_TRAIN_LOOP_H

#include "file/card.h"
#include "gram/train.h"
#include "model/trainee.h"
#include "train/grad.h"
#include "train/metrics_file.h"

/* Where the examples of a run come from that makes them as it goes, and what is learnt of them: src/align. A rollout is
 * what the same weights write, and `every` steps learn of it; checkpoints and judging lie between rollouts, since one
 * is made again from its beginning. */
typedef struct {
    void *arg;
    uint64_t steps, every;
    size_t rows;                /* tokens of a micro-batch at most, */
    uint64_t bytes;             /* and memory that is held besides what the loop holds */
    /* [n_also] parameters that are stepped beside the model's, and written to checkpoints */
    const gr_param *also;
    size_t n_also;              /* but to no model. Their gradients are the source's to zero */
    uint64_t rests;             /* steps that are theirs alone, before the model's first */
    /* Adds the gradients of step `step`, the first being 0, and fills in *sum. numbers: *n, until the next call.
     * carried [GR_CARRIED]: all zeros at first. */
    gram_status (*learn)(void *arg, gr_grad *g, uint64_t step, double *carried, gr_metrics *m, gr_sum *sum,
                         const gram_number **numbers, size_t *n, gram_err *err);
    /* How the weights do on held-out prompts: h->loss, the smaller the better, and h->n. */
    gram_status (*judge)(void *arg, gr_grad *g, uint64_t step, gr_held *h, bool *stopped, gram_err *err);
    /* A line "name=value" for each thing that a resume must agree on; false: out of memory. */
    bool (*settings)(const void *arg, gr_buf *b);
} gr_source;

/* All borrowed. */
typedef struct {
    gram_stage stage;
    const gram_train_options *opt;      /* checked, and without zeros that mean something else */
    gr_loss_rules loss;
    size_t batch_tokens;
    uint64_t program;                   /* bytes that the process held before weights were read, with all the rows */
    const char *from, *out;             /* where the files beside the weights come from; a directory, which exists */
    const char *chat_template;          /* a program in Jinja that takes the place of the files' own; NULL: it stays */
    gr_card card;                       /* what the output's judge.json says; owned, all zeros: there is none */
    gr_model *model;                    /* writable, unless there are adapters to train */
    gr_device *device;
    const gr_source *source;            /* NULL: the rows of `train`, which otherwise holds the prompts */
    uint64_t starts;                    /* digests: of the model that `from` is, */
    uint64_t refers, judged;            /* of another reference, and of all judges and how they are asked; 0: none */
    bool needs_reference;               /* dpo and its kin: the log-probabilities of the rows' answers, */
    gr_trainee *reference;              /* of this model; NULL: of the one that the run starts from */
    const gr_set *train, *held;         /* held: [n_held], at least one, and n == 0 where there is none */
    const char *const *held_name;       /* [n_held] without folders */
    size_t n_held;
    int32_t label[2];
    /* Called when the model is written, before what a resume needs is removed; may be NULL. */
    gram_status (*finish)(void *arg, gram_train_report *report, gram_err *err);
    void *arg;
    /* LoRA; NULL without: */
    gr_lora *lora;
    const gr_weights *weights;          /* of the base; of a model whose head is trained alone too */
    char *base;                         /* its path, as the adapter's configuration is to name it */
    gr_linear_mode mode;                /* in which it was opened */
} gr_training;

/* Fills in the parts of *report that a run knows. */
gram_status gr_train(const gr_training *r, gram_train_report *report, gram_err *err);

#endif
