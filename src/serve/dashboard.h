/* dashboard.h - a page over the runs of a folder, for this machine alone: the curves of their metrics.jsonl, which grow while
 * they train, and what they last wrote into samples.jsonl. It reads files and changes none. */
#ifndef GR_SERVE_DASHBOARD_H
#define GR_SERVE_DASHBOARD_H

#include "gram/error.h"

typedef struct gr_dashboard gr_dashboard;
/* Listens on 127.0.0.1. dir is copied; port 0: any that is free. GRAM_EIO: no such folder, or the port is taken. */
gram_status gr_dashboard_start(gr_dashboard **out, const char *dir, unsigned short port, gram_err *err);
unsigned gr_dashboard_port(const gr_dashboard *w);
void gr_dashboard_stop(gr_dashboard *w);            /* NULL is fine */

#endif
