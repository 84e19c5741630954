/* filters.h - the two files of filters. */
#ifndef GR_JINJA_FILTERS_H
#define GR_JINJA_FILTERS_H

#include "jinja/jinja_int.h"

jfilter_fn *gr_jfilter_seq(const jstr *name);

#endif
