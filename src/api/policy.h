/* policy.h - what a policy's run has besides the training's: prompts, judges and a reference. */
#ifndef GR_API_POLICY_H
#define GR_API_POLICY_H

#include "align/align.h"
#include "api/api_int.h"

/* Weights that stay as they are beside those under training. */
typedef struct {
    gram_model *other;          /* the files of another model; NULL: the policy's own */
    gr_model *model;            /* NULL: the policy's own weights, */
    gr_lora *lora;              /* with the adapter that it started from, where there is one */
    gr_trainee *t;
} gr_reference;
/* path NULL: the model that the run starts from, as it was. */
gram_status gr_reference_open(gr_reference *f, gram_model *m, const gr_training *r, const char *path, gram_err *err);
void gr_reference_close(gr_reference *f);

/* PPO's value model: a reward model that is trained beside the policy, as the policy is, and never written. */
typedef struct {
    gram_model *files;
    gr_model *model;
    gr_lora *lora;              /* NULL: every weight is trained */
    gr_trainee *t;
    gr_param *param;            /* [n] with names of their own, owned */
    size_t n;
} gr_critic;

typedef struct gr_policy gr_policy;
/* Reads the prompts and opens the judges, before any weight of the policy is. from: the policy's path. *train and *held
 * get the prompts as rows; held: of o->eval_file, where that is given. */
gram_status gr_policy_read(gr_policy **out, const gram_model *m, const char *from, const char *prompts,
                           const gram_train_options *o, gr_set *train, gr_set *held, gram_err *err);
/* The reference, and the source of examples, which goes into r; m and r have the policy's weights. */
gram_status gr_policy_open(gr_policy *p, gram_model *m, gr_training *r, gram_err *err);
void gr_policy_close(gr_policy *p);

#endif
