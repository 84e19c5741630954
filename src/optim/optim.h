/* optim.h - AdamW, clipping and learning-rate schedules over a list of named tensors; knows no model.
 *
 *   m <- b1 m + (1-b1) g        v <- b2 v + (1-b2) g^2
 *   w <- w - lr wd w - lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)         wd only where decay is set; lr times
 *                                                                             the parameter's pace.
 *                                                                             t: steps that it took, see rests
 *
 * Moments may be kept in bfloat16: m and v of a step are made in float32 of what is kept, move w, and are then rounded
 * up or down by chance, so that they are right on average (op/adamw.h).
 *
 * Values do not meet but in the norm, which is a sum of fixed slices in a fixed order: no bit depends on the number
 * of threads. */
#ifndef GR_OPTIM_OPTIM_H
#define GR_OPTIM_OPTIM_H

#include "op/adamw.h"
#include "tensor/param.h"

/* Values [first, first + n) of a parameter, of which the first stands at place `at` of the list of all, and at `own`
 * among the moments that are held here; GR_NOT_OWN where others hold them. How the values are cut into tasks, the same
 * for any number of threads and parts. */
typedef struct { size_t param, first, n, at, own; } gr_slice;
#define GR_NOT_OWN SIZE_MAX

/* How processes share a list of parameters out. Each bucket, parameters that come one after the other, is cut into as
 * many parts as there are, of which one is held here. */
typedef struct {
    size_t part, parts;
    const size_t *end;          /* [buckets]: the parameter behind each; NULL: one bucket of all */
    size_t buckets;
    bool gradients;             /* of what is held here are held beside the moments, too, and not in the parameters */
    bool half;                  /* moments are kept in bfloat16 */
} gr_adamw_cut;

/* The moments m and v of the values of a list of parameters, one parameter after the other: of all of them, or of those
 * that are this process's (ZeRO-1), and their gradients (ZeRO-2). */
typedef struct {
    double beta1, beta2, eps, decay;    /* b1, b2, eps and wd of the formula */
    gr_param *param;            /* borrowed, with gradients */
    size_t n_params;
    gr_device *on;              /* the parameters' device, where m and v are too */
    gr_param m, v;              /* [1, own_floats], float32 or bfloat16; with t all that a checkpoint must keep */
    float *g;                   /* the same of gradients; NULL: the parameters have them */
    size_t floats, own_floats;  /* of the list, and of those that are stepped here */
    size_t *cut;                /* [buckets * parts + 1] where each part of each bucket begins among all values */
    size_t buckets;
    uint64_t t;                 /* steps taken */
    uint64_t seed;              /* of the chance by which values and moments in bfloat16 are rounded, with t and a
                                 * value's place */
    gr_slice *slice;            /* [slices] */
    double *squares;            /* [slices] */
    size_t slices;
    size_t *mine, own_slices;   /* [own_slices] of them that are stepped here */
    gr_adamw_slice *step;       /* [own_slices], and the two below: of the pass under way */
    gr_squares_slice *grad;
    double *sum;
} gr_adamw;
/* b1 0.9, b2 0.999, eps 1e-8, wd 0, as torch; change them before the first step. */
gram_status gr_adamw_init(gr_adamw *a, gr_param *param, size_t n, gram_err *err);
/* A part of them. Parts are cut where slices are. */
gram_status gr_adamw_init_part(gr_adamw *a, gr_param *param, size_t n, const gr_adamw_cut *cut, gram_err *err);
void gr_adamw_clear(gr_adamw *a);
/* The norm of all gradients together, its slices summed in order. */
double gr_grad_norm(gr_adamw *a, gr_device *d);
/* The same in two steps: a->squares gets the sums of one's own slices and zeros elsewhere, so that those of all parts,
 * added up, are those of the whole; then the norm of parameters [first, end). */
void gr_grad_squares(gr_adamw *a, gr_device *d);
double gr_squares_norm(const gr_adamw *a, size_t first, size_t end);
/* One step of one's own values, with the gradients times `scale`, the factor that clips them, or 1, and times the
 * parameter's own. */
void gr_adamw_step(gr_adamw *a, double lr, double scale, gr_device *d);

typedef enum { GR_SCHEDULE_COSINE, GR_SCHEDULE_LINEAR, GR_SCHEDULE_CONSTANT } gr_schedule;
/* The learning rate of step 0 .. steps-1: up in a line to `peak` over `warmup` steps, then down towards 0, which step
 * number `steps` would reach. */
double gr_learning_rate(gr_schedule s, double peak, uint64_t step, uint64_t warmup, uint64_t steps);

#endif
