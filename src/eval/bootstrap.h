/* bootstrap.h - the interval of a number from what bootstrap samples gave for it. */
#ifndef GR_EVAL_BOOTSTRAP_H
#define GR_EVAL_BOOTSTRAP_H

#include <stddef.h>
#include "gram/gram.h"

#define GR_BOOT_DRAWS 2000

/* value, and the 2.5 and 97.5 % points of draw[n], n > 0, between the two draws that each falls between; draw is sorted
 * on return. */
gram_interval gr_boot_interval(double value, double *draw, size_t n);

#endif
