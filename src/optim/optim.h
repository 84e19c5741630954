/* optim.h - AdamW, clipping and learning-rate schedules over a list of named tensors; knows no model.
 *
 *   m <- b1 m + (1-b1) g        v <- b2 v + (1-b2) g^2
 *   w <- w - lr wd w - lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)         wd only where decay is set; lr times
 *                                                                             the parameter's pace.
 *                                                                             t: steps that it took, see rests
 *
 * Values do not meet but in the norm, which is a sum of fixed slices in a fixed order: no bit depends on the number
 * of threads. */
#ifndef GR_OPTIM_OPTIM_H
#define GR_OPTIM_OPTIM_H

#include "tensor/param.h"

/* Values [first, first + n) of a parameter, of which the first stands at place `at` of the list of all. How the values
 * are cut into tasks, the same for any number of threads and parts. */
typedef struct { size_t param, first, n, at; } gr_slice;

/* The moments m and v of the values of a list of parameters, one parameter after the other: of all of them, or of one
 * part in a row, where processes share them out (ZeRO-1). */
typedef struct {
    double beta1, beta2, eps, decay;    /* b1, b2, eps and wd of the formula */
    gr_param *param;            /* borrowed, with gradients */
    size_t n_params;
    gr_device *on;              /* the parameters' device, where m and v are too */
    float *m, *v;               /* [own_floats]; with t all that a checkpoint must keep */
    size_t floats;              /* of the list */
    size_t own, own_floats;     /* values [own, own + own_floats) of the list are stepped here */
    uint64_t t;                 /* steps taken */
    uint64_t seed;              /* of the chance by which bfloat16 values are rounded, with t and a value's place */
    gr_slice *slice;            /* [slices] */
    double *squares;            /* [slices] */
    size_t slices, own_slice, own_slices;
} gr_adamw;
/* b1 0.9, b2 0.999, eps 1e-8, wd 0, as torch; change them before the first step. */
gram_status gr_adamw_init(gr_adamw *a, gr_param *param, size_t n, gram_err *err);
/* Part `part` of `parts`, which are cut where slices are: part p begins at value gr_adamw_cut(a, p, parts). */
gram_status gr_adamw_init_part(gr_adamw *a, gr_param *param, size_t n, size_t part, size_t parts, gram_err *err);
size_t gr_adamw_cut(const gr_adamw *a, size_t part, size_t parts);
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
