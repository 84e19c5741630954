/* denoise.h - which voted labels can be learnt from: the rules of gram/selftrain.h, asked of a reasoned verdict. */
#ifndef GR_RATIONALE_DENOISE_H
#define GR_RATIONALE_DENOISE_H

#include "base/mem.h"
#include "gram/selftrain.h"

typedef struct {
    int winner;                 /* 0: a, 1: b, -1: there is no verdict */
    double share;               /* of the rationales, that prefer the winner; NAN */
    double p[2];                /* its mean probability where a was read first, and where b was; NAN */
    unsigned broke;             /* bit GRAM_RULE_...: the rules that are broken */
} gr_denoised;

/* label[]: what rationales call the first seat's answer, and the second's. A pair that was not judged has none of the
 * other rules asked. */
gram_status gr_denoise(const gram_reasoned *v, const char *const label[2], const gram_denoise_options *o,
                       gr_denoised *out, gram_err *err);
/* The first rule that is broken; GRAM_RULES: none is. */
size_t gr_denoise_first(unsigned broke);

/* The most often that any GR_GRAM words stand in the text. A word is what stands between white space, and each
 * character of a script that leaves none (from U+2E80 on) is one. */
enum { GR_GRAM = 8 };
gram_status gr_repeats(gr_str text, size_t *most, gram_err *err);

#endif
