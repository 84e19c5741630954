/* convert.h - a model in another format or another type: Hugging Face directories and GGUF files, both ways.
 *
 *     if (gram_convert("my-model", "my-model.gguf", NULL, NULL, &err)) { puts(err.text); return 1; } */
#ifndef GRAM_CONVERT_H
#define GRAM_CONVERT_H

#include "gram/gram.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* How weights are stored. A directory holds the first three, or the last, a GGUF all but the last. */
typedef enum {
    GRAM_STORE_F32,         /* every weight as it is */
    GRAM_STORE_BF16, GRAM_STORE_F16,
    GRAM_STORE_Q8_0, GRAM_STORE_Q5_1, GRAM_STORE_Q5_0, GRAM_STORE_Q4_1, GRAM_STORE_Q4_0,    /* blocks of 32 */
    GRAM_STORE_INT8         /* for gram alone: what opening with GRAM_INT8 makes of them, which is then mapped and opens
                             * at once, with GRAM_INT8 or GRAM_INT8_FAST and no other dtype; what stays as it is there
                             * keeps its type */
} gram_store;

typedef struct {
    gram_store    dtype;    /* of matrices; a GGUF keeps vectors as F32 */
    gram_warn_fn *note;     /* may be NULL: sentences for a person, such as what the other format cannot say */
    void         *arg;
} gram_convert_options;

typedef struct { uint64_t tensors, bytes; } gram_convert_report;    /* written, headers left out */

/* OUT is a GGUF file if its name ends in ".gguf", otherwise a directory, which must not hold a model yet. A LoRA
 * adapter is folded into its base first. What comes out gives the same tokens and its weights are the same model, or
 * the call fails and says what has no form there. What was written is opened again before the call succeeds. opt and
 * report may be NULL. */
gram_status gram_convert(const char *model, const char *out, const gram_convert_options *opt,
                         gram_convert_report *report, gram_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
