/* param.h - a named matrix that learns: its values and their gradient, on the device where they are used. */
#ifndef GR_TENSOR_PARAM_H
#define GR_TENSOR_PARAM_H

#include "tensor/device.h"

typedef struct {
    const char *name;           /* as a Hugging Face checkpoint names it; owned by whoever made the list */
    const char *in;             /* NULL, or the tensor in which a file has it as rows [first, first + rows) of `all`, */
    size_t first, all;          /* beside parameters that come next to it; owned as the name is */
    size_t rows, cols;          /* a vector has rows == 1 */
    bool decay;                 /* matrices; not norms and biases */
    double pace;                /* its learning rate is the others' times this; 0: 1 */
    double scale;               /* and its gradient the others', which are clipped, times this; 0: 1 */
    uint64_t rests;             /* steps that others take before its first */
    gr_mat w, g;                /* [rows, cols], without gaps: values, float32 or bfloat16; float32 gradient, or NULL */
    gr_device *on;              /* NULL: the memory of the host */
} gr_param;

static inline size_t gr_param_count(const gr_param *p) { return p->rows * p->cols; }

/* Values [first, first + n) as float32, and back. A bfloat16 gets the nearest; false where there is none. */
void gr_param_get(const gr_param *p, size_t first, size_t n, float *out);
bool gr_param_put(const gr_param *p, size_t first, size_t n, const float *x);
/* These are the same of the gradient. */
void gr_param_get_grad(const gr_param *p, size_t first, size_t n, float *out);
void gr_param_put_grad(const gr_param *p, size_t first, size_t n, const float *x);

#endif
