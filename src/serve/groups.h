/* groups.h - the responses to the same prompt. */
#ifndef GR_SERVE_GROUPS_H
#define GR_SERVE_GROUPS_H

#include "serve/reward.h"

/* Fills in w->group and w->next. seed: a number that clients do not know. */
int gr_find_groups(gr_req *r, gr_rewards *w, uint64_t seed);

#endif
